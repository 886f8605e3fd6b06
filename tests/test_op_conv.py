"""Convolution in every direction, against the reference and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import Problem, read

from fastconv import ops
from fastconv._core import Activation, ConvAttrs, Epilogue, OpKind
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.execution.function import Function
from fastconv.graph.autodiff import grad
from fastconv.graph.ir import emit
from fastconv.ops.activation import epilogue_shapes
from fastconv.ops.geometry import output_shape, window

PROBLEMS = list(read("conv"))


@pytest.fixture(scope="module", autouse=True)
def exact_kernels():
    """Winograd's transforms round, so that kernel has tests of its own."""
    kinds = ("conv", "conv_backward_data", "conv_backward_weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTCONV_KERNEL", ",".join(f"{k}=-winograd" for k in kinds))
        yield


def integers(rng, *shape):
    return rng.integers(-2, 3, shape).astype(np.float32)


def all_directions(**options):
    """The convolution and both of its gradients, as one function of tensors."""

    def run(src, weights, ddst):
        dst = ops.conv(src, weights, **options)
        return [dst, *grad(dst, [src, weights], ddst)]

    return run


def make_operands(rng, src, weights, **options):
    """Integer arrays of these shapes, and one for the gradient of the result."""
    geometry = window(
        "conv",
        src,
        weights[:-2],
        out_channels=weights[-1],
        strides=options.get("strides", 1),
        padding=options.get("padding", "valid"),
        dilation=options.get("dilation_rate", 1),
    )
    shapes = (src, weights, output_shape(geometry, len(src) - 2))
    return [integers(rng, *shape) for shape in shapes]


