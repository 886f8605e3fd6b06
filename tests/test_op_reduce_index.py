"""argmax, argmin, std, logsumexp, any and all, against NumPy."""

import numpy as np
import pytest

from fastconv import ops

X = np.random.default_rng(0).integers(-4, 5, (3, 5, 4)).astype(np.float32)
AXES = [None, 0, 1, 2, -1]


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("name", ["argmax", "argmin"])
def test_first_of_the_extremes(backend, name, axis, keepdims):
    found = backend.run(lambda x: getattr(ops, name)(x, axis, keepdims), X)[0]
    expected = getattr(np, name)(X, axis, keepdims=keepdims)
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.int32


def test_extremes_at_infinity():
    x = np.array([[np.inf, 1, np.inf], [-np.inf, -np.inf, -np.inf]], np.float32)
    np.testing.assert_array_equal(ops.argmax(x, 1), [0, 0])
    np.testing.assert_array_equal(ops.argmin(x, 1), [1, 0])


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [*AXES, (0, 2)])
@pytest.mark.parametrize("name", ["any", "all", "std"])
def test_like_numpy(backend, name, axis, keepdims):
    x = np.where(X > 2, 0, X) if name == "all" else X * (X > 3)
    found = backend.run(lambda x: getattr(ops, name)(x, axis, keepdims), x)[0]
    expected = getattr(np, name)(x, axis=axis, keepdims=keepdims)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [*AXES, (0, 2)])
def test_logsumexp(backend, axis, keepdims):
    found = backend.run(lambda x: ops.logsumexp(x, axis, keepdims), X)[0]
    wide = X.astype(np.float64)
    expected = np.log(np.exp(wide).sum(axis, keepdims=keepdims))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_logsumexp_does_not_overflow(check_gradient):
    big = np.array([1e4, 1e4, -1e4], np.float32)
    np.testing.assert_allclose(ops.logsumexp(big), 1e4 + np.log(2), rtol=1e-7)
    check_gradient(lambda x: ops.logsumexp(x, (0, 2)), X)
    check_gradient(lambda x: ops.logsumexp(x, 1, True), X)
    check_gradient(lambda x: ops.std(x, 1), X)
