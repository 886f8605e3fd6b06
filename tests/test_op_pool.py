"""Pooling against the reference, by hand, and against PyTorch."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.execution.function import Function
from fastconv.graph.autodiff import grad
from fastconv.ops.pool import (
    average_pool,
    global_average_pool,
    global_lp_pool,
    global_max_pool,
    lp_pool,
    max_pool,
)

RNG = np.random.default_rng(0)


def integers(*shape):
    return RNG.integers(-3, 4, shape).astype(np.float32)


@st.composite
def problems(draw):
    """Shape of an input, and the window's keywords."""
    axes = draw(st.integers(1, 3))
    spatial = draw(
        st.lists(st.integers(1, (40, 16, 6)[axes - 1]), min_size=axes, max_size=axes)
    )

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(axes))

    keywords = {"pool_size": each(1, 5), "strides": each(1, 4), "dilation": each(1, 3)}
    if draw(st.booleans()):
        keywords["pool_size"] = tuple(spatial)
    keywords["padding"] = draw(
        st.sampled_from(
            ["valid", "same", list(zip(each(-1, 2), each(-1, 2), strict=True))]
        )
    )
    channels = draw(st.sampled_from([1, 2, 3, 5, 6, 7, 8, 16, 17, 33, 64, 65, 70, 131]))
    return (draw(st.integers(0, 3)), *spatial, channels), keywords


def output_of(python, shape, keywords):
    """Shape of the result, or an assumption that fails for impossible windows."""
    x = np.zeros(shape, np.float32)
    try:
        return Function(lambda x: python(x, **keywords), "reference")(x).shape
    except ShapeError:
        assume(False)


@settings(max_examples=60)
@given(problems())
def test_max_pool_is_exact(backend, problem):
    shape, keywords = problem
    seed = integers(*output_of(max_pool, shape, keywords))

    def run(x, seed):
        y, indices = max_pool(x, return_indices=True, **keywords)
        return y, indices, grad(y, x, seed)

    backend.check(run, integers(*shape), seed)


def test_large_results_are_exact(backend):
    """Large enough for stores that pass the caches by."""

    def run(x, seed):
        y, indices = max_pool(x, 2, return_indices=True)
        return y, indices, *grad(y, [x], seed), average_pool(x, 2)

    backend.check(run, integers(2, 364, 364, 32), integers(2, 182, 182, 32))


@settings(max_examples=40)
@given(problems(), st.booleans())
def test_average_pool(backend, problem, count_include_pad):
    shape, keywords = problem
    keywords = keywords | {"count_include_pad": count_include_pad}
    seed = integers(*output_of(average_pool, shape, keywords))

    def run(x, seed):
        y = average_pool(x, **keywords)
        return y, grad(y, x, seed)

    backend.check(run, integers(*shape), seed, reduction_length=40)


@settings(max_examples=40)
@given(problems(), st.sampled_from([1, 2, 3, 1.5]))
def test_lp_pool(backend, problem, p):
    shape, keywords = problem
    keywords = keywords | {"p": p}
    seed = integers(*output_of(lp_pool, shape, keywords))

    def run(x, seed):
        y = lp_pool(x, **keywords)
        return y, grad(y, x, seed)

    backend.check(run, integers(*shape), seed, reduction_length=40)


@pytest.mark.parametrize("pads", [(0, 0), (1, 0), (0, 1), (1, -1), (-1, 0), (-1, -2)])
@pytest.mark.parametrize("stride", [2, 3, 5])
@pytest.mark.parametrize("size", [6, 7, 11])
def test_inputs_that_no_window_covers_get_no_gradient(backend, pads, stride, size):
    def run(x):
        pools = (max_pool, average_pool, lp_pool)
        return [grad(y, x, y) for y in (pool(x, 2, stride, [pads]) for pool in pools)]

    backend.check(run, 4 * integers(2, size, 3), reduction_length=1)


@pytest.mark.parametrize("channels", range(1, 71, 3))
def test_every_channel_count(backend, channels):
    def run(x):
        y = max_pool(x, 2)
        return y, grad(y, x, average_pool(x, 2)), global_max_pool(x)

    backend.check(run, 4 * integers(2, 9, 6, channels))


