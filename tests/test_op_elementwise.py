"""Unary and binary ops with broadcasting, casts, filled arrays."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv import ops
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.graph.autodiff import grad

RNG = np.random.default_rng(0)
UNARY = {
    "negative": (ops.negative, np.negative),
    "abs": (ops.abs, np.abs),
    "exp": (ops.exp, np.exp),
    "log": (ops.log, np.log),
    "sqrt": (ops.sqrt, np.sqrt),
    "rsqrt": (ops.rsqrt, lambda x: 1 / np.sqrt(x)),
    "square": (ops.square, np.square),
    "reciprocal": (ops.reciprocal, np.reciprocal),
    "sign": (ops.sign, np.sign),
    "floor": (ops.floor, np.floor),
    "round": (ops.round, np.round),
    "sin": (ops.sin, np.sin),
    "cos": (ops.cos, np.cos),
    "erf": (ops.erf, np.vectorize(math.erf, otypes=[np.float64])),
    "is_finite": (ops.is_finite, np.isfinite),
}
BINARY = {
    "add": (ops.add, np.add),
    "subtract": (ops.subtract, np.subtract),
    "multiply": (ops.multiply, np.multiply),
    "maximum": (ops.maximum, np.maximum),
    "minimum": (ops.minimum, np.minimum),
    "equal": (ops.equal, np.equal),
    "greater": (ops.greater, np.greater),
    "greater_equal": (ops.greater_equal, np.greater_equal),
    "less": (ops.less, np.less),
    "less_equal": (ops.less_equal, np.less_equal),
    "divide": (ops.divide, np.divide),
}
SPECIAL = np.array(
    [0.0, -0.0, 1, -1, 0.5, 1.5, 2.5, -2.5, 88.5, 89.5, -87, -110, 1e-30, 1e30, -1e30,
    3e38,
     16777217, 1e7, np.inf, -np.inf, np.nan], np.float32,
)  # fmt: skip


def whole(*shape):
    return RNG.integers(-8, 9, shape).astype(np.float32)


@st.composite
def broadcastable(draw):
    """Two shapes that go together."""
    full = draw(st.lists(st.integers(0, 20), max_size=5))

    def part():
        kept = full[draw(st.integers(0, len(full))) :]
        return tuple(n if draw(st.booleans()) else 1 for n in kept)

    return part(), part()


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("shape", [(), (5,), (0, 3), (3, 5, 7), (70001,)])
def test_unary(backend, name, shape):
    ours, numpy = UNARY[name]
    x = RNG.uniform(0.1, 4, shape).astype(np.float32)
    y = backend.run(ours, x)[0]
    np.testing.assert_allclose(y, numpy(x.astype(np.float64)), rtol=4e-7, atol=2e-7)


@pytest.mark.parametrize("name", UNARY)
def test_unary_special_values(backend, name):
    ours, numpy = UNARY[name]
    y = backend.run(ours, SPECIAL)[0]
    with np.errstate(all="ignore"):
        expected = np.asarray(numpy(SPECIAL.astype(np.float64))).astype(np.float32)
        expected[np.abs(expected) < np.finfo(np.float32).tiny] = (
            0  # denormals are flushed
        )
        y = np.where(np.abs(y) < np.finfo(np.float32).tiny, 0, y)
    np.testing.assert_allclose(y, expected, rtol=5e-7)


@pytest.mark.parametrize("name", UNARY)
def test_accuracy_over_all_floats(backend, name):
    """A hundred thousand floats of every size: to 4 units in the last place."""
    ours, numpy = UNARY[name]
    x = RNG.integers(0, 2**32, 100_000, dtype=np.uint32).view(np.float32)
    x = np.where(np.isnan(x), np.float32(np.nan), x)  # no signalling ones
    x = np.where(
        np.abs(x) < 1e-36, np.float32(0), x
    )  # near denormals products are flushed
    if name in ("square", "reciprocal"):
        x = x[(np.abs(x) > 1e-18) & (np.abs(x) < 1e18)]
    y = backend.run(ours, x)[0].astype(np.float64)
    with np.errstate(all="ignore"):
        exact = np.asarray(numpy(x.astype(np.float64)), np.float64)
        rounded = exact.astype(np.float32).astype(np.float64)
        exact = np.where(np.isinf(rounded), rounded, exact)
    small = np.abs(exact) < 1e-36
    assert (np.abs(y[small]) < 1e-35).all()
    np.testing.assert_allclose(y[~small], exact[~small], rtol=4 * 2.0**-23)


@pytest.mark.parametrize("name", UNARY)
def test_unary_gradient(check_gradient, name):
    if name in ("sign", "floor", "round", "is_finite"):
        pytest.skip("flat")
    check_gradient(UNARY[name][0], RNG.uniform(0.2, 2, (3, 7)))


def test_flat_ops_have_zero_gradients(backend):
    for f in (ops.sign, ops.floor, ops.round, ops.is_finite):
        dx = backend.run(lambda x, f=f: grad(ops.sum(f(x) + x * 2), x), whole(5))[0]
        np.testing.assert_array_equal(dx, 2)


@given(broadcastable(), st.sampled_from(sorted(BINARY)))
@settings(max_examples=150)
def test_binary_broadcasts(backend, shapes, name):
    ours, numpy = BINARY[name]
    a, b = whole(*shapes[0]), whole(*shapes[1])
    with np.errstate(all="ignore"):
        expected = np.asarray(numpy(a, b)).astype(np.float32)
    np.testing.assert_array_equal(backend.run(ours, a, b)[0], expected)


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "bool"])
def test_binary_of_integers(backend, name, dtype):
    ours, numpy = BINARY[name]
    a, b = (RNG.integers(0, 9, s).astype(dtype) for s in [(4, 3), (3,)])
    y = backend.run(ours, a, b)[0]
    with np.errstate(all="ignore"):
        expected = numpy(a.astype(np.int64), b.astype(np.int64))
    assert y.dtype == ("float32" if name == "divide" else "int64")
    np.testing.assert_array_equal(y, expected.astype(y.dtype))


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((64, 56, 6), (6,)), ((6,), (64, 56, 6)), ((4, 50, 70), (4, 1, 70)),
        ((300, 7), (300, 1)), ((2, 3, 1, 5), (3, 4, 1)), ((40001,), ()),
        ((1, 40001), (3, 1)),
        ((130, 129), (129,)), ((0, 4), (4,)), ((), ()),
    ],
)  # fmt: skip
def test_binary_paths(backend, a, b):
    """Bias, scale by row, scalars, long and short rows; with gradients."""

    def run(x, y, dz):
        z = x * y - y
        return [z, *grad(z, [x, y], dz)]

    shape = np.broadcast_shapes(a, b)
    backend.check(run, whole(*a), whole(*b), whole(*shape))


@pytest.mark.parametrize("name", ["add", "subtract", "multiply", "divide", "power"])
def test_binary_gradient(check_gradient, name):
    f = getattr(ops, name)
    a, b = RNG.uniform(0.5, 2, (3, 4)), RNG.uniform(0.5, 2, (2, 1, 4))
    check_gradient(f, a, b)
    check_gradient(lambda x: f(x, 3), a)


def test_maximum_and_minimum_gradient(check_gradient, backend):
    a, b = (
        RNG.permutation(24.0 * np.arange(24)).reshape(2, 3, 4),
        12 + 24.0 * np.arange(4),
    )
    check_gradient(ops.maximum, a, b)
    check_gradient(ops.minimum, a, b)

    def of_equals(x, y):
        return [*grad(ops.maximum(x, y), [x, y]), *grad(ops.minimum(x, y), [x, y])]

    results = backend.run(of_equals, np.array([1.0]), np.array([1.0]))
    assert [float(r[0]) for r in results] == [1, 0, 1, 0]


def test_power(backend):
    x, y = np.meshgrid(
        SPECIAL, [0, 1, 2, 3, 0.5, -1, -2, -0.5, 1.7, np.inf, -np.inf, np.nan]
    )
    x, y = x.astype(np.float32), y.astype(np.float32)
    z = backend.run(ops.power, x, y)[0]
    with np.errstate(all="ignore"):
        expected = np.power(x.astype(np.float64), y.astype(np.float64)).astype(
            np.float32
        )
    flushed = np.abs(expected) < np.finfo(np.float32).tiny
    z = np.where(flushed & (np.abs(z) < np.finfo(np.float32).tiny), expected, z)
    np.testing.assert_allclose(z, expected, rtol=3e-7)


def test_power_of_zero_has_a_gradient(backend):
    def run(x, y):
        return grad(ops.sum(x**y), [x, y])

    dx, dy = backend.run(run, np.array([0.0, 0.0, 2.0]), np.array([0.0, 2.0, 0.0]))
    np.testing.assert_array_equal(dx, [0, 0, 0])
    np.testing.assert_allclose(dy, [0, 0, math.log(2)], rtol=1e-6)


@pytest.mark.parametrize("exponent", [1, 2, 3, 0.5, -1, -0.5, 0])
def test_power_by_a_number(backend, exponent):
    x = np.array([1.0, 4, 16], np.float32)
    y = backend.run(lambda x: x**exponent, x)[0]
    np.testing.assert_allclose(y, x**exponent, rtol=1e-7)


def test_nan_in_maximum_and_minimum(backend):
    a = np.array([np.nan, 1, np.nan, 1], np.float32)
    b = np.array([1, np.nan, np.nan, 2], np.float32)
    for name in ("maximum", "minimum"):
        ours, numpy = BINARY[name]
        np.testing.assert_array_equal(backend.run(ours, a, b)[0], numpy(a, b))


def test_one_operand_twice(backend):
    backend.check(lambda x: [x + x, x * x, x - x], whole(33))


def test_in_place_chains(backend):
    """Each step may take over the memory of the one before, but not of what is read."""

    def run(x, b):
        y = ops.exp(-ops.relu(x * 0.5 + b) - 1.0)
        z = ops.maximum(y, x)
        return y, z, ops.cast(ops.cast(z, "int32"), "float32")

    x, b = whole(7, 65), whole(65)
    backend.check(run, x, b, reduction_length=1)


@pytest.mark.parametrize(
    "target", ["float32", "float64", "int64", "int32", "uint8", "bool"]
)
@pytest.mark.parametrize("source", ["float32", "int64", "int32", "uint8", "bool"])
def test_cast(backend, source, target):
    values = np.array([0, 1, 2, 100, 255, 3] * 9)
    x = values.astype(source)
    y = backend.run(lambda x: ops.cast(x, target), x)[0]
    assert y.dtype == target
    np.testing.assert_array_equal(y, x.astype(target))


@pytest.mark.parametrize("target", ["int64", "int32", "uint8", "bool"])
def test_cast_saturates(backend, target):
    x = np.array(
        [np.nan, np.inf, -np.inf, 1e20, -1e20, -1.9, 1.9, 255.5, 0.3], np.float32
    )
    y = backend.run(lambda x: ops.cast(x, target), x)[0]
    if target == "bool":
        np.testing.assert_array_equal(y, x != 0)
        return
    low, high = np.iinfo(target).min, np.iinfo(target).max
    below = max(low, -1)
    np.testing.assert_array_equal(y, [0, high, low, high, low, below, 1, 255, 0])


def test_cast_to_float16_and_back(backend):
    bits = np.arange(65536, dtype=np.uint16).view(np.float16)
    bits[np.isnan(bits)] = np.nan  # no signalling ones
    x = np.concatenate(
        [bits.astype(np.float32), RNG.standard_normal(1000), [65519, 65520]]
    )

    def run(x):
        y = ops.cast(x, "float16")
        return y, ops.cast(y, "float32")

    x = x.astype(np.float32)
    y, z = backend.run(run, x)
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(z, expected.astype(np.float32))


def test_cast_gradient(backend):
    dx = backend.run(lambda x: grad(ops.sum(ops.cast(x, "float64")), x), whole(5))[0]
    assert dx.dtype == "float32"
    np.testing.assert_array_equal(dx, 1)


@pytest.mark.parametrize(
    "dtype", ["float32", "float64", "int64", "int32", "uint8", "bool"]
)
def test_filled(backend, dtype):
    def run(x):
        return [
            ops.full((3, 5), 2, dtype), ops.zeros(7, dtype), ops.ones((), dtype),
            ops.zeros_like(x, dtype), ops.ones_like(x), ops.zeros((0, 2), dtype),
        ]  # fmt: skip

    x = whole(4, 3)
    got = backend.run(run, x)
    expected = [
        np.full((3, 5), 2).astype(dtype), np.zeros(7, dtype), np.ones((), dtype),
        np.zeros((4, 3), dtype), np.ones((4, 3), np.float32), np.zeros((0, 2), dtype),
    ]  # fmt: skip
    for g, e in zip(got, expected, strict=True):
        assert g.dtype == e.dtype
        np.testing.assert_array_equal(g, e)


def test_where_ignores_what_is_not_chosen(backend):
    x = np.array([1.0, np.nan, np.inf, -2.0], np.float32)

    def run(x):
        kept = ops.where(ops.is_finite(x), x, 0)
        return [kept, grad(ops.sum(kept * kept), x)]

    kept, gradient = backend.run(run, x)
    np.testing.assert_array_equal(kept, [1, 0, 0, -2])
    np.testing.assert_array_equal(gradient, [2, 0, 0, -4])


def test_where_and_clip(backend):
    def run(c, a, b):
        return [ops.where(c, a, b), ops.where(a > b, a, 0), ops.clip(a, -2, 3)]

    c, a, b = (RNG.integers(0, 2, (4, 1)), whole(4, 5), whole(5))
    got = backend.run(run, c, a, b)
    np.testing.assert_array_equal(got[0], np.where(c, a, b))
    np.testing.assert_array_equal(got[1], np.where(a > b, a, 0))
    np.testing.assert_array_equal(got[2], np.clip(a, -2, 3))


def test_clip_gradient_passes_at_the_limits(backend):
    dx = backend.run(
        lambda x: grad(ops.sum(ops.clip(x, -1, 1)), x), np.array([-2.0, -1, 0, 1, 2])
    )[0]
    np.testing.assert_array_equal(dx, [0, 1, 1, 1, 0])


def test_stop_gradient(backend):
    def run(x):
        y = ops.stop_gradient(x)
        return y, grad(ops.sum(x * y), x)

    x = whole(9)
    y, dx = backend.run(run, x)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(dx, x)


def test_operators_of_tensors(backend):
    def run(x, y):
        compared = [x > y, x >= y, x < y, x <= 1]
        return [x + y, 1 - x, x * y, x / 2, -x, abs(x), 2**x, x**2, *compared]

    x, y = whole(9), whole(9)
    expected = [
        x + y,
        1 - x,
        x * y,
        x / 2,
        -x,
        np.abs(x),
        2**x,
        x**2,
        x > y,
        x >= y,
        x < y,
        x <= 1,
    ]
    for g, e in zip(backend.run(run, x, y), expected, strict=True):
        np.testing.assert_array_equal(g, e.astype(np.float32))


def test_mixed_dtypes(backend):
    images = RNG.integers(0, 256, (3, 4), dtype=np.uint8)
    y = backend.run(
        lambda x: [x / 255.0, x * 0.5, x + 1, ops.maximum(x, np.float32(3))], images
    )
    assert [v.dtype.name for v in y] == ["float32", "float32", "int64", "float32"]
    np.testing.assert_array_equal(y[0], images.astype(np.float32) / np.float32(255))


def test_same_bytes_for_every_number_of_threads(cpu, threads):
    x, b = whole(301, 257), whole(257)
    threads(
        lambda: cpu.run(lambda x, b: [ops.sin(x) * b, ops.power(ops.abs(x), b)], x, b)
    )


def test_torch_agrees(backend):
    torch = pytest.importorskip("torch")
    x = RNG.uniform(0.5, 2, (5, 7)).astype(np.float32)
    y = RNG.uniform(0.5, 2, (5, 1)).astype(np.float32)

    def run(x, y):
        z = ops.sum(x**y / ops.sqrt(x) + ops.erf(x) * ops.cos(y))
        return [z, *grad(z, [x, y])]

    a, b = (torch.tensor(v, requires_grad=True) for v in (x, y))
    z = torch.sum(a**b / torch.sqrt(a) + torch.erf(a) * torch.cos(b))
    z.backward()
    expected = [z.detach().numpy(), a.grad.numpy(), b.grad.numpy()]
    backend.isclose(backend.run(run, x, y), expected, 35, gradients=True)


def test_wrong_arguments():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ShapeError, match=r"add: .*\(2, 3\) and \(2,\)"):
        ops.add(x, np.zeros(2, np.float32))
    with pytest.raises(DtypeError, match="exp: expected floating"):
        ops.exp(np.arange(3))
    with pytest.raises(DtypeError, match="expected a dtype of"):
        ops.cast(x, "complex64")
    with pytest.raises(ArgumentError, match="x_min <= x_max"):
        ops.clip(x, 2, 1)
    with pytest.raises(ShapeError, match="sizes >= 0"):
        ops.zeros((2, -1))
