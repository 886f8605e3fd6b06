"""Scaling: by an independent formula and by other libraries; gradients, edges."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv._core import OpKind, ResizeAttrs
from fastconv.errors import ArgumentError, ShapeError, UnknownNameError
from fastconv.graph.autodiff import grad
from fastconv.graph.ir import emit
from fastconv.graph.trace import constant
from fastconv.ops.resize import INTERPOLATIONS, resize

RNG = np.random.default_rng(0)
FILTERS = ("bilinear", "bicubic", "lanczos3", "lanczos5")


def kernel(name: str, x: float) -> float:
    x = abs(x)
    if name == "bilinear":
        return max(0.0, 1 - x)
    if name == "bicubic":
        if x < 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0
    radius = int(name[-1])
    if x >= radius:
        return 0.0
    if x == 0:
        return 1.0
    a, b = math.pi * x, math.pi * x / radius
    return math.sin(a) / a * math.sin(b) / b


def matrix(n: int, m: int, name: str, antialias: bool) -> np.ndarray:
    """The whole matrix of weights, one number after the other."""
    w = np.zeros((m, n))
    for i in range(m):
        if name == "nearest":
            w[i, math.floor((i + 0.5) * n / m + 1e-12)] = 1
        for j in range(n):
            if name == "area":
                overlap = min(j + 1, (i + 1) * n / m) - max(j, i * n / m)
                w[i, j] = max(0.0, overlap)
            elif name != "nearest":
                stretch = max(n / m, 1) if antialias else 1
                w[i, j] = kernel(name, (j - (i + 0.5) * n / m + 0.5) / stretch)
    return w / w.sum(axis=1, keepdims=True)


sizes = st.integers(1, 17)


@settings(max_examples=80)
@given(
    st.lists(st.tuples(sizes, sizes), min_size=1, max_size=3),
    st.sampled_from(INTERPOLATIONS),
    st.booleans(),
    st.integers(0, 2),
    st.sampled_from([1, 3, 19]),
)
def test_values_and_gradient(backend, axes, name, antialias, batch, channels):
    source = [n for n, _ in axes]
    target = tuple(m for _, m in axes)
    x = RNG.standard_normal((batch, *source, channels)).astype(np.float32)
    dy = RNG.standard_normal((batch, *target, channels)).astype(np.float32)

    def run(x, dy):
        y = resize(x, target, name, antialias)
        return y, grad(y, x, dy)

    y, dx = backend.run(run, x, dy)
    wide, back = x.astype(float), dy.astype(float)
    for axis, (n, m) in enumerate(axes, 1):
        w = matrix(n, m, name, antialias)
        wide = np.moveaxis(np.tensordot(w, wide, (1, axis)), 0, axis)
        back = np.moveaxis(np.tensordot(w.T, back, (1, axis)), 0, axis)
    np.testing.assert_allclose(y, wide, atol=2e-5)
    np.testing.assert_allclose(dx, back, atol=2e-4)


@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_gradient(check_gradient, name):
    x = RNG.standard_normal((2, 5, 7, 2))
    check_gradient(lambda x: resize(x, (8, 3), name, antialias=True), x)


def test_second_gradient(check_gradient):
    def slope(x, v):
        y = resize(x, (5,))
        return grad(y * y, x, v)

    x, v = RNG.standard_normal((1, 3, 2)), RNG.standard_normal((1, 5, 2))
    check_gradient(slope, x, v)


@pytest.mark.parametrize("shape", [(6, 7, 3), (2, 6, 7, 3)])
def test_axes_before_the_spatial_ones_stay(backend, shape):
    x = np.broadcast_to(np.arange(float(shape[-2]))[:, None], shape)
    y = backend.run(lambda x: resize(x, (3, 7), "area"), x)[0]
    np.testing.assert_allclose(y, x[..., ::2, :, :], rtol=1e-6)


def test_integers_become_float(backend):
    x = np.array([[[0], [4]]], np.uint8)
    y = backend.run(lambda x: resize(x, (4,)), x)[0]
    assert y.dtype == np.float32
    assert y[0, :, 0].tolist() == [0, 1, 3, 4]


def test_the_same_size_is_the_same_tensor():
    def run(x):
        assert resize(x, (4, 5)) is x
        return x * 1.0

    fc.function(run)(np.zeros((1, 4, 5, 2), np.float32))


def test_pixels_that_do_not_count_are_not_read(backend):
    x = np.array([1, np.nan, np.nan, 4, 5, 6], np.float32)[:, None]
    y = backend.run(lambda x: resize(x, (2,), "nearest"), x)[0]
    assert y.tolist()[1] == [5]
    y = backend.run(lambda x: resize(x, (2,), "bicubic"), x)[0]
    assert np.isnan(y[0]).all()
    y = backend.run(lambda x: resize(x, (12,), "bilinear"), x)[0]
    assert np.isnan(y[:, 0]).tolist() == [False] + [True] * 6 + [False] * 5


def test_bytes_do_not_depend_on_threads(cpu, threads):
    x = RNG.standard_normal((4, 61, 67, 3)).astype(np.float32)
    threads(lambda: cpu.run(lambda x: resize(x, (124, 33), "bicubic"), x))


@pytest.mark.parametrize("first", [-1, 3, 2**31 - 1])
def test_a_range_outside_stops_the_plan(native, first):
    """As a file could have it: a plan made by hand."""

    def run(x):
        ranges = constant(np.array([[first, 1]], np.int32))
        weights = constant(np.ones((1, 1), np.float32))
        return emit(OpKind.resize, ResizeAttrs(axis=1), x, ranges, weights)[0]

    with pytest.raises(fc.errors.FastconvError, match="range of 1 elements"):
        native.run(run, np.ones((1, 3, 1)))


X = np.zeros((1, 4, 4, 2), np.float32)


@pytest.mark.parametrize(
    ("python", "error", "words"),
    [
        (lambda: resize(X, (0, 2)), ArgumentError, "integers >= 1"),
        (lambda: resize(X, (2.5, 2)), ArgumentError, "integers >= 1"),
        (lambda: resize(X, ()), ArgumentError, "1 to 3"),
        (lambda: resize(X, (1, 1, 1, 1)), ArgumentError, "1 to 3"),
        (lambda: resize(X[0, 0], (2, 2)), ShapeError, "2 spatial axes"),
        (lambda: resize(X[:, :0], (2, 2)), ShapeError, "1 pixel"),
        (lambda: resize(X, (2, 2), "bilinaer"), UnknownNameError, "bilinear"),
    ],
)
def test_errors(python, error, words):
    with pytest.raises(error, match=words):
        python()


# Other libraries

PAIRS = [((5, 7), (11, 16)), ((12, 9), (5, 4)), ((8, 8), (4, 16)), ((3, 5), (3, 4))]


@pytest.mark.parametrize("sizes", PAIRS)
@pytest.mark.parametrize("name", ["nearest", "bilinear", "bilinear+", "bicubic+"])
def test_torch_agrees(sizes, name):
    torch: Any = pytest.importorskip("torch")
    source, target = sizes
    mode, antialias = name.rstrip("+"), name.endswith("+")
    x = RNG.standard_normal((2, *source, 3)).astype(np.float32)
    dy = RNG.standard_normal((2, *target, 3)).astype(np.float32)
    given = torch.tensor(x.transpose(0, 3, 1, 2), requires_grad=True)
    more = {} if mode == "nearest" else {"align_corners": False, "antialias": antialias}
    mode_there = "nearest-exact" if mode == "nearest" else mode
    y = torch.nn.functional.interpolate(given, target, mode=mode_there, **more)
    y.backward(torch.tensor(dy.transpose(0, 3, 1, 2).copy()))

    def run(x, dy):
        out = resize(x, target, mode, antialias)
        return out, grad(out, x, dy)

    ours, slope = fc.function(run)(x, dy)
    theirs = y.detach().numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    slope_there = given.grad.numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(slope, slope_there, atol=2e-5)


@pytest.mark.parametrize("sizes", PAIRS)
@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("name", INTERPOLATIONS)
def test_tensorflow_agrees(sizes, name, antialias):
    tf: Any = pytest.importorskip("tensorflow")
    source, target = sizes
    x = RNG.standard_normal((2, *source, 3)).astype(np.float32)
    theirs = tf.image.resize(x, target, name, antialias=antialias).numpy()
    # Its bicubic without antialias looks weights up in a table of 1024.
    tolerance = 5e-3 if name == "bicubic" and not antialias else 1e-5
    ours = resize(x, target, name, antialias)
    np.testing.assert_allclose(ours, theirs, atol=tolerance)