def test_max_pool_hands_nan_on_and_points_to_the_first(backend):
    nan, inf = np.nan, np.inf
    x = np.array(
        [[1, nan, nan, 5], [-inf, -inf, -inf, -inf], [2, 2, 1, 2], [nan, inf, 3, nan]]
    )
    y, indices = backend.run(
        lambda x: max_pool(x, 4, return_indices=True), x[:, :, None]
    )
    np.testing.assert_array_equal(y[:, 0, 0], [nan, -inf, 2, nan])
    np.testing.assert_array_equal(indices[:, 0, 0], [1, 0, 0, 0])


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_global_max_pool_of_special_values(backend, channels):
    x = np.full((3, 5, 7, channels), -np.inf, np.float32)
    x[1, 3, 2:4] = np.nan
    x[2, 1, 1], x[2, 4, 6] = 7, 7

    def run(x):
        return max_pool(x, (5, 7), return_indices=True)

    y, indices = backend.run(run, x)
    for n, (value, index) in enumerate([(-np.inf, 0), (np.nan, 23), (7, 8)]):
        np.testing.assert_array_equal(y[n], np.full((1, 1, channels), value))
        np.testing.assert_array_equal(indices[n], np.full((1, 1, channels), index))


def test_padding_is_never_chosen(backend):
    y = backend.run(lambda x: max_pool(x, 3, 1, "same"), -np.ones((1, 4, 4, 1)))[0]
    np.testing.assert_array_equal(y, -np.ones((1, 4, 4, 1)))


@pytest.mark.parametrize(("include", "edge"), [(False, 1), (True, 2 / 3)])
def test_average_pool_counts(backend, include, edge):
    def run(x):
        return average_pool(x, 3, 1, "same", count_include_pad=include)

    y = backend.run(run, np.ones((1, 3, 1)))[0]
    np.testing.assert_allclose(y[0, :, 0], [edge, 1, edge], rtol=1e-6)


@pytest.mark.parametrize(
    "shape", [(2, 7, 3), (3, 5, 4, 1), (2, 3, 4, 5, 17), (1, 64, 64, 3)]
)
@pytest.mark.parametrize("keepdims", [False, True])
def test_global_pools(backend, shape, keepdims):
    x = integers(*shape)
    axes = tuple(range(1, x.ndim - 1))
    expected = [
        x.max(axes, keepdims=keepdims),
        x.mean(axes, keepdims=keepdims),
        np.sqrt((x**2).sum(axes, keepdims=keepdims)),
    ]
    pools = (global_max_pool, global_average_pool, global_lp_pool)
    actual = backend.run(lambda x: [pool(x, keepdims) for pool in pools], x)
    backend.isclose(actual, expected, 4096)


def test_empty_batch(backend):
    def run(x):
        ys = [max_pool(x, 2), average_pool(x, 2), lp_pool(x, 2), global_average_pool(x)]
        return [*ys, *(grad(y, x, y) for y in ys)]

    shapes = [y.shape for y in backend.run(run, np.zeros((0, 4, 6, 3)))]
    assert shapes == [(0, 2, 3, 3)] * 3 + [(0, 3)] + [(0, 4, 6, 3)] * 4


def test_gradients(check_gradient):
    x = RNG.permutation(2 * 7 * 6 * 3).reshape(2, 7, 6, 3) / 50 - 2
    options = {"strides": (2, 1), "padding": [(1, 0), (-1, 1)], "dilation": (2, 1)}
    check_gradient(lambda x: max_pool(x, (2, 3), **options), x)
    check_gradient(lambda x: average_pool(x, (2, 3), **options), x)
    for p in (1, 2, 3.5):
        check_gradient(lambda x, p=p: lp_pool(x, (2, 3), p=p, **options), x + 0.003)


def test_lp_gradient_of_zeros_is_zero(backend):
    run = lambda x: grad(lp_pool(x, 2), x, lp_pool(x, 2) + 1.0)  # noqa: E731
    assert not backend.run(run, np.zeros((1, 4, 2)))[0].any()


def test_bytes_do_not_depend_on_threads(cpu, threads):
    x = RNG.standard_normal((4, 33, 31, 19)).astype(np.float32)

    def run(x):
        ys = [
            max_pool(x, 3, 2, "same"),
            average_pool(x, 3, 1, "same"),
            lp_pool(x, 2, p=3),
        ]
        return [*ys, global_average_pool(x), *(grad(y, x, y) for y in ys)]

    threads(lambda: cpu.run(run, x))


X = np.zeros((1, 6, 6, 2), np.float32)


@pytest.mark.parametrize(
    ("python", "error", "words"),
    [
        (lambda: max_pool(X, 7), ShapeError, "does not fit"),
        (lambda: max_pool(X, 2, 1, [(2, 0), (0, 0)]), ShapeError, "wholly in padding"),
        (lambda: max_pool(X, 0), ArgumentError, "integers >= 1"),
        (lambda: max_pool(X, 2, -1), ArgumentError, "strides"),
        (lambda: max_pool(X, 2, 1.5), ArgumentError, "strides"),
        (lambda: average_pool(X, (2, 2, 2)), ArgumentError, "2 values"),
        (lambda: average_pool(X, 2, dilation=0), ArgumentError, "dilation"),
        (lambda: average_pool(X, 2, padding="full"), ArgumentError, "padding"),
        (lambda: max_pool(X[0, 0], 2), ShapeError, "3, 4 or 5 axes"),
        (lambda: max_pool(X[..., :0], 2), ShapeError, "at least 1"),
        (lambda: global_max_pool(X[:, :0]), ShapeError, "at least 1"),
        (lambda: lp_pool(X, 2, p=0), ArgumentError, "p >= 1"),
        (lambda: lp_pool(X, 2, p=np.inf), ArgumentError, "p >= 1"),
        (lambda: max_pool(X.astype(np.int64), 2), DtypeError, "floating"),
    ],
)
def test_errors(python, error, words):
    with pytest.raises(error, match=words):
        python()