def capped(problem: Problem):
    """A named problem with fewer pixels and channels, and otherwise its geometry."""
    groups = min(problem["g"], 24)
    c, k = (max(1, min(problem[key], 40) // groups) * groups for key in "ck")
    spatial = [
        min(i, d * (w - 1) + 3 + 2 * s)
        for i, w, s, d in zip(*(problem.sizes(key) for key in "iwsd"), strict=True)
    ]
    options = {
        "strides": problem.sizes("s"),
        "padding": problem.padding,
        "dilation_rate": problem.sizes("d"),
        "groups": groups,
    }
    return (2, *spatial, c), (*problem.sizes("w"), c // groups, k), options


@pytest.mark.parametrize("problem", PROBLEMS, ids=str)
def test_named_problems_are_exact(backend, problem):
    src, weights, options = capped(problem)
    operands = make_operands(np.random.default_rng(1), src, weights, **options)
    backend.check(all_directions(**options), *operands)


@st.composite
def geometries(draw):
    """Shapes of src and weights with options, in 1 to 3 dimensions."""
    axes = draw(st.integers(1, 3))
    largest = (20, 20, 8)[axes - 1]

    def per_axis(low, high):
        return [draw(st.integers(low, high)) for _ in range(axes)]

    kernel, strides, dilation = per_axis(1, 4), per_axis(1, 3), per_axis(1, 3)
    before, after = per_axis(-2, 3), per_axis(-2, 3)
    spatial = []
    for k, d, b, a in zip(kernel, dilation, before, after, strict=True):
        least = max(1, d * (k - 1) + 1 - b - a)
        spatial.append(draw(st.integers(least, max(least, largest))))
    groups = draw(st.sampled_from([1, 1, 2, 3, 5, 17]))
    c, k = (draw(st.integers(1, 20 if groups == 1 else 3)) for _ in range(2))
    options = {
        "strides": strides,
        "padding": list(zip(before, after, strict=True)),
        "dilation_rate": dilation,
        "groups": groups,
    }
    src = (draw(st.integers(0, 3)), *spatial, groups * c)
    return src, (*kernel, c, groups * k), options


@given(case=geometries(), seed=st.integers(0, 99))
@settings(max_examples=120)
def test_any_geometry_is_exact(backend, case, seed):
    src, weights, options = case
    operands = make_operands(np.random.default_rng(seed), src, weights, **options)
    backend.check(all_directions(**options), *operands)


@given(
    channels=st.integers(1, 70),
    multiplier=st.integers(1, 3),
    stride=st.integers(1, 2),
    size=st.integers(3, 12),
    padding=st.sampled_from(["valid", "same", [(0, 1), (2, 0)]]),
)
@settings(max_examples=30)
def test_depthwise_is_exact(backend, channels, multiplier, stride, size, padding):
    rng = np.random.default_rng(channels)
    src = integers(rng, 2, size, size + 1, channels)
    kernel = integers(rng, 3, 3, channels, multiplier)
    [dst] = backend.check(
        lambda x, w: ops.depthwise_conv(x, w, stride, padding), src, kernel
    )
    one = channels // 2  # each channel on its own gives the same
    part = np.s_[..., one : one + 1]
    [alone] = backend.run(
        lambda x, w: ops.conv(x, w, stride, padding),
        src[part],
        kernel[..., one : one + 1, :],
    )
    span = slice(one * multiplier, (one + 1) * multiplier)
    np.testing.assert_array_equal(dst[..., span], alone)


@pytest.mark.parametrize("channels", [17, 40])
@pytest.mark.parametrize("side", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("images", "padding"),
    [(2, "same"), (3, "valid"), (1, [(2, 0), (-1, 3)]), (0, "same")],
)
def test_depthwise_is_exact_in_every_direction(
    backend, channels, side, stride, images, padding
):
    src, weights = (images, 11, 14, channels), (side, side, 1, channels)
    options = {"strides": stride, "padding": padding, "groups": channels}
    arrays = make_operands(np.random.default_rng(side), src, weights, **options)
    backend.check(all_directions(**options), *arrays)


FEW_CHANNELS = [  # one image, weights, options
    ((11, 9, 1), (5, 5, 1, 6), {}),
    ((8, 7, 6), (5, 3, 6, 11), {"padding": 2}),
    ((9, 8, 3), (3, 2, 3, 15), {"strides": (2, 3), "padding": [(1, 0), (-1, 2)]}),
    ((6, 9, 20), (3, 3, 20, 4), {"dilation_rate": (2, 1)}),
    ((6, 5, 23), (2, 3, 23, 41), {"padding": "same"}),
    ((20, 5), (4, 5, 7), {"padding": "same"}),
    ((3, 5, 6, 2), (2, 3, 3, 2, 5), {"padding": "same"}),
]


@pytest.mark.parametrize("images", [1, 5, 16, 17, 29])
@pytest.mark.parametrize(("image", "weights", "options"), FEW_CHANNELS)
def test_batches_of_few_channels_are_exact(backend, images, image, weights, options):
    rng = np.random.default_rng(images)
    operands = make_operands(rng, (images, *image), weights, **options)
    backend.check(all_directions(**options), *operands)


@given(
    groups=st.sampled_from([4, 8, 19, 32, 37]),
    channels=st.sampled_from([(1, 1), (1, 1), (4, 4), (2, 3), (8, 8), (16, 16)]),
    spatial=st.tuples(st.integers(1, 9), st.integers(1, 40)),
    kernel=st.tuples(st.integers(1, 3), st.integers(1, 8)),
    strides=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    dilation=st.tuples(st.just(1), st.integers(1, 2)),
    before=st.integers(0, 4),
)
@settings(max_examples=60)
def test_groups_are_exact_in_long_lines(
    backend, groups, channels, spatial, kernel, strides, dilation, before
):
    c, k = channels
    padding = [(before, before), (before, dilation[1] * (kernel[1] - 1))]
    options = {
        "strides": strides,
        "padding": [
            (b, max(a, d * (r - 1) + 1 - i - b))
            for (b, a), d, r, i in zip(padding, dilation, kernel, spatial, strict=True)
        ],
        "dilation_rate": dilation,
        "groups": groups,
    }
    src, weights = (2, *spatial, groups * c), (*kernel, c, groups * k)
    operands = make_operands(np.random.default_rng(8), src, weights, **options)
    backend.check(all_directions(**options), *operands)


# Large enough for stores that pass the caches by, and for reading ahead.
@pytest.mark.parametrize(("groups", "stride"), [(64, 1), (64, 2), (16, 1)])
def test_large_groups_are_exact(backend, groups, stride):
    src, weights = (1, 187 * stride, 191 * stride, 64), (3, 3, 64 // groups, 64)
    options = {"strides": stride, "padding": "same", "groups": groups}
    operands = make_operands(np.random.default_rng(9), src, weights, **options)
    backend.check(all_directions(**options), *operands)


# More channels than a task takes of them at once.
def test_many_strided_groups_are_exact(backend):
    options = {"strides": 2, "padding": "same", "groups": 15}
    src, weights = (2, 23, 20, 15 * 12), (3, 3, 12, 15 * 18)
    operands = make_operands(np.random.default_rng(9), src, weights, **options)
    backend.check(all_directions(**options), *operands)


# Outputs that pass the caches by; the groups of the last one begin between two vectors.
@pytest.mark.parametrize(
    ("kernel", "filters", "groups"), [(1, 64, 1), (3, 48, 1), (2, 144, 2)]
)
def test_large_outputs_are_exact(backend, kernel, filters, groups):
    src, weights = (1, 187, 251, 8), (kernel, kernel, 8 // groups, filters)
    options = {"padding": "same", "groups": groups}
    operands = make_operands(np.random.default_rng(9), src, weights, **options)
    backend.check(all_directions(**options), *operands)


def test_separable_is_depthwise_then_pointwise(backend):
    rng = np.random.default_rng(2)
    x, d, p = integers(rng, 2, 9, 3), integers(rng, 3, 3, 2), integers(rng, 1, 6, 5)
    [y] = backend.check(lambda x, d, p: ops.separable_conv(x, d, p, 2, "same"), x, d, p)
    [mapped] = backend.run(lambda x, d: ops.depthwise_conv(x, d, 2, "same"), x, d)
    np.testing.assert_array_equal(y, mapped @ p[0])


def test_float_values_are_close(backend):
    rng = np.random.default_rng(3)
    operands = [
        rng.standard_normal(s) for s in ((3, 9, 10, 19), (3, 3, 19, 33), (3, 9, 10, 33))
    ]
    for gradients, options in ((True, {"padding": "same"}),):
        backend.check(
            all_directions(**options),
            *operands,
            reduction_length=300,
            gradients=gradients,
        )


def scattered(src, kernel, stride, dilation):
    """A full transposed convolution in two dimensions, by its definition."""
    n, h, w, _ = src.shape
    r, s, k, _ = kernel.shape
    full = np.zeros((n, (h - 1) * stride + dilation * (r - 1) + 1,
                     (w - 1) * stride + dilation * (s - 1) + 1, k))  # fmt: skip
    for i, j, a, b in np.ndindex(h, w, r, s):
        at = np.s_[:, i * stride + a * dilation, j * stride + b * dilation]
        full[at] += src[:, i, j] @ kernel[a, b].T
    return full


def keras_axis(full, axis, size, extent, stride, padding, extra):
    """Crops or extends an axis of a full transposed convolution as Keras 3 does."""
    if padding == "valid":
        before = 0
        length = (size - 1) * stride + (
            max(extent, stride) if extra is None else extent + extra
        )
    else:
        total = (
            stride + extent - 2 if extra is None else extent + extent % 2 - 2 + extra
        )
        before = extent - 1 - min(-(-total // 2), extent - 1)
        length = (
            size * stride if extra is None else (size - 1) * stride + extent % 2 + extra
        )
    wide = [(0, 0)] * full.ndim
    wide[axis] = (0, max(0, before + length - full.shape[axis]))
    return np.take(np.pad(full, wide), np.arange(before, before + length), axis)


@given(
    sizes=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 2),
    padding=st.sampled_from(["valid", "same"]),
    extra=st.sampled_from([None, None, 0, 1]),
)
@settings(max_examples=80)
def test_transposed_is_that_of_keras(
    backend, sizes, kernel, stride, dilation, padding, extra
):
    rng = np.random.default_rng(4)
    src, weights = integers(rng, 2, *sizes, 3), integers(rng, *kernel, 5, 3)
    expected = scattered(src, weights, stride, dilation)
    for i in (0, 1):
        extent = dilation * (kernel[i] - 1) + 1
        expected = keras_axis(expected, 1 + i, sizes[i], extent, stride, padding, extra)

    def run(x, w):
        return ops.conv_transpose(x, w, stride, padding, extra, dilation)

    if 0 in expected.shape:
        with pytest.raises(ShapeError, match="output would be empty"):
            backend.run(run, src, weights)
        return
    [actual] = backend.run(run, src, weights)
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(
    ("src", "weights", "options"),
    [
        ((2, 7, 3), (3, 3, 4), {"strides": 2, "padding": "causal"}),
        ((2, 6, 5, 4), (3, 2, 2, 6), {"padding": [(1, 0), (-1, 2)], "groups": 2}),
        (
            (1, 4, 5, 4, 2),
            (2, 2, 3, 2, 3),
            {"dilation_rate": (1, 2, 1), "padding": "same"},
        ),
    ],
    ids=["1d", "2d", "3d"],
)
def test_gradients_of_first_and_second_order(check_gradient, src, weights, options):
    operands = make_operands(np.random.default_rng(5), src, weights, **options)
    check_gradient(lambda x, w, _: ops.conv(x, w, **options), *operands, wrt=(0, 1))
    check_gradient(all_directions(**options), *operands)


def test_gradients_of_the_other_convolutions(check_gradient):
    rng = np.random.default_rng(6)
    x, kernel = rng.standard_normal((2, 5, 4, 3)), rng.standard_normal((3, 2, 6, 3))
    check_gradient(lambda x, w: ops.conv_transpose(x, w, 2, "same"), x, kernel)
    d, p = rng.standard_normal((2, 2, 3, 2)), rng.standard_normal((1, 1, 6, 4))
    check_gradient(lambda x, d, p: ops.separable_conv(x, d, p, 2), x, d, p)


@given(case=geometries())
@settings(max_examples=25)
def test_same_as_torch(backend, case):
    torch = pytest.importorskip("torch")
    src, weights, options = case
    pads = [p for pair in reversed(options["padding"]) for p in pair]
    operands = make_operands(np.random.default_rng(7), src, weights, **options)
    axes = len(src) - 2
    # In float64: the float32 kernels of PyTorch 2.13 (oneDNN) corrupt memory with
    # windows of 1 and strides (3, 1).
    src, weights = (
        torch.tensor(a, dtype=torch.float64, requires_grad=True) for a in operands[:2]
    )
    first = torch.nn.functional.pad(torch.movedim(src, -1, 1), pads)
    conv = getattr(torch.nn.functional, f"conv{axes}d")
    dst = conv(
        first,
        weights.permute(axes + 1, axes, *range(axes)),
        stride=options["strides"],
        dilation=options["dilation_rate"],
        groups=options["groups"],
    )
    dst = torch.movedim(dst, 1, -1)
    dst.backward(torch.tensor(operands[2], dtype=torch.float64))
    actual = backend.run(all_directions(**options), *operands)
    for a, e in zip(actual, (dst, src.grad, weights.grad), strict=True):
        np.testing.assert_array_equal(a, e.detach().numpy())


MARK = 10.0
SIZES = [(5, 7, 1), (6, 6, 6), (16, 32, 2)]  # channels, filters, groups


def marks(array):
    """Finite values that show which results depend on one that is not finite."""
    return np.where(np.isfinite(array), 1e-3, MARK * 1e6).astype(np.float32)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(("channels", "filters", "groups"), SIZES)
def test_values_not_finite_stay_where_they_belong(
    backend, value, channels, filters, groups
):
    run = all_directions(padding=1, groups=groups)
    shapes = (
        (2, 8, 9, channels),
        (3, 3, channels // groups, filters),
        (2, 8, 9, filters),
    )
    # In the interior: whether padding times NaN is NaN is left to the kernel.
    for which, at in ((0, (1, 3, 8, 2)), (2, (0, 3, 4, filters // 2))):
        operands = [np.ones(shape, np.float32) for shape in shapes]
        operands[which][at] = value
        expected = backend.run(run, *map(marks, operands))
        for a, e in zip(backend.run(run, *operands), expected, strict=True):
            np.testing.assert_array_equal(np.isfinite(a), e < MARK)


def test_a_filter_not_finite_reaches_only_its_channel(backend):
    for channels, filters, groups in SIZES:
        weights = np.ones((3, 3, channels // groups, filters), np.float32)
        weights[0, 1, 0, 2] = np.inf
        src = np.ones((2, 8, 9, channels), np.float32)
        [dst] = backend.run(
            lambda x, w, g=groups: ops.conv(x, w, 1, 1, 1, g), src, weights
        )
        assert not np.isfinite(dst[:, 1:-1, 1:-1, 2]).any()
        assert np.isfinite(np.delete(dst, 2, axis=-1)).all()


def test_bytes_do_not_depend_on_threads(cpu, threads):
    rng = np.random.default_rng(8)
    for groups, k in ((1, 96), (2, 96), (48, 96), (48, 48), (12, 48)):
        shapes = (4, 20, 21, 48), (3, 3, 48 // groups, k), (4, 20, 21, k)
        operands = [rng.standard_normal(s) for s in shapes]
        run = all_directions(padding="same", groups=groups)
        threads(lambda run=run, operands=operands: cpu.run(run, *operands))
    shapes = (40, 20, 21, 3), (3, 3, 3, 6), (40, 20, 21, 6)
    operands = [rng.standard_normal(s) for s in shapes]
    threads(lambda: cpu.run(all_directions(padding="same"), *operands))


@pytest.mark.parametrize(("groups", "images"), [(1, 2), (2, 2), (6, 2), (1, 16)])
@pytest.mark.parametrize("activation", ["relu", "sigmoid", "gelu"])
def test_epilogue(native, reference, groups, images, activation):
    rng = np.random.default_rng(9)
    shapes = (images, 6, 7, 6), (3, 2, 6 // groups, 12), (12,)
    arrays = [integers(rng, *s) for s in shapes]

    def run(x, w, b):
        return getattr(ops, activation)(ops.conv(x, w, groups=groups) + b)

    steps = native.function(run).explain(*arrays)
    assert [step.op for step in steps] == ["conv"]
    native.isclose(native.run(run, *arrays), reference(run, *arrays), 36)


# src, kernel, groups: a matrix product, vectors of groups, dense tiles, few channels
# (widened forward, scattered backward), groups of more channels than a vector,
# depthwise.
EPILOGUES = [
    ((2, 5, 6, 7), (1, 1, 7, 40), 1),
    ((2, 6, 7, 12), (3, 2, 2, 24), 6),
    ((2, 6, 7, 33), (3, 2, 33, 35), 1),
    ((2, 6, 8, 3), (3, 3, 3, 2), 1),
    ((2, 5, 7, 40), (3, 3, 20, 40), 2),
    ((2, 5, 9, 19), (3, 3, 1, 19), 19),
    ((2, 5, 9, 16), (3, 3, 1, 16), 16),
]
FLAGS = [
    {"add": 1},
    {"scale": 1, "bias": 1, "add": 1, "activation": Activation.relu},
    {"scale": 1, "activation": Activation.relu},
    {"add": 1, "activation": Activation.relu6},
    {"bias": 1, "add": 1, "activation": Activation.leaky_relu, "alpha": 0.5},
    {"derivative": 1, "activation": Activation.relu},
    {"bias": 1, "add": 1, "derivative": 1, "activation": Activation.hard_tanh},
]


@pytest.mark.parametrize("flags", FLAGS)
@pytest.mark.parametrize("kind", [OpKind.conv, OpKind.conv_backward_data])
@pytest.mark.parametrize(("src", "kernel", "groups"), EPILOGUES)
def test_epilogue_operands(backend, src, kernel, groups, kind, flags):
    rng = np.random.default_rng(10)
    geometry = window("conv", src, kernel[:2], out_channels=kernel[-1], groups=groups)
    made, read = src, output_shape(geometry, 2)
    if kind == OpKind.conv:
        made, read = read, made
    epilogue = Epilogue(**flags)
    attrs = ConvAttrs(geometry=geometry, epilogue=epilogue)
    shapes = [read, kernel, *epilogue_shapes(epilogue, made)]
    arrays = [integers(rng, *shape) for shape in shapes]
    backend.check(lambda *operands: emit(kind, attrs, *operands)[0], *arrays)


def test_epilogue_of_the_reference():
    src, weights = np.ones((1, 3, 1), np.float32), np.full((1, 1, 1), -2.0, np.float32)
    graph = Function(ops.conv, "reference")
    assert graph(src, weights)[0, 0, 0] == -2
    from fastconv.reference.registry import KERNELS

    geometry = window("conv", src.shape, (1,), out_channels=1)
    epilogue = Epilogue(bias=1, activation=Activation.relu)
    attrs = ConvAttrs(geometry=geometry, epilogue=epilogue)
    [dst] = KERNELS[OpKind.conv](attrs, src, weights, np.array([3.0]))
    np.testing.assert_array_equal(dst.reshape(-1), [1, 1, 1])


def test_empty_batch(backend):
    arrays = [
        np.ones(s, np.float32) for s in ((0, 5, 5, 2), (3, 3, 2, 4), (0, 3, 3, 4))
    ]
    dst, dsrc, dweights = backend.run(all_directions(), *arrays)
    assert dst.shape == (0, 3, 3, 4)
    assert dsrc.shape == (0, 5, 5, 2)
    np.testing.assert_array_equal(dweights, np.zeros((3, 3, 2, 4)))


X, W = np.zeros((2, 8, 9, 4), np.float32), np.zeros((3, 3, 4, 6), np.float32)


@pytest.mark.parametrize(
    ("arrays", "options", "error", "message"),
    [
        (
            (X, W[:, :, :3]),
            {},
            ShapeError,
            r"expected inputs with 3 channels .*\(2, 8, 9, 4\)",
        ),
        ((np.moveaxis(X, 3, 1), W), {}, ShapeError, "channels_first: move axis 1"),
        (
            (X, W[:, :, :1]),
            {"groups": 3},
            ArgumentError,
            "groups=3, 4 channels and 6 filters",
        ),
        ((X, W), {"groups": 0}, ArgumentError, "groups, an integer >= 1, received 0"),
        ((X, W), {"groups": True}, ArgumentError, "groups, an integer"),
        ((X[0], W), {}, ShapeError, "a single sample needs a batch axis"),
        ((X, W[0]), {}, ShapeError, "kernel with as many axes"),
        ((X[:, 0, 0], W[0, 0]), {}, ShapeError, "1 to 3 spatial axes"),
        ((X[:, :2], W), {}, ShapeError, "window does not fit"),
        ((X, W), {"dilation_rate": 5}, ShapeError, "with dilation .* covers 11"),
        ((X, W), {"padding": -4}, ShapeError, "window does not fit"),
        ((X, W[..., :0]), {}, ShapeError, "at least one channel, one filter"),
        ((X, W[:0]), {}, ShapeError, "windows of size"),
        ((X[..., :0], W[:, :, :0]), {}, ShapeError, "at least one channel"),
        ((X[:, :0], W), {"padding": 4}, ShapeError, "window does not fit"),
        ((X, W), {"strides": 0}, ArgumentError, "strides of integers >= 1, received 0"),
        ((X, W), {"strides": (1, 2, 3)}, ArgumentError, "strides with 2 values"),
        ((X, W), {"strides": 1.5}, ArgumentError, "integers >= 1, received 1.5"),
        ((X, W), {"dilation_rate": -1}, ArgumentError, "received -1"),
        (
            (X, W),
            {"padding": "full"},
            ArgumentError,
            "'valid', 'same', 'causal' or numbers",
        ),
        ((X, W), {"padding": [(1, 2, 3), 0]}, ArgumentError, r"\(before, after\)"),
        ((X, W.astype(np.int32)), {}, DtypeError, "float32 and int32"),
        ((X.astype(int), W.astype(int)), {}, DtypeError, "received int64"),
        ((X, W), {"padding": None}, ArgumentError, "padding as a number"),
        ((X, W), {"padding": [1, None]}, ArgumentError, "padding as a number"),
    ],
)
def test_bad_operands(arrays, options, error, message):
    with pytest.raises(error, match=message):
        ops.conv(*arrays, **options)


@pytest.mark.parametrize(
    ("kernel", "options", "error", "message"),
    [
        ((3, 3, 6, 5), {}, ShapeError, "expected inputs with 5 channels"),
        ((3, 3, 6, 4), {"padding": "causal"}, ArgumentError, "'valid' or 'same'"),
        ((3, 3, 6, 4), {"output_padding": -1}, ArgumentError, "received -1"),
        ((3, 3, 6, 4), {"output_padding": (1,)}, ArgumentError, "or 2 of them"),
    ],
)
def test_bad_operands_of_transposed(kernel, options, error, message):
    with pytest.raises(error, match=message):
        ops.conv_transpose(X, np.zeros(kernel, np.float32), **options)


def test_bad_operands_of_separable():
    with pytest.raises(ShapeError, match="windows of size 1"):
        ops.separable_conv(X, np.zeros((3, 3, 4, 1), np.float32), W)
    with pytest.raises(ShapeError, match="expected inputs with 5 channels"):
        ops.depthwise_conv(X, np.zeros((3, 3, 5, 1), np.float32))


def test_operands_of_backward_are_checked():
    attrs = ConvAttrs(geometry=window("conv", X.shape, (3, 3), out_channels=6))

    def wrong(ddst, weights):
        return emit(OpKind.conv_backward_data, attrs, ddst, weights)[0]

    with pytest.raises(ShapeError, match="expected an operand of shape"):
        Function(wrong)(np.zeros((2, 6, 6, 6), np.float32), W)
