"""Gradients of whole functions; those of single ops are in test_op_*.py."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv import ops
from fastconv._core import OpKind
from fastconv.errors import ArgumentError, ShapeError
from fastconv.execution.function import Function
from fastconv.graph.autodiff import grad
from fastconv.graph.ir import RULES
from fastconv.graph.variable import Variable

X = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.5]], np.float32)


def test_a_tensor_read_several_times(backend, check_gradient):
    def run(x):
        y = x * x + ops.exp(x) * x
        return y * y - ops.sum(y)

    check_gradient(run, X)
    [dx] = backend.run(lambda x: grad(ops.sum(x * x + x + x), x), X)
    np.testing.assert_array_equal(dx, 2 * X + 2)


def test_several_results_of_one_node(check_gradient):
    def run(x):
        a, b, c = ops.split(x, 3, axis=1)
        return a * b + ops.tanh(c) * a

    check_gradient(run, X)


def test_seed(backend, check_gradient):
    seed = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    [dx] = backend.run(lambda x, s: grad(x * x, x, s), X, seed)
    np.testing.assert_array_equal(dx, 2 * X * seed)
    [dx] = backend.run(lambda x: grad(x * x, x, np.full((2, 3), 2)), X)
    np.testing.assert_array_equal(dx, 4 * X)
    check_gradient(lambda x, s: grad(ops.tanh(x) * x, x, s), X, seed)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_higher_orders(backend, order):
    def run(x):
        y = ops.sum(x * x * x * x)
        for _ in range(order):
            y = ops.sum(grad(y, x))
        return y

    factor = np.prod(range(4 - order + 1, 5))
    [y] = backend.run(run, X[:1])
    np.testing.assert_allclose(y, (factor * X[:1] ** (4 - order)).sum(), rtol=1e-6)


def test_what_the_result_does_not_depend_on_gets_zeros(backend):
    weight = Variable([1.0, 2.0])

    def run(x, y, n):
        return grad(ops.sum(x), [y, weight, n, x])

    dy, dw, dn, dx = backend.run(run, X, X[0], np.arange(3))
    np.testing.assert_array_equal(dy, np.zeros(3))
    np.testing.assert_array_equal(dw, np.zeros(2))
    np.testing.assert_array_equal(dn, np.zeros(3))
    np.testing.assert_array_equal(dx, np.ones((2, 3)))


def test_with_respect_to_something_in_the_middle(backend):
    def run(x):
        y = x * 3
        z = ops.sum(y * y)
        return grad(z, [y, x, z])

    dy, dx, dz = backend.run(run, X)
    np.testing.assert_array_equal(dy, 6 * X)
    np.testing.assert_array_equal(dx, 18 * X)
    assert dz == 1


def test_stop_gradient(backend):
    [dx] = backend.run(lambda x: grad(ops.sum(ops.stop_gradient(x * x) * x), x), X)
    np.testing.assert_array_equal(dx, X * X)


def test_variables_parts_and_lists(backend):
    a, b = Variable(X[0]), Variable(X[1])

    def run():
        y = ops.sum(a * a * b)
        first, second = grad(y, (a, b))
        return first, second, grad(y, b)

    da, db, again = backend.run(run)
    np.testing.assert_array_equal(da, 2 * X[0] * X[1])
    np.testing.assert_array_equal(db, X[0] ** 2)
    np.testing.assert_array_equal(db, again)


def test_gradient_after_an_assignment_is_of_the_new_value(backend):
    a = Variable([2.0])

    def run():
        a.assign(a * 3)
        return grad(ops.sum(a * a), a)

    np.testing.assert_array_equal(backend.run(run)[0], [12])


def test_a_network_that_is_trained_descends(backend):
    rng = np.random.default_rng(0)
    w1, w2 = (Variable(rng.standard_normal(s) * 0.5) for s in ((3, 8), (8, 1)))
    target = np.array([[1.0], [-1.0]], np.float32)

    def step(x, target):
        loss = ops.mean(ops.square(ops.tanh(x @ w1) @ w2 - target))
        for w, g in zip((w1, w2), grad(loss, [w1, w2]), strict=True):
            w.assign(w - g * 0.1)
        return loss

    run = backend.function(step)
    losses = [float(run(X, target)) for _ in range(100)]
    assert losses[-1] < 0.01 * losses[0]


def test_penalty_on_a_gradient(check_gradient):
    def run(x, w):
        score = ops.sum(ops.tanh(x @ w))
        return ops.sum(ops.square(grad(score, x)))

    check_gradient(run, X, np.ones((3, 4)))


def test_every_op_has_a_rule():
    for kind in OpKind:
        assert kind in RULES, kind.name


def test_what_cannot_be_differentiated():
    def traced(python):
        return Function(python, "cpu")

    with pytest.raises(ShapeError, match=r"expected a scalar, received shape \(2, 3\)"):
        traced(lambda x: grad(x * 2, x))(X)
    with pytest.raises(ShapeError, match=r"seed of shape \(2, 3\), received \(3,\)"):
        traced(lambda x: grad(x * 2, x, np.ones(3)))(X)
    with pytest.raises(
        ArgumentError, match="expected a tensor or variable, received 'x'"
    ):
        traced(lambda x: grad(ops.sum(x), "x"))(X)
    with pytest.raises(ArgumentError, match="made inside a traced function"):
        grad(X, Variable(X))
    with pytest.raises(ArgumentError, match="expected a tensor or variable"):
        traced(lambda x: grad(ops.sum(x), [x, 3.0]))(X)
