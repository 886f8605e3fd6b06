"""Tables of kernels: their files, plans that follow them, and what kernels offer."""

from pathlib import Path

import numpy as np
import pytest

import cuda_emulator
import fastconv as fc
from fastconv import _core
from fastconv._core import ConvAttrs, Dtype, OpKind, WindowGeometry
from fastconv.cli import main
from fastconv.errors import ArgumentError, FormatError
from fastconv.execution import tuned
from fastconv.execution.devices import backend_of
from fastconv.execution.executable import Executable
from fastconv.execution.function import Function
from fastconv.execution.narrow import alone
from fastconv.execution.tuned import PRODUCTS, Wish, problem
from fastconv.training import plan_report, tuning

rng = np.random.default_rng(3)
X = rng.integers(-2, 3, (2, 9, 9, 8)).astype("f4")
W = rng.integers(-2, 3, (3, 3, 8, 16)).astype("f4")


@pytest.fixture(autouse=True)
def table(monkeypatch, tmp_path) -> Path:
    """The table of the user; there is none yet."""
    path = tmp_path / "tables" / "own.txt"
    monkeypatch.setenv("FASTCONV_TUNED", str(path))
    return path


@pytest.fixture
def emulated(monkeypatch) -> None:
    """The device "cuda" is the emulator."""
    monkeypatch.setenv("FASTCONV_CUDA_LIBRARY", str(cuda_emulator.library()))


def conv(x, w):
    return fc.ops.conv(x, w, padding="same")


def planned(python=conv, arrays=(X, W), device="cpu"):
    """A plan, and its products by problem."""
    plan = Function(python, device).compile(*arrays)
    return plan, {problem(n): n for n in plan.nodes if n.kind in PRODUCTS}


def options(plan, node):
    found = _core.kernel_options(plan.arena.backend, *alone(node))
    return [Wish(kernel, *tiling) for kernel, tiling, _ in found]


# Files


def test_a_table_is_read_as_it_was_written(table):
    wishes = {"conv float32 a=1x2": Wish("direct"), "gemm k=3": Wish("tiles", 2, 8)}
    tuned.extend(table, "some GPU", wishes)
    tuned.extend(table, "another", {"gemm k=4": Wish("tiles")})
    tuned.extend(table, "some GPU", {"gemm k=3": Wish("tiles", 1, 1)})
    assert tuned.read(table) == {
        "some GPU": {**wishes, "gemm k=3": Wish("tiles", 1, 1)},
        "another": {"gemm k=4": Wish("tiles")},
    }
    assert "[some GPU]\nconv float32 a=1x2: direct\n" in table.read_text("utf-8")


def test_the_shipped_table_is_one():
    for wishes in tuned.read(tuned.SHIPPED).values():
        assert all(wish.kernel for wish in wishes.values())


@pytest.mark.parametrize(
    "text", ["conv a: direct", "[gpu]\nconv a", "[gpu]\nconv: a 1", "[gpu]\na: b 1/2/3"]
)
def test_what_is_no_table(table, text):
    table.parent.mkdir()
    table.write_text(text, "utf-8")
    with pytest.raises(FormatError, match=rf"own.txt, line {text.count(chr(10)) + 1}:"):
        planned()


# Plans


def test_a_plan_follows_the_table_of_the_user(table):
    (name,) = planned()[1]
    assert name == (
        "conv float32 batch=2 in_channels=8 out_channels=16 groups=1 input=1x9x9 "
        "kernel=1x3x3 output=1x9x9 stride=1x1x1 dilation=1x1x1 pad_before=0x1x1 "
        "pad_after=0x1x1"
    )
    device = tuned.device_name(_core.backend("cpu"))
    for kernel in ("direct_loop", "implicit_gemm"):  # and sees that it changes
        tuned.extend(table, device, {name: Wish(kernel)})
        plan, _ = planned()
        assert [step.kernel for step in plan.report()] == [kernel]


def test_problems_name_the_epilogue():
    def fused(x, w, bias):
        return fc.ops.relu(conv(x, w) + bias)

    (plain,), (name,) = planned()[1], planned(fused, (X, W, np.ones(16, "f4")))[1]
    assert name == f"{plain} epilogue=bias+relu"


