"""Host functions in a plan."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

from fastconv import ops
from fastconv.errors import ArgumentError, ShapeError
from fastconv.graph.autodiff import grad
from fastconv.graph.variable import Variable
from fastconv.ops import callback

VECTOR = ((3,), "float32")
X = np.array([3.0, -1.0, 2.0], np.float32)


def cube(x):
    return x**3


def cube_gradient(x, dy):
    return 3 * x**2 * dy


def test_in_the_middle_of_a_plan(backend):
    [y] = backend.run(lambda x: ops.callback(cube, x + 1, VECTOR) * 2, X)
    np.testing.assert_array_equal(y, (X + 1) ** 3 * 2)


def test_on_arrays_at_once():
    np.testing.assert_array_equal(ops.callback(np.sort, X, VECTOR), np.sort(X))


def test_several_inputs_and_outputs(backend):
    def host(x, indices):
        return x[indices], np.int64(indices.sum()), x > 0

    specs = [((2,), "float32"), ((), "int64"), ((3,), "bool")]
    indices = np.array([2, 0])
    results = backend.run(lambda x, i: ops.callback(host, [x, i], specs), X, indices)
    for actual, expected in zip(results, ([2, 3], 2, [True, False, True]), strict=True):
        np.testing.assert_array_equal(actual, expected)
    assert [r.dtype.name for r in results] == ["float32", "int64", "bool"]


def test_no_inputs_and_one_output_in_a_list(backend):
    [y] = backend.run(lambda: ops.callback(lambda: [X], [], [VECTOR]))
    np.testing.assert_array_equal(y, X)


def test_called_once_a_run(backend):
    calls = []

    def host(x):
        calls.append(x.copy())
        return x

    run = backend.function(lambda x: ops.callback(host, x, VECTOR))
    for i in range(3):
        run(X + i)
    np.testing.assert_array_equal(calls, [X, X + 1, X + 2])


def test_inputs_are_copies(backend):
    def host(x):
        x[:] = 7
        return x

    x, y = backend.run(lambda x: (x, ops.callback(host, x, VECTOR)), X)
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, [7, 7, 7])


def test_gradient(backend, check_gradient):
    def run(x):
        return ops.callback(cube, x * 2, VECTOR, cube_gradient)

    [dx] = backend.run(lambda x: grad(ops.sum(run(x)), x), X)
    np.testing.assert_array_equal(dx, 24 * X**2)
    wide = ((3,), "float64")
    check_gradient(lambda x: ops.callback(cube, x, wide, cube_gradient), X)


def test_gradient_of_some_inputs_and_outputs(backend):
    def host(x, y, n):
        return x * y, x + n

    def back(x, y, n, d_product, d_sum):
        return d_product * y + d_sum, None, None

    def run(x, y, n):
        product, total = ops.callback(host, [x, y, n], [VECTOR, VECTOR], back)
        return [*grad(ops.sum(product), [x, y]), grad(ops.sum(total), x)]

    dx, dy, one = backend.run(run, X, X + 1, np.arange(3))
    np.testing.assert_array_equal(dx, X + 1)
    np.testing.assert_array_equal(dy, np.zeros(3))
    np.testing.assert_array_equal(one, np.ones(3))


def test_gradient_that_is_missing():
    from fastconv.execution.function import Function

    with pytest.raises(ArgumentError, match="callback cube has no gradient"):
        Function(lambda x: grad(ops.sum(ops.callback(cube, x, VECTOR)), x))(X)

    def second(x):
        dx = grad(ops.sum(ops.callback(cube, x, VECTOR, cube_gradient)), x)
        return grad(ops.sum(dx), x)

    with pytest.raises(ArgumentError, match="has no gradient"):
        Function(second)(X)


def test_gradient_of_the_wrong_number(backend):
    def run(x, y):
        z = ops.callback(np.add, [x, y], VECTOR, lambda x, y, dz: dz)
        return grad(ops.sum(z), [x, y])

    with pytest.raises(
        ShapeError, match="to return 2 arrays, one an input, received 1"
    ):
        backend.run(run, X, X)


def test_wrong_results(backend):
    with pytest.raises(ShapeError, match=r"of shapes \[\(3,\)\], received \[\(2,\)\]"):
        backend.run(lambda x: ops.callback(lambda x: x[1:], x, VECTOR), X)
    with pytest.raises(ShapeError, match=r"received \[\(3,\), \(3,\)\]"):
        backend.run(lambda x: ops.callback(lambda x: (x, x), x, VECTOR), X)
    with pytest.raises(ShapeError, match=r"received \[\(\)\]"):
        backend.run(lambda x: ops.callback(lambda _: None, x, VECTOR), X)


def test_what_the_function_raises(backend):
    weight = Variable(X.copy())

    def host(_):
        raise KeyError("no such thing")

    def run(x):
        y = ops.callback(host, x, VECTOR)
        weight.assign(y)
        return y

    with pytest.raises(KeyError, match="no such thing"):
        backend.run(run, X)
    np.testing.assert_array_equal(weight.value, X)


@pytest.mark.parametrize(
    ("function", "specs", "message"),
    [
        ("cube", VECTOR, "expected functions, received 'cube'"),
        (cube, "float32", r"expected \(shape, dtype\)"),
        (cube, [], "at least one output"),
        (cube, ((-1,), "float32"), r"integers >= 0, received \(-1,\)"),
    ],
)
def test_bad_arguments(function, specs, message):
    with pytest.raises(ArgumentError, match=message):
        ops.callback(function, X, specs)


def test_a_plan_does_not_keep_the_owner_of_its_host_function(backend):
    class Owner:
        def __init__(self):
            self.run = backend.function(
                lambda x: callback(self.double, x, ((2,), "float32"))
            )

        def double(self, x):
            return 2 * x

    owner = Owner()
    np.testing.assert_array_equal(owner.run([1.0, 2.0]), [2, 4])
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None


def test_host_functions_compute_with_denormals():
    def tiny(x):
        return np.array([np.float32(x[0]) * np.float32(1e-10) * np.float32(1e10)])

    x = np.array([1e-30], np.float32)
    y = callback(tiny, x, ((1,), "float32"))
    np.testing.assert_allclose(y, x, rtol=1e-3)
