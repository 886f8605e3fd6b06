"""Moving averages that lie side by side are moved together."""

import collections

import numpy as np
import pytest

import fastconv as fc
from fastconv.training import plan_report


def network(momenta=(0.9, 0.9, 0.9), frozen=None):
    fc.random.set_seed(0)
    model = fc.Sequential([fc.Input((6, 5, 3))])
    for i, momentum in enumerate(momenta):
        model.add(fc.layers.Conv2D(3 + i, 3, padding="same"))
        model.add(fc.layers.BatchNormalization(momentum=momentum))
        if i == frozen:
            model.layers[-1].trainable = False
    model.add(fc.layers.Flatten())
    model.add(fc.layers.Dense(4))
    return model


def compiled(model, device):
    model.compile("sgd", "mse", device=device)
    return model


def averages(model):
    return [v.numpy() for v in model.weights if "moving" in v.name]


@pytest.mark.parametrize(
    "options", [{}, {"momenta": (0.9, 0.5, 0.9)}, {"frozen": 1}, {"momenta": (0.9,)}]
)
def test_averages_are_those_of_the_reference(options):
    rng = np.random.default_rng(1)
    x, y = rng.random((8, 6, 5, 3), np.float32), rng.random((8, 4), np.float32)
    ours = compiled(network(**options), "cpu")
    reference = compiled(network(**options), "reference")
    for _ in range(3):
        ours.train_on_batch(x, y)
        reference.train_on_batch(x, y)
    for made, expected in zip(averages(ours), averages(reference), strict=True):
        np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(averages(ours)[0]) > 0  # they moved


def steps(model):
    report = plan_report.plan(compiled(model, "cpu"), 8, True).report()
    return collections.Counter(step.op for step in report)


def test_six_averages_take_the_steps_of_two():
    together, one = steps(network()), steps(network((0.9,)))
    assert together["binary"] == one["binary"]


def test_averages_that_move_otherwise_stay_apart():
    assert steps(network((0.9, 0.5, 0.9)))["binary"] > steps(network())["binary"]


def test_an_average_that_is_read_as_well_is_left_alone():
    average = [fc.Variable(np.ones(3), trainable=False) for _ in range(2)]

    @fc.function
    def move(x):
        for v in average:
            v.assign(v * 0.75 + x * 0.25)
        return average[0] * 1.0

    np.testing.assert_allclose(move(np.full(3, 5.0, np.float32)), np.full(3, 2.0))
    for v in average:
        np.testing.assert_allclose(v.value, np.full(3, 2.0))
