"""Sum, mean, maximum, minimum, variance over any axes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv import ops
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.graph.autodiff import grad

RNG = np.random.default_rng(0)
REDUCE = {
    "sum": (ops.sum, np.sum),
    "mean": (ops.mean, np.mean),
    "max": (ops.max, np.max),
    "min": (ops.min, np.min),
}


def whole(*shape):
    return RNG.integers(-8, 9, shape).astype(np.float32)


@st.composite
def problems(draw):
    shape = draw(st.lists(st.integers(1, 12), max_size=6))
    axes = [i for i in range(len(shape)) if draw(st.booleans())]
    return tuple(shape), tuple(axes)


def check(backend, name, shape, axes, keepdims=False):
    ours, numpy = REDUCE[name]
    x = whole(*shape)
    y = backend.run(lambda x: ours(x, axes, keepdims), x)[0]
    expected = numpy(x.astype(np.float64), axis=axes, keepdims=keepdims)
    if name == "mean":
        np.testing.assert_allclose(y, expected, rtol=2e-7, atol=1e-7)
    else:
        np.testing.assert_array_equal(y, expected)


@settings(max_examples=200)
@given(problems(), st.sampled_from(sorted(REDUCE)), st.booleans())
def test_any_axes(backend, problem, name, keepdims):
    check(backend, name, *problem, keepdims)


@pytest.mark.parametrize("name", REDUCE)
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((20000, 6), (0,)), ((20000, 1), (0,)), ((3000, 16), (0,)), ((700, 257), (0,)),
        ((5, 49, 512), (1,)), ((3, 14, 14, 100), (1, 2)), ((8, 5000), (0,)),
        ((1000, 10), (1,)), ((7, 40000), (1,)), ((300, 3), (1,)), ((40, 130), (-1,)),
        ((100000,), (0,)), ((17, 3, 19, 5), (0, 2)), ((6, 40, 7, 33), (1, 3)),
        ((2, 9001), (0,)),
        ((), ()), ((1, 1), (0, 1)), ((4, 4), ()),
    ],
)  # fmt: skip
def test_paths(backend, name, shape, axes):
    check(backend, name, shape, axes)


def test_axis_defaults_to_all_and_counts_from_the_end(backend):
    x = whole(3, 4, 5)
    got = backend.run(
        lambda x: [ops.sum(x), ops.sum(x, -1), ops.max(x, [0, -1], True)], x
    )
    np.testing.assert_array_equal(got[0], x.sum())
    np.testing.assert_array_equal(got[1], x.sum(-1))
    np.testing.assert_array_equal(got[2], x.max((0, 2), keepdims=True))


@pytest.mark.parametrize("name", REDUCE)
@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2), None])
def test_gradient(check_gradient, name, axes):
    x = (
        1.0 * RNG.permutation(60).reshape(3, 4, 5)
        if name in ("max", "min")
        else whole(3, 4, 5)
    )
    check_gradient(lambda x: REDUCE[name][0](x, axes), x)
    check_gradient(lambda x: REDUCE[name][0](x, axes, True), x)


def test_gradient_is_shared_among_equals(backend):
    def run(x):
        return grad(ops.max(x), x), grad(ops.min(x), x)

    low, high = backend.run(run, np.array([3.0, 1, 3, 1, 1, 3, 2, 3]))
    np.testing.assert_array_equal(low, [0.25, 0, 0.25, 0, 0, 0.25, 0, 0.25])
    np.testing.assert_allclose(high, [0, 1 / 3, 0, 1 / 3, 1 / 3, 0, 0, 0], rtol=1e-6)


def test_variance(backend, check_gradient):
    x = RNG.standard_normal((33, 65)).astype(np.float32) + 1000
    got = backend.run(lambda x: [ops.variance(x), ops.variance(x, 0, True)], x)
    wide = x.astype(np.float64)
    np.testing.assert_allclose(got[0], wide.var(), rtol=1e-4)
    np.testing.assert_allclose(got[1], wide.var(0, keepdims=True), rtol=1e-4)
    check_gradient(lambda x: ops.variance(x, 1), whole(3, 5))


@pytest.mark.parametrize("shape", [(4_000_003,), (2_000_001, 2), (2, 2_000_001)])
def test_long_sums_stay_exact(backend, shape):
    x = RNG.random(shape, dtype=np.float32)
    y = backend.run(ops.sum, x)[0]
    np.testing.assert_allclose(y, x.sum(dtype=np.float64), rtol=2e-7)
    columns = backend.run(lambda x: ops.sum(x, 0), x)[0]
    np.testing.assert_allclose(columns, x.sum(0, dtype=np.float64), rtol=3e-7)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1), (2,)])
@pytest.mark.parametrize("name", ["max", "min", "sum", "mean"])
def test_nan_is_handed_on(backend, name, axes):
    ours, numpy = REDUCE[name]
    x = whole(19, 3, 33)
    x[4, 1, 32] = np.nan
    y = backend.run(lambda x: ours(x, axes), x)[0]
    np.testing.assert_array_equal(np.isnan(y), np.isnan(numpy(x, axis=axes)))


def test_infinity(backend):
    x = np.array([[np.inf, 1], [-np.inf, 2], [-np.inf, -np.inf]], np.float32)
    got = backend.run(lambda x: [ops.max(x, 1), ops.min(x, 1), ops.sum(x, 1)], x)
    np.testing.assert_array_equal(got[0], [np.inf, 2, -np.inf])
    np.testing.assert_array_equal(got[1], [1, -np.inf, -np.inf])
    np.testing.assert_array_equal(got[2], [np.inf, -np.inf, -np.inf])


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((0, 5), 0),
        ((0, 5), 1),
        ((5, 0), 1),
        ((5, 0), 0),
        ((0,), 0),
        ((3, 0, 4), (0, 1)),
    ],
)
def test_sum_of_nothing_is_zero(backend, shape, axes):
    x = np.zeros(shape, np.float32)
    y = backend.run(lambda x: ops.sum(x, axes), x)[0]
    np.testing.assert_array_equal(y, x.sum(axes))


def test_empty_batch(backend):
    x = np.zeros((0, 7, 3), np.float32)
    got = backend.run(
        lambda x: [ops.mean(x, 1), ops.max(x, (1, 2)), grad(ops.sum(x), x)], x
    )
    assert [g.shape for g in got] == [(0, 3), (0,), (0, 7, 3)]


def test_same_bytes_for_every_number_of_threads(cpu, threads):
    x = RNG.standard_normal((40, 60, 70)).astype(np.float32)

    def run(x):
        flat = ops.reshape(x, (-1, 6))
        return [
            ops.sum(x),
            ops.sum(x, (0, 1)),
            ops.mean(x, 1),
            ops.sum(x, -1),
            ops.sum(flat, 0),
        ]

    threads(lambda: cpu.run(run, x))


def test_torch_agrees(backend):
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((6, 7, 8)).astype(np.float32)

    def run(x):
        y = ops.sum(ops.square(ops.mean(x, (0, 2)))) + ops.sum(ops.max(x, 1) * 2)
        return y, grad(y, x)

    t = torch.tensor(x, requires_grad=True)
    y = t.mean((0, 2)).square().sum() + 2 * t.amax(1).sum()
    y.backward()
    backend.isclose(
        backend.run(run, x), [y.detach().numpy(), t.grad.numpy()], 48, gradients=True
    )


def test_wrong_arguments():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(ArgumentError, match="sum: expected an axis from -2 to 1"):
        ops.sum(x, 2)
    with pytest.raises(ArgumentError, match="different axes"):
        ops.sum(x, (1, -1))
    with pytest.raises(ArgumentError, match="axis number"):
        ops.sum(x, "rows")
    with pytest.raises(DtypeError, match="sum: expected floating"):
        ops.sum(np.arange(3))
    for f in (ops.mean, ops.max, ops.min, ops.variance):
        with pytest.raises(ShapeError, match="at least 1 element"):
            f(np.zeros((3, 0), np.float32), 1)
