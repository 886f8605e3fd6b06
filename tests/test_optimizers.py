"""Optimisers against their formulas, and what may change while they work."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import optimizers
from fastconv.errors import ArgumentError, UnknownNameError
from fastconv.execution.function import Function
from fastconv.graph.variable import together

START = [
    np.array([[1.0, -2.0], [3.0, 0.5]], np.float32),
    np.array([4.0, 5.0], np.float32),
]
TARGETS = [np.array([[0.5, 1.0], [-1.0, 2.0]], np.float32), np.array([1.0, -1.0], "f4")]


def stepper(optimizer, device="cpu", neighbours=True):
    """Minimises sum (w - target)^2, whose gradient is 2 (w - target)."""
    weights = [fc.Variable(value, f"w{i}") for i, value in enumerate(START)]
    if neighbours:
        together(weights)

    def step():
        loss = sum(
            fc.ops.sum(fc.ops.square(w - t))
            for w, t in zip(weights, TARGETS, strict=True)
        )
        optimizer.apply(zip(fc.grad(loss, weights), weights, strict=True))
        return loss

    return weights, Function(step, device)


def formula(steps, rate, momentum=0.0, nesterov=False, decay=0.0, clip=lambda gs: gs):
    w = [v.astype(np.float64) for v in START]
    v = [np.zeros_like(a) for a in w]
    for _ in range(steps):
        gs = clip([2 * (a - t) for a, t in zip(w, TARGETS, strict=True)])
        for i, g in enumerate(gs):
            w[i] = w[i] * (1 - rate * decay)
            v[i] = momentum * v[i] - rate * g
            w[i] = w[i] + (momentum * v[i] - rate * g if nesterov else v[i])
    return w


def clip_norm(gs):
    return [g * min(1.0, 0.5 / np.linalg.norm(g)) for g in gs]


def clip_global(gs):
    norm = np.sqrt(sum((g**2).sum() for g in gs))
    return [g * min(1.0, 0.5 / norm) for g in gs]


@pytest.mark.parametrize("device", ["cpu", "reference"])
@pytest.mark.parametrize("neighbours", [True, False])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"momentum": 0.9}, {"momentum": 0.9}),
        ({"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "nesterov": True}),
        ({"weight_decay": 0.1}, {"decay": 0.1}),
        ({"clipvalue": 0.5}, {"clip": lambda gs: [np.clip(g, -0.5, 0.5) for g in gs]}),
        ({"clipnorm": 0.5}, {"clip": clip_norm}),
        ({"global_clipnorm": 0.5}, {"clip": clip_global}),
    ],
)
def test_sgd_is_its_formula(options, expected, neighbours, device):
    weights, step = stepper(optimizers.SGD(0.05, **options), device, neighbours)
    for _ in range(5):
        step()
    for w, e in zip(weights, formula(5, 0.05, **expected), strict=True):
        np.testing.assert_allclose(w.numpy(), e, rtol=1e-5, atol=1e-6)


def test_neighbours_are_updated_by_one_op():
    for neighbours, updates in ((True, 1), (False, 2)):
        _, step = stepper(optimizers.SGD(0.1, momentum=0.5), "cpu", neighbours)
        assert sum(line.op == "sgd" for line in step.explain()) == updates


def test_learning_rate_and_momentum_are_not_baked_in():
    optimizer = optimizers.SGD(0.1, momentum=0.5)
    weights, step = stepper(optimizer)
    step()
    before = weights[0].numpy()
    optimizer.learning_rate, optimizer.momentum = 0.0, 0.0
    step()
    np.testing.assert_array_equal(weights[0].numpy(), before)
    assert optimizer.learning_rate == 0.0


def test_schedule():
    optimizer = optimizers.SGD(lambda step: 0.1 / (1 + step))
    optimizer.iterations = 4
    weights, step = stepper(optimizer)
    step()
    assert optimizer.learning_rate == pytest.approx(0.02)
    assert optimizer.iterations == 5
    expected = START[0] - np.float32(0.02) * 2 * (START[0] - TARGETS[0])
    np.testing.assert_allclose(weights[0].numpy(), expected, rtol=1e-6)


def test_bad_arguments():
    for bad in (-1.0, float("nan"), "fast"):
        with pytest.raises(ArgumentError, match="learning_rate"):
            optimizers.SGD(bad)
    with pytest.raises(ArgumentError, match="momentum"):
        optimizers.SGD(momentum=1.5)
    with pytest.raises(ArgumentError, match="at most one"):
        optimizers.SGD(clipnorm=1.0, clipvalue=1.0)
    with pytest.raises(ArgumentError, match="velocity"):
        optimizers.SGD().momentum = 0.9
    with pytest.raises(ArgumentError, match="expected variables"):
        optimizers.SGD().apply([(1.0, 2.0)])


def test_old_name_of_the_rate():
    with pytest.warns(DeprecationWarning, match="learning_rate"):
        assert optimizers.SGD(lr=0.5).learning_rate == 0.5


def test_lookup_and_config():
    with pytest.raises(UnknownNameError, match="sgd"):
        optimizers.get("sgdd")
    with pytest.raises(ArgumentError):
        optimizers.get(3)
    optimizer = optimizers.SGD(0.3, momentum=0.7, nesterov=True, clipnorm=2.0)
    again = optimizers.get(optimizers.serialize(optimizer))
    assert again.get_config() == optimizer.get_config()