@pytest.mark.parametrize(
    ("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 3, 2)]
)
def test_against_torch(backend, kernel, stride, pad):
    torch = pytest.importorskip("torch")
    x = RNG.standard_normal((2, 15, 13, 7)).astype(np.float32)
    there = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    functional = torch.nn.functional
    theirs = [
        functional.max_pool2d(there, kernel, stride, pad),
        functional.avg_pool2d(there, kernel, stride, pad, count_include_pad=False),
    ]

    def run(x):
        ys = [pool(x, kernel, stride, pad) for pool in (max_pool, average_pool)]
        return [*ys, *(grad(y, x, y) for y in ys)]

    gradients = [torch.autograd.grad(y, there, y, retain_graph=True)[0] for y in theirs]
    expected = [t.detach().numpy().transpose(0, 2, 3, 1) for t in (*theirs, *gradients)]
    backend.isclose(backend.run(run, x), expected, kernel**2)


@pytest.mark.parametrize("p", [8, 3.5, 30])
@pytest.mark.parametrize("size", [1e-5, 1e5, 1])
@pytest.mark.parametrize("channels", [1, 20])
def test_lp_pool_of_any_scale(backend, p, size, channels):
    rng = np.random.default_rng(0)
    x = (size * rng.uniform(0.5, 1.5, (2, 40, channels))).astype(np.float32)

    def run(x):
        y = lp_pool(x, 5, 3)
        return y, lp_pool(x, 5, 3, p=p), grad(lp_pool(x, 5, 3, p=p), x, 0 * y + 1)

    _, high, dx = backend.run(run, x)
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(float), 5, 1)[:, ::3]
    expected = (windows**p).sum(-1) ** (1 / p)
    np.testing.assert_allclose(high, expected, rtol=1e-5)
    slopes = np.zeros(x.shape)
    for i in range(expected.shape[1]):
        part = x[:, 3 * i : 3 * i + 5].astype(float) / expected[:, i : i + 1]
        slopes[:, 3 * i : 3 * i + 5] += part ** (p - 1)
    np.testing.assert_allclose(dx, slopes, rtol=1e-4, atol=1e-30)


@pytest.mark.parametrize("p", [1, 2, 3, 2.5])
@pytest.mark.parametrize("strides", [3, 1])
def test_lp_pool_of_special_values(backend, p, strides):
    nan, inf = np.nan, np.inf
    x = np.array([0, 1, 2, nan, 0, 1, inf, 0, -1, inf, -inf, 3, 0, 0, 0, nan, inf, 0])
    x = np.stack([x, -x], axis=1)[None]

    def run(x):
        y = lp_pool(x, 3, strides, p=p)
        return y, grad(y, x, y * 0 + 1)

    def ones(x, dy):
        return grad(lp_pool(x, 3, strides, p=p), x, dy)

    backend.check(run, x, reduction_length=3)
    outputs = (18 - 3) // strides + 1
    backend.check(ones, x, np.ones((1, outputs, 2)), reduction_length=3)


def test_a_long_map_is_checked_at_once():
    x = np.zeros((1, 2_000_000, 1), np.float32)
    start = time.perf_counter()
    Function(lambda x: max_pool(x, 2, 1)).compile(x)
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("dilation", [1, 2, 3])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_windows_in_padding(dilation, size):
    for before, after, kernel, stride in itertools.product(
        range(5), range(5), (1, 2, 3), (1, 2)
    ):
        reach = (kernel - 1) * dilation
        outputs = (size + before + after - reach - 1) // stride + 1
        if size + before + after <= reach:
            continue
        covered = all(
            any(0 <= o * stride - before + k * dilation < size for k in range(kernel))
            for o in range(outputs)
        )
        run = Function(
            lambda x, k=kernel, s=stride, p=[(before, after)]: max_pool(
                x, k, s, p, dilation
            )
        )
        if covered:
            run.compile(np.zeros((1, size, 1), np.float32))
            continue
        with pytest.raises(ShapeError, match="lies wholly in padding"):
            run.compile(np.zeros((1, size, 1), np.float32))
