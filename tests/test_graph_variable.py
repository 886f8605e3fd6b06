"""Variables, and the blocks that hold them."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv import ops
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.execution.function import Function
from fastconv.graph.variable import Variable, check_variables, runs, span, together


def make(*sizes, dtype="float32"):
    return [
        Variable(np.full(n, i + 1), f"v{i}", dtype=dtype) for i, n in enumerate(sizes)
    ]


def test_value_dtype_and_name():
    v = Variable([[1, 2], [3, 4.5]], "kernel", trainable=False)
    assert (v.name, v.shape, v.ndim, v.size) == ("kernel", (2, 2), 2, 4)
    assert (v.dtype, v.trainable) == ("float32", False)
    assert Variable(3).dtype == "int64"
    assert Variable(3).shape == ()
    assert Variable([1.0], dtype="float64").value.dtype == np.float64
    assert repr(v) == "<Variable 'kernel' float32[2, 2]>"
    with pytest.raises(DtypeError, match="received 'complex128'"):
        Variable([1j])


def test_value_is_a_view_and_numpy_a_copy():
    v = Variable([1.0, 2.0])
    v.value[0] = 7
    copy, array = v.numpy(), np.asarray(v)
    v.value[1] = 8
    np.testing.assert_array_equal(v.numpy(), [7, 8])
    np.testing.assert_array_equal(copy, [7, 2])
    np.testing.assert_array_equal(array, [7, 2])
    assert np.asarray(v, np.float64).dtype == np.float64


def test_assign():
    v = Variable([1.0, 2.0], "w")
    v.assign([3, 4])
    np.testing.assert_array_equal(v.value, [3, 4])
    with pytest.raises(
        ShapeError, match=r"'w': expected .* shape \(2,\), received \(3,\)"
    ):
        v.assign(np.zeros(3))


def test_operators():
    v = Variable([1.0, 4.0])
    for result, expected in (
        (v + 1, [2, 5]), (1 - v, [0, -3]), (v * v, [1, 16]), (v / 2, [0.5, 2]),
        (-v, [-1, -4]), (v + v, [2, 8]),
        (v**2, [1, 16]), (abs(-v), [1, 4]), (v[1:], [4]), (np.ones(2) * v, [1, 4]),
    ):  # fmt: skip
        np.testing.assert_array_equal(result, expected)
    run = Function(lambda x: (v > x, x @ ops.reshape(v, (2, 1)), np.ones(2) + v))
    greater, product, total = run(np.array([[2.0, 2.0]], np.float32))
    np.testing.assert_array_equal(greater, [[0, 1]])
    np.testing.assert_array_equal(product, [[10]])
    np.testing.assert_array_equal(total, [2, 5])


def test_together_keeps_values_and_order():
    a, b, c = make(2, 3, 1)
    together([a, b, a, c])
    assert a.block is b.block is c.block
    np.testing.assert_array_equal(a.block.array, [1, 1, 2, 2, 2, 3])
    b.value[...] = 9
    np.testing.assert_array_equal(a.block.array, [1, 1, 9, 9, 9, 3])


def test_together_separates_dtypes_and_leaves_blocks_alone():
    floats, wide = make(2, 3), make(4, 1, dtype="float64")
    together([floats[0], wide[0], floats[1], wide[1]])
    assert floats[0].block is floats[1].block
    assert wide[0].block is wide[1].block
    assert wide[0].block is not floats[0].block
    block, [late] = floats[0].block, make(5)
    together([*floats, late])
    assert floats[0].block is block
    assert late.block is not block


def test_span_and_overlaps():
    a, b, c = make(2, 3, 1)
    together([a, b, c])
    both = span([b, c])
    assert (both.shape, both.offset) == ((4,), 2)
    both.value[...] = [5, 6, 7, 8]
    np.testing.assert_array_equal(b.value, [5, 6, 7])
    np.testing.assert_array_equal(c.value, [8])
    assert both.overlaps(b)
    assert c.overlaps(both)
    assert not both.overlaps(a)
    assert not a.overlaps(Variable(a.value))


def test_runs_are_neighbours_in_memory_order():
    a, b, c, d = make(2, 3, 1, 2)
    [alone] = make(4)
    together([a, b, c, d])
    assert runs([b, alone, a, d, b]) == [[a, b], [d], [alone]]
    assert runs([]) == []


def test_check_variables():
    variables = make(1, 2)
    assert check_variables(iter(variables), "optimizer") == variables
    with pytest.raises(
        ArgumentError, match="optimizer: expected variables, received 3"
    ):
        check_variables([variables[0], 3], "optimizer")
