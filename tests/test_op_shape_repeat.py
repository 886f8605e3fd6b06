"""Copies, swapped axes, and arrays in and out, against NumPy."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import ops
from fastconv.errors import ArgumentError

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize("axes", [(0, 1), (0, 2), (-1, 1), (1, 1)])
def test_swapaxes(backend, axes):
    found = backend.run(lambda x: ops.swapaxes(x, *axes), X)[0]
    np.testing.assert_array_equal(found, X.swapaxes(*axes))


@pytest.mark.parametrize("axis", [None, 0, 1, 2, -1])
@pytest.mark.parametrize("repeats", [1, 3])
def test_repeat(backend, repeats, axis):
    found = backend.run(lambda x: ops.repeat(x, repeats, axis), X)[0]
    np.testing.assert_array_equal(found, X.repeat(repeats, axis))


@pytest.mark.parametrize("repeats", [1, 2, (2, 1), (2, 1, 3), (2, 1, 1, 2), [1]])
def test_tile(backend, repeats):
    found = backend.run(lambda x: ops.tile(x, repeats), X)[0]
    np.testing.assert_array_equal(found, np.tile(X, repeats))


def test_gradients(check_gradient):
    check_gradient(lambda x: ops.repeat(x, 2, 1), X)
    check_gradient(lambda x: ops.tile(x, (2, 1, 3)), X)
    check_gradient(lambda x: ops.unstack(x, axis=1), X)


def test_ravel_and_unstack():
    np.testing.assert_array_equal(ops.ravel(X), X.ravel())
    for axis in (0, -1):
        found = ops.unstack(X, axis=axis)
        np.testing.assert_array_equal(np.stack(found, axis), X)
    with pytest.raises(ArgumentError, match="num=4"):
        ops.unstack(X, 4)


@pytest.mark.parametrize("copies", [0, 1.5, True])
def test_numbers_of_copies(copies):
    with pytest.raises(ArgumentError, match="copies"):
        ops.tile(X, copies)
    with pytest.raises(ArgumentError, match="copies"):
        ops.repeat(X, copies)


def test_arange():
    for given in ((5,), (2, 7), (7, 2, -2), (0.0, 1.0, 0.25), (0,)):
        found = ops.arange(*given)
        np.testing.assert_array_equal(found, np.arange(*given))
        assert found.dtype == ("float32" if given[0] == 0.0 and len(given) > 2 else
                               "int32")  # fmt: skip
    assert ops.arange(3, dtype="float32").dtype == np.float32


def test_in_and_out():
    assert ops.convert_to_tensor([1.0]).dtype == np.float32
    assert ops.convert_to_tensor([1]).dtype == np.int64
    tensor = fc.Input((3,))
    assert ops.convert_to_tensor(tensor) is tensor
    assert ops.convert_to_tensor(tensor, "int32").dtype == "int32"
    assert ops.shape(tensor) == (None, 3)
    assert ops.shape([[1, 2]]) == (1, 2)
    variable = fc.Variable([1.0, 2.0])
    copy = ops.convert_to_numpy(variable)
    copy[0] = 7
    assert variable.value[0] == 1
    with pytest.raises(ArgumentError, match="no value"):
        ops.convert_to_numpy(tensor)
    with pytest.raises(ArgumentError, match="no value"):
        fc.function(ops.convert_to_numpy)([1.0])
    double = fc.function(lambda x: ops.convert_to_tensor(x) * 2.0)
    np.testing.assert_array_equal(double([1.0]), [2.0])