def test_forced_kernels_come_before_the_table(monkeypatch):
    (name,) = planned()[1]
    monkeypatch.setenv("FASTCONV_KERNEL", "conv=direct_loop")
    with tuned.trying({name: Wish("implicit_gemm")}):
        assert planned()[0].report()[0].kernel == "direct_loop"
    model = fc.Sequential([fc.Input((5, 5, 1)), fc.layers.Conv2D(2, 3)])
    with pytest.raises(ArgumentError, match="FASTCONV_KERNEL"):
        tuning.tune(model, 1, training=False)


@pytest.mark.parametrize("wish", [Wish("none_such"), Wish("direct_loop", 1, 2)])
def test_a_wish_that_cannot_be_met(wish):
    plan, (name,) = planned()
    usual = plan.report()[0]
    with tuned.trying({name: wish}):
        step = planned()[0].report()[0]
    assert (step.kernel, step.choice) == (usual.kernel, usual.kernel)
    said = f"{wish.kernel}: cannot compute this as the table says"
    assert step.declined == (said, *usual.declined)


@pytest.mark.usefixtures("emulated")
def test_a_gpu_follows_tile_and_splits():
    arrays = X, W
    _, (name,) = planned(device="cuda")
    with tuned.trying({name: Wish("implicit_gemm", 2, 3)}):
        step = planned(device="cuda")[0].report()[0]
        assert (step.choice, step.workspace) == ("implicit_gemm 2/3", 4 * 3 * 162 * 16)
        tiled = Function(conv, "cuda")(*arrays)
    np.testing.assert_array_equal(tiled, Function(conv, "reference")(*arrays))
    for tiling in ((3, 1), (2, 0), (2, 1000), (-1, 1), (2, 5)):  # 72 are 5 times 16
        with tuned.trying({name: Wish("implicit_gemm", *tiling)}):
            step = planned(device="cuda")[0].report()[0]
        met = tiling == (2, 5)
        assert step.choice == ("implicit_gemm 2/5" if met else "implicit_gemm"), tiling


# What kernels offer


def directions(bfloat16, **arguments):
    """A convolution and its gradients."""

    def narrow(x):
        return fc.ops.cast(x, "bfloat16") if bfloat16 else x

    def run(src, weights, ddst):
        operands = [narrow(src), narrow(weights)]
        dst = fc.ops.conv(*operands, **arguments)
        found = dst, *fc.grad(dst, operands, narrow(ddst))
        return [fc.ops.cast(x, "float32") for x in found]

    return run


