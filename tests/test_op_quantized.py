"""Quantised arrays: every byte against plain integer arithmetic in NumPy."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv import _core, ops
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.execution.devices import backend_of
from fastconv.execution.function import Function
from fastconv.graph.trace import constant

RNG = np.random.default_rng(0)


@pytest.fixture(scope="session")
def backend(backend):
    """Not a GPU, which has no such kernels."""
    if backend.device == "cuda":
        kernels = backend_of("cuda").kernels(_core.OpKind.quantized_conv)
        if not kernels:
            pytest.skip("quantised arrays are computed on CPUs")
    return backend


def scale(pair):
    return np.float32(pair[0])


def above(q, pair):
    return (q.astype(np.int64) - pair[1]).astype(np.float32)


def finished(real, to, activation=None, extra=None):
    """What becomes of float32 values in steps of the result."""
    out = np.float32(1) if to is None else scale(to)
    if extra is not None:
        a, pair = extra
        real = real + above(a, pair) * (scale(pair) / out)
    low, high = (-np.inf, np.inf) if to is None else (-to[1], 255 - to[1])
    low = max(low, 0) if activation else low
    high = min(high, np.float32(6 / out)) if activation == "relu6" else high
    real = np.clip(real, np.float32(low), np.float32(high))
    if to is None:
        return real
    return (np.rint(real) + to[1]).astype(np.uint8)


def plain_conv(x, kernel, strides, pads, dilation, groups, zero):
    """Sums in 64-bit integers, by windows of the padded input."""
    axes = x.ndim - 2
    more = [(max(before, 0), max(after, 0)) for before, after in pads]
    x = np.pad(x, ((0, 0), *more, (0, 0)), constant_values=zero).astype(np.int64)
    kept = (slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in
            zip(x.shape[1:-1], pads, strict=True))  # fmt: skip
    x = x[:, *kept] - zero
    sizes = kernel.shape[:axes]
    reach = [d * (k - 1) + 1 for k, d in zip(sizes, dilation, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, range(1, axes + 1))
    picks = tuple(slice(None, None, s) for s in strides)
    taps = tuple(slice(None, None, d) for d in dilation)
    windows = windows[(slice(None), *picks, slice(None), *taps)]
    filters = kernel.shape[-1] // groups
    made = []
    for g in range(groups):
        per = kernel.shape[-2]
        part = windows[(*(slice(None),) * (axes + 1), slice(g * per, (g + 1) * per))]
        weights = kernel[..., g * filters : (g + 1) * filters].astype(np.int64)
        made.append(np.einsum("n...cxyz,xyzck->n...k", widened(part, axes),
                              weights.reshape(*(1,) * (3 - axes), *weights.shape)))
    return np.concatenate(made, axis=-1)  # fmt: skip


def widened(windows, axes):
    """Windows with three axes."""
    shape = windows.shape
    return windows.reshape(*shape[:-axes], *(1,) * (3 - axes), *shape[-axes:])


class Problem:
    """A convolution with random operands."""

    def __init__(self, shape, kernel, filters, strides=1, pads=0, dilation=1, groups=1,
                 source=(0.02, 7), to=(0.5, 100), activation=None, add=False,
                 extreme=False):  # fmt: skip
        axes = len(shape) - 2

        def each(value):
            return value if isinstance(value, tuple) else (value,) * axes

        self.strides, self.dilation = each(strides), each(dilation)
        self.pads = [p if isinstance(p, tuple) else (p, p) for p in each(pads)]
        self.groups, self.source, self.to = groups, source, to
        self.activation = activation
        weights = (*each(kernel), shape[-1] // groups, filters)
        if extreme:
            self.x = RNG.choice([0, 255], shape).astype(np.uint8)
            self.kernel = RNG.choice([-128, 127], weights).astype(np.int8)
        else:
            self.x = RNG.integers(0, 256, shape, np.uint8)
            self.kernel = RNG.integers(-127, 128, weights, np.int8)
        self.bias = RNG.integers(-9999, 9999, filters, np.int32)
        self.scales = RNG.uniform(0.001, 0.1, filters).astype(np.float32)
        sums = plain_conv(self.x, self.kernel, self.strides, self.pads, self.dilation,
                          groups, source[1])  # fmt: skip
        self.sums = sums + self.bias
        self.extra = None
        if add:
            a = RNG.integers(0, 256, self.sums.shape, np.uint8)
            self.extra = (a, (0.3, 17))

    @property
    def operands(self):
        arrays = [self.x, self.kernel, self.bias, self.scales]
        return arrays + ([self.extra[0]] if self.extra else [])

    def run(self, x, kernel, bias, scales, *extra):
        add = (extra[0], self.extra[1]) if extra else None
        return ops.quantized_conv(
            x, kernel, bias, scales, self.source, self.to, self.strides, self.pads,
            self.dilation, self.groups, self.activation, add,
        )  # fmt: skip

    @property
    def expected(self):
        ratio = scale(self.source) / (scale(self.to) if self.to else np.float32(1))
        sums = self.sums.astype(np.int32).astype(np.float32)
        return finished(sums * (self.scales * ratio), self.to, self.activation,
                        self.extra)  # fmt: skip

    def check(self, backend):
        actual = backend.run(self.run, *self.operands)[0]
        assert actual.dtype == self.expected.dtype
        np.testing.assert_array_equal(actual, self.expected)


CASES = {
    "1x1": ((2, 7, 6, 64), 1, 96),
    "1x1, odd channels": ((2, 5, 5, 37), 1, 51),
    "1x1, stride 2": ((1, 9, 9, 32), 1, 17, 2),
    "3x3": ((2, 9, 8, 32), 3, 64, 1, 1),
    "3x3, stride 2": ((2, 9, 8, 16), 3, 33, 2, 1),
    "3x3 of 3 channels": ((2, 11, 9, 3), 3, 20, 1, 1),
    "7x7 stem": ((1, 30, 29, 3), 7, 64, 2, 3),
    "wide": ((1, 4, 4, 512), 3, 20, 1, 1),
    "dilation": ((1, 11, 12, 20), 3, 24, 1, 2, 2),
    "one channel, dilation": ((1, 11, 12, 1), 3, 5, 1, 2, 2),
    "uneven padding": ((1, 7, 7, 4), (2, 3), 6, 1, ((0, 1), (2, 0))),
    "cropping": ((1, 9, 9, 4), 3, 6, 1, (-1, -1)),
    "groups": ((2, 7, 7, 24), 3, 36, 1, 1, 1, 3),
    "groups of one to two": ((1, 7, 7, 10), 3, 20, 1, 1, 1, 10),
    "depthwise": ((2, 9, 9, 40), 3, 40, 1, 1, 1, 40),
    "depthwise, stride 2": ((2, 9, 9, 19), 3, 19, 2, 1, 1, 19),
    "depthwise, few channels": ((1, 9, 9, 3), 5, 3, 1, 2, 1, 3),
    "depthwise, dilation": ((1, 9, 9, 16), 3, 16, 1, 2, 2, 16),
    "one dimension": ((3, 20, 6), 4, 8, 2, 1),
    "three dimensions": ((1, 5, 6, 7, 3), (2, 3, 3), 8, 1, 1),
    "large window": ((1, 40, 40, 2), 38, 3, 1, 1),
    "whole input": ((2, 6, 6, 20), 6, 40),
    "matrix": ((9, 1, 300), 1, 77),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("extreme", [False, True])
def test_convolution_is_exact(backend, name, extreme):
    Problem(*CASES[name], extreme=extreme).check(backend)


@pytest.mark.parametrize("name", ["1x1", "3x3 of 3 channels", "depthwise", "groups"])
@pytest.mark.parametrize("to", [(0.5, 100), (0.7, 0), None])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("add", [False, True])
def test_what_follows_a_convolution(backend, name, to, activation, add):
    Problem(*CASES[name], to=to, activation=activation, add=add).check(backend)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("zero", [0, 255])
def test_padding_stands_for_zero(backend, name, zero):
    Problem(*CASES[name], source=(0.02, zero)).check(backend)


@st.composite
def problems(draw):
    axes = draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    kernel, dilation = each(1, 4), each(1, 2)
    pads = tuple(zip(each(-1, 3), each(0, 3), strict=True))
    spatial = tuple(
        max(d * (k - 1) + 1 - sum(p), 1) + draw(st.integers(1, 8))
        for k, d, p in zip(kernel, dilation, pads, strict=True)
    )
    groups = draw(st.sampled_from([1, 1, 1, 2, 3]))
    channels, filters = (groups * draw(st.integers(1, 40)) for _ in range(2))
    return Problem(
        (draw(st.integers(0, 3)), *spatial, channels), kernel, filters, each(1, 3),
        pads, dilation, groups, source=(0.02, draw(st.integers(0, 255))),
        to=draw(st.sampled_from([(2.0, 3), (0.1, 128), None])),
        activation=draw(st.sampled_from([None, "relu"])), add=draw(st.booleans()),
    )  # fmt: skip


@settings(max_examples=80)
@given(problems())
def test_any_convolution_is_exact(backend, problem):
    problem.check(backend)


@pytest.mark.parametrize("kernel", ["depthwise", "implicit_gemm", "direct_loop"])
def test_every_kernel_gives_the_same(cpu, kernel, monkeypatch):
    problem = Problem(*CASES["depthwise"], add=True)
    monkeypatch.setenv("FASTCONV_KERNEL", f"quantized_conv={kernel}")
    steps = cpu.function(problem.run).explain(*problem.operands)
    assert [s.kernel for s in steps if s.op == "quantized_conv"] == [kernel]
    problem.check(cpu)


@pytest.mark.parametrize("name", ["1x1", "7x7 stem", "groups", "depthwise", "wide"])
def test_bytes_do_not_depend_on_threads(cpu, threads, name):
    problem = Problem(*CASES[name], add=True)
    threads(lambda: cpu.run(problem.run, *problem.operands))


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 6, 7])
@pytest.mark.parametrize("kernel", [1, 3])
def test_nothing_is_read_behind_the_source(cpu, channels, kernel):
    """The source ends where memory that must not be read begins."""
    size = mmap.PAGESIZE
    problem = Problem((1, 12, 11, channels), kernel, 20, 1, kernel // 2)
    memory = mmap.mmap(-1, 2 * size)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(address + size), size, 0) == 0
    try:
        first = size - problem.x.size
        x = np.frombuffer(memory, np.uint8, problem.x.size, first)
        x = x.reshape(problem.x.shape)
        x[...] = problem.x
        actual = cpu.function(problem.run)(x, *problem.operands[1:])
        np.testing.assert_array_equal(actual, problem.expected)
    finally:
        assert libc.mprotect(ctypes.c_void_p(address + size), size, 3) == 0


@pytest.mark.parametrize("name", ["1x1", "7x7 stem", "groups"])
def test_constant_weights_are_packed_once(cpu, name):
    problem = Problem(*CASES[name])
    packed = Function(
        lambda x: problem.run(
            x, *(constant(a, a.dtype.name) for a in problem.operands[1:])
        ),
        "cpu",
    )
    plan = packed.compile(problem.x)
    assert plan.plan.prepared_bytes >= problem.kernel.size
    for _ in range(2):
        np.testing.assert_array_equal(packed(problem.x), problem.expected)
    given = Function(problem.run, "cpu").compile(*problem.operands)
    assert given.plan.prepared_bytes == 0
    assert plan.report()[-1].workspace < given.report()[-1].workspace


def test_constants_are_packed_again_when_they_are_bound_again(cpu):
    problem = Problem(*CASES["1x1"])
    bind = _core.Plan.bind
    weights = np.ascontiguousarray(problem.kernel)
    run = Function(
        lambda x: problem.run(
            x, *(constant(a, a.dtype.name) for a in problem.operands[1:])
        ),
        "cpu",
    ).compile(problem.x)
    run([problem.x])
    other = np.zeros_like(run._buffers.constants)
    bind(run.plan, run._buffers.constant_index, other)
    assert weights.any()
    (result,) = run([problem.x])
    assert (result == problem.to[1]).all()


X = np.array([-3.0, -0.26, -0.25, -0.05, 0.0, 0.05, 0.15, 0.25, 9, 100, np.nan])


def test_quantize_rounds_half_to_even(backend):
    x = np.arange(-600, 600).astype(np.float32) / 4
    q = backend.run(lambda x: ops.quantize(x, 0.5, 128), x)[0]
    expected = np.clip(np.rint(x / np.float32(0.5)) + 128, 0, 255)
    np.testing.assert_array_equal(q, expected.astype(np.uint8))


def test_quantize_of_special_values(backend):
    x = np.array([np.nan, np.inf, -np.inf, 1e38, -1e38, -0.0], np.float32)
    q = backend.run(lambda x: ops.quantize(x, 0.5, 3), x)[0]
    np.testing.assert_array_equal(q, [0, 255, 0, 255, 0, 3])


@pytest.mark.parametrize("size", [0, 1, 5, 16, 33, 40000])
def test_quantize_and_back(backend, size):
    x = RNG.standard_normal(size).astype(np.float32)
    q, y = backend.run(
        lambda x: (q := ops.quantize(x, 0.03, 120), ops.dequantize(q, 0.03, 120)), x
    )
    assert q.dtype == np.uint8
    step = np.float32(0.03)
    expected = np.clip(np.rint(x / step) + 120, 0, 255)
    np.testing.assert_array_equal(q, expected.astype(np.uint8))
    np.testing.assert_array_equal(y, (q.astype(np.float32) - 120) * step)


@pytest.mark.parametrize("to", [(0.2, 10), (1.5, 0), None])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
@pytest.mark.parametrize("add", [False, True])
def test_requantize(backend, to, activation, add):
    x, a = RNG.integers(0, 256, (2, 3, 5, 37, 7), np.uint8)[:2]
    pairs = (0.11, 30), (0.07, 200)

    def run(x, *a):
        extra = (a[0], pairs[1]) if a else None
        return ops.requantize(x, pairs[0], to, activation, extra)

    arrays = (x, a) if add else (x,)
    ratio = scale(pairs[0]) / (scale(to) if to else np.float32(1))
    real = above(x, pairs[0]) * ratio
    extra = (a, pairs[1]) if add else None
    expected = finished(real, to, activation, extra)
    np.testing.assert_array_equal(backend.run(run, *arrays)[0], expected)


@pytest.mark.parametrize("shape", [(2, 9, 8, 5), (1, 7, 7, 2048), (2, 10, 33)])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("include", [False, True])
def test_average_pool(backend, shape, whole, include):
    x = RNG.integers(0, 256, shape, np.uint8)
    source, to = (0.3, 9), (0.2, 4)
    size, pads = (shape[1:-1], 0) if whole else ((3,) * (len(shape) - 2), 1)
    strides = 1 if whole else 2

    def run(x):
        return ops.quantized_average_pool(
            x, size, source, to, strides, pads, count_include_pad=include
        )

    means = fc.ops.average_pool(
        above(x, source), size, strides, pads, count_include_pad=include
    )
    expected = finished(means * (scale(source) / scale(to)), to)
    np.testing.assert_array_equal(backend.run(run, x)[0], expected)


@pytest.mark.parametrize("channels", [1, 7, 16, 63, 64, 65, 130])
@pytest.mark.parametrize("pads", ["valid", "same"])
def test_max_pool_of_bytes(backend, channels, pads):
    x = RNG.integers(0, 256, (2, 9, 8, channels), np.uint8)
    expected = fc.ops.max_pool(x.astype(np.float32), 3, 2, pads)
    actual = backend.run(lambda x: ops.max_pool(x, 3, 2, pads), x)[0]
    np.testing.assert_array_equal(actual, expected.astype(np.uint8))


def test_empty_batches(backend):
    def run(x):
        q = ops.quantize(x, 0.1)
        pooled = ops.quantized_average_pool(q, 2, (0.1, 0))
        return q, ops.requantize(q, (0.1, 0), (0.2, 0)), ops.max_pool(q, 2), pooled

    shapes = [y.shape for y in backend.run(run, np.zeros((0, 4, 4, 3), np.float32))]
    assert shapes == [(0, 4, 4, 3)] * 2 + [(0, 2, 2, 3)] * 2
    Problem((0, 4, 4, 3), 3, 5).check(backend)


Q = np.zeros((1, 5, 5, 4), np.uint8)
W = np.zeros((3, 3, 4, 8), np.int8)
B, S = np.zeros(8, np.int32), np.ones(8, np.float32)


def conv(x=Q, kernel=W, bias=B, scales=S, source=(0.1, 0), to=(0.1, 0), **more):
    return ops.quantized_conv(x, kernel, bias, scales, source, to, **more)


@pytest.mark.parametrize(
    ("python", "error", "words"),
    [
        (lambda: conv(Q.astype(np.float32)), DtypeError, "expected a quantised array"),
        (lambda: conv(kernel=W.view(np.uint8)), DtypeError, "a kernel of dtype int8"),
        (lambda: conv(Q[..., :3]), ShapeError, "inputs with 4 channels"),
        (lambda: conv(bias=B[:3]), ShapeError, r"a bias int32\[8\]"),
        (lambda: conv(scales=S[:3]), ShapeError, r"scales float32\[8\]"),
        (lambda: conv(groups=3), ArgumentError, "groups"),
        (lambda: conv(source=(0.0, 0)), ArgumentError, "a scale > 0"),
        (lambda: conv(source=(np.nan, 0)), ArgumentError, "a scale > 0"),
        (lambda: conv(to=(0.1, 256)), ArgumentError, "from 0 to 255"),
        (lambda: conv(to=(0.1, 1.5)), ArgumentError, "from 0 to 255"),
        (lambda: conv(to=0.1), ArgumentError, "a scale and a zero point"),
        (lambda: conv(activation="tanh"), ArgumentError, "'relu' or 'relu6'"),
        (lambda: conv(add=Q), ArgumentError, r"add=\(tensor"),
        (lambda: conv(add=(Q, (0.1, 0))), ShapeError, "expected add"),
        (
            lambda: conv(np.zeros((1, 1, 70000), np.uint8),
                         np.zeros((1, 70000, 8), np.int8)),
            ArgumentError, "at most 65,536 products",
        ),
        (lambda: ops.quantize(Q, 0.1), DtypeError, "float32"),
        (lambda: ops.dequantize(np.zeros(3), 0.1), DtypeError, "uint8"),
        (lambda: ops.max_pool(Q, 2, return_indices=True), DtypeError, "floating"),
    ],
)  # fmt: skip
def test_errors(python, error, words):
    with pytest.raises(error, match=words):
        python()


def test_a_plan_may_not_write_over_constants():
    backend = _core.backend("cpu")
    slots = [
        _core.Slot(_core.Dtype.float32, [4], 1, 0, True),
        _core.Slot(_core.Dtype.float32, [4], 1, 16),
    ]
    step = _core.Step(_core.OpKind.copy, None, [0], [1])
    with pytest.raises(fc.errors.FormatError, match="where constants are"):
        _core.Plan(backend, slots, [step], [0, 32], [], [], [])
