"""Truth values, rounding up and one-hot rows, against NumPy."""

import numpy as np
import pytest

from fastconv import ops
from fastconv.errors import ArgumentError

A = np.array([0, 0, 1, -2, 0.5, np.nan, 3, 3], np.float32)
B = np.array([0, 1, 0, 5, 0.5, 1, np.inf, 3], np.float32)
PAIRS = ["not_equal", "logical_and", "logical_or", "logical_xor"]


@pytest.mark.parametrize("name", PAIRS)
def test_pairs(backend, name):
    found = backend.run(getattr(ops, name), A, B)[0]
    np.testing.assert_array_equal(found, getattr(np, name)(A, B))


@pytest.mark.parametrize("name", ["logical_not", "isnan", "ceil"])
def test_single(backend, name):
    np.testing.assert_array_equal(
        backend.run(getattr(ops, name), A)[0], getattr(np, name)(A)
    )


def test_broadcast_and_integers():
    found = ops.logical_and(np.array([[1], [0]]), np.array([2, 0]))
    np.testing.assert_array_equal(found, [[1, 0], [0, 0]])
    np.testing.assert_array_equal(ops.not_equal(np.arange(3), 1), [1, 0, 1])


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float32"])
def test_one_hot(backend, dtype):
    labels = np.array([[0, 2], [4, 1]]).astype(dtype)
    found = backend.run(lambda x: ops.one_hot(x, 4), labels)[0]
    expected = np.eye(5, 4, dtype=np.float32)[labels.astype(int)]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == np.float32
    assert ops.one_hot(labels, 5, dtype="int32").dtype == np.int32


@pytest.mark.parametrize(
    "given", [{"num_classes": 0}, {"num_classes": 2.5}, {"num_classes": 3, "axis": 0}]
)
def test_one_hot_errors(given):
    with pytest.raises(ArgumentError, match="one_hot"):
        ops.one_hot([1, 2], **given)