def sample(number):
    """A convolution at random that the emulator does quickly, arrays and results."""
    draw = np.random.default_rng(number)
    groups = int(draw.choice([1, 1, 1, 2]))
    C, K = (int(draw.choice([1, 3, 8, 16, 24])) * groups for _ in range(2))
    size, kernel = draw.integers(5, 11, 2), draw.integers(1, 4, 2)
    arguments = {
        "strides": int(draw.integers(1, 3)), "groups": groups,
        "padding": str(draw.choice(["same", "valid"])),
    }  # fmt: skip
    shapes = (int(draw.integers(1, 4)), *size, C), (*kernel, C // groups, K)
    arrays = [draw.integers(-2, 3, shape).astype("f4") for shape in shapes]
    dst = fc.ops.conv(*arrays, **arguments)
    ddst = draw.integers(-1, 2, dst.shape).astype("f4")
    narrow = bool(draw.integers(2))
    expected = Function(directions(False, **arguments), "reference")(*arrays, ddst)
    if narrow:
        expected = [rounded(x) for x in expected]
    return directions(narrow, **arguments), [*arrays, ddst], expected


def rounded(x):
    """To bfloat16, and back."""
    bits = np.ascontiguousarray(x).view(np.uint32)
    return (bits + 0x7FFF + (bits >> 16 & 1) & 0xFFFF0000).view(np.float32)


@pytest.mark.usefixtures("emulated")
@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
@pytest.mark.parametrize("number", range(12))
def test_every_option_is_right(number, device):
    """On a sample; integers are exact, however they are summed."""
    python, arrays, expected = sample(number)
    plan, nodes = planned(python, arrays, device)
    offered = {name: options(plan, node) for name, node in nodes.items()}
    assert all(own[0].tile == 0 for own in offered.values())
    for turn in range(max(map(len, offered.values()))):
        trial = {name: own[turn % len(own)] for name, own in offered.items()}
        with tuned.trying(trial):
            run = Function(python, device)
            plan = run.compile(*arrays)
            results = run(*arrays)
        for node, step in zip(plan.nodes, plan.report(), strict=True):
            if node.kind in PRODUCTS:
                assert step.choice == str(trial[problem(node)])
        for actual, wanted in zip(results, expected, strict=True):
            np.testing.assert_array_equal(actual, wanted, str(trial))


def shape(draw):
    """Geometry and dtype of a convolution of any size that memory may have."""

    def number(most):
        return int(np.exp(draw.uniform(0, np.log(most))))

    rank = int(draw.integers(1, 4))

    def three(f, rest):
        return [rest] * (3 - rank) + [f() for _ in range(rank)]

    groups = int(draw.choice([1, 1, 1, 1, number(64)]))
    kernel = three(lambda: number(9), 1)
    stride, dilation = three(lambda: number(5), 1), three(lambda: number(3), 1)
    before = three(lambda: number(140) - 1, 0) if draw.random() < 0.1 else [0] * 3
    if draw.random() < 0.6:
        before = [d * (k - 1) // 2 for d, k in zip(dilation, kernel, strict=True)]
    extent = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    size = three(lambda: number(3000 if rank == 2 else 300), 1)
    size = [max(n, e - 2 * p) for n, e, p in zip(size, extent, before, strict=True)]
    output = [
        (n + 2 * p - e) // s + 1
        for n, p, e, s in zip(size, before, extent, stride, strict=True)
    ]
    each = int(draw.choice([1, 8]))
    geometry = WindowGeometry(
        batch=number(2000), in_channels=groups * each * number(600),
        out_channels=groups * each * number(600), groups=groups, input=size,
        kernel=kernel, output=output, stride=stride, dilation=dilation,
        pad_before=before, pad_after=before,
    )  # fmt: skip
    return geometry, Dtype.bfloat16 if draw.random() < 0.6 else Dtype.float32


def step_of(kind, g, dtype):
    """The only step of a plan without places."""
    src = [g.batch, *g.input, g.in_channels]
    weights = [*g.kernel, g.in_channels // g.groups, g.out_channels]
    dst = [g.batch, *g.output, g.out_channels]
    shapes = {
        OpKind.conv: (src, weights, dst),
        OpKind.conv_backward_data: (dst, weights, src),
        OpKind.conv_backward_weights: (src, dst, weights),
    }[kind]
    last = Dtype.float32 if kind == OpKind.conv_backward_weights else dtype
    dtypes = dtype, dtype, last
    slots = [_core.Slot(t, s, 0, 0) for t, s in zip(dtypes, shapes, strict=True)]
    return _core.Step(kind, ConvAttrs(geometry=g), [0, 1], [2]), slots


def may_run(kind, g, dtype, kernel):
    """What a kernel may be given, of what would be wrong and not only slow."""
    narrow = dtype == Dtype.bfloat16
    if kernel in ("gemm", "implicit_gemm", "direct"):
        return (kernel == "direct") or not narrow
    if kernel == "depthwise":
        return g.groups == g.in_channels
    if kernel == "tensor_cores":
        maps = [(g.input, g.in_channels), (g.output, g.out_channels)]
        large = max(g.batch * int(np.prod(size)) for size, _ in maps)
        sample = max(int(np.prod(size)) * c for size, c in maps)
        return narrow and max(large, sample) < 2**31
    assert kernel == "hopper"
    even = g.in_channels % 8 == g.out_channels % 8 == 0 and g.groups == 1
    return narrow and even and max(g.batch * n for n in map(int, pixels(g))) < 2**31


def pixels(g):
    return np.prod(g.input, dtype=np.int64), np.prod(g.output, dtype=np.int64)


def tma_may_read(kind, g):
    """Limits of what TMA calls im2col: corners in a byte, steps up to 8."""
    plain = all(
        (k, s, p) == (1, 1, 0) and n == o
        for k, s, p, n, o in zip(
            g.kernel, g.stride, g.pad_before, g.input, g.output, strict=True
        )
    )
    if plain:
        return True
    if (g.input[0], g.kernel[0], g.output[0], g.pad_before[0]) != (1, 1, 1, 0):
        return False
    if kind == OpKind.conv_backward_data:
        return max(g.stride) <= 4 and all(
            k <= 256 for k in g.kernel
        )  # a phase of the map of results, by steps of one
    for i in (1, 2):
        corner = -g.pad_before[i]
        last = corner + (g.output[i] - 1) * g.stride[i] - (g.input[i] - 1)
        if not (-128 <= corner <= 127 and -128 <= last <= 127 and g.stride[i] <= 8):
            return False
        if (g.kernel[i] - 1) * g.dilation[i] > 255:
            return False
    return True


@pytest.mark.usefixtures("emulated")
def test_no_choice_breaks_a_limit():
    """For 5,000 shapes in every direction: what is taken, and what else is offered."""
    draw = np.random.default_rng(0)
    backends = [backend_of("cuda"), backend_of("cuda:1")]
    seen = dict.fromkeys(("hopper", "tensor_cores", "gemm", "implicit_gemm"), 0)
    for number in range(5000):
        g, dtype = shape(draw)
        kind = (OpKind.conv, OpKind.conv_backward_data, OpKind.conv_backward_weights)[
            number % 3
        ]
        step, slots = step_of(kind, g, dtype)
        found = _core.kernel_options(backends[number % 2], step, slots)
        for kernel, (tile, splits), workspace in found:
            case = (kind, g, dtype, kernel, tile, splits)
            assert may_run(kind, g, dtype, kernel), case
            assert kernel != "hopper" or (number % 2 == 0 and tma_may_read(kind, g)), (
                case
            )
            results = results_of(kind, g)
            if kernel in ("hopper", "gemm", "implicit_gemm") and tile:
                assert workspace == (4 * splits * results if splits > 1 else 0), case
                assert workspace <= 2**27, case
        if found:
            seen[found[0][0]] = seen.get(found[0][0], 0) + 1
    assert min(seen.values()) > 20, seen


def results_of(kind, g):
    if kind == OpKind.conv:
        return g.batch * int(pixels(g)[1]) * g.out_channels
    if kind == OpKind.conv_backward_data:
        return g.batch * int(pixels(g)[0]) * g.in_channels
    return int(np.prod(g.kernel)) * g.in_channels // g.groups * g.out_channels


# Tuning


@pytest.fixture
def clock(monkeypatch):
    """Steps take a microsecond, and ten with another kernel than implicit_gemm."""
    real = Executable.profile

    def profile(self, arrays):
        real(self, arrays)
        return [1000 if s.kernel == "implicit_gemm" else 10_000 for s in self.report()]

    monkeypatch.setattr(Executable, "profile", profile)


@pytest.mark.usefixtures("clock")
def test_the_fastest_is_found_and_the_model_stays():
    model = fc.Sequential([
        fc.Input((8, 8, 3)), fc.layers.Conv2D(4, 3, name="a", padding="same"),
        fc.layers.Conv2D(4, 3, name="b", padding="same"),
        fc.layers.Conv2D(4, 3, name="c", padding="same"),
        fc.layers.Flatten(), fc.layers.Dense(2, activation="softmax"),
    ])  # fmt: skip
    model.compile(
        fc.optimizers.SGD(0.1), "sparse_categorical_crossentropy", device="cpu"
    )
    before = [w.copy() for w in model.get_weights()]
    found = {one.problem: one for one in tuning.tune(model, 2)}
    for after, earlier in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(after, earlier)
    forward = [one for name, one in found.items() if name.startswith("conv float32")]
    assert [one.layers for one in forward] in (
        [("a",), ("b", "c")],
        [("b", "c"), ("a",)],
    )
    assert {one.best for one in forward} == {Wish("implicit_gemm")}
    assert all("direct_loop" not in map(str, one.times) for one in forward)
    gemm = [one for name, one in found.items() if name.startswith("gemm")]
    assert gemm
    assert all(one.best == one.usual for one in gemm), "none is faster"


@pytest.mark.usefixtures("clock")
def test_the_command_writes_a_table_that_plans_follow(table, capsys):
    arguments = ["tune", "lenet", "--device", "cpu", "--batch-size", "2"]
    assert main([*arguments, "--mode", "infer"]) == 0
    assert str(table) in capsys.readouterr().out
    (wishes,) = tuned.read(table).values()
    assert Wish("implicit_gemm") in wishes.values()
    model = fc.models.LeNet5()
    model.compile(device="cpu")
    said = [step.kernel for step in plan_report.plan(model, 2, False).report()]
    assert "implicit_gemm" in said
