"""The learning-rate range test: what it suggests, and that it leaves no trace."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

import fastconv as fc
from fastconv.data import digits
from fastconv.errors import ArgumentError, DataError
from fastconv.models.lenet import LeNet5
from fastconv.plot import sweep_chart
from fastconv.training.rate_finder import RateSweep

RNG = np.random.default_rng(0)
X = RNG.standard_normal((96, 5)).astype(np.float32)
Y = RNG.integers(0, 3, 96)


def noisy(optimizer):
    """A model with every kind of state."""
    fc.utils.set_random_seed(1)
    layers = fc.layers
    model = fc.Sequential([
        fc.Input((5,)), layers.Dense(8, "relu"), layers.BatchNormalization(),
        layers.Dropout(0.5), layers.Dense(3, "softmax"),
    ])  # fmt: skip
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def state(model):
    slots = [
        slot.numpy()
        for known in model.optimizer.variables().values()
        for slot in known.values()
    ]
    numbers = np.array([model.optimizer.iterations, model.optimizer.learning_rate])
    return [*(w.numpy() for w in model.weights), *slots, numbers, model.epochs_seen,
            model._seed_and_step.numpy()]  # fmt: skip


@pytest.mark.parametrize("name", ["adam", "adagrad", "sgd", "nadam"])
def test_every_byte_is_put_back(name):
    schedule = fc.optimizers.schedules.CosineDecay(0.01, 40)
    plain, looked = noisy(name), noisy(name)
    for model in (plain, looked):
        model.optimizer.learning_rate = schedule
    looked.lr_find(X, Y, steps=20)  # before anything is made
    assert looked.optimizer.iterations == 0
    for model in (plain, looked):
        model.fit(X, Y, epochs=2, verbose=0)
    before, history = state(looked), looked.history
    looked.lr_find(X, Y, end=100.0)
    assert looked.history is history
    assert looked.optimizer.rate_source is schedule
    for a, b in zip(before, state(looked), strict=True):
        np.testing.assert_array_equal(a, b)
    for model in (plain, looked):
        model.fit(X, Y, initial_epoch=2, epochs=4, verbose=0)
    for a, b in zip(state(plain), state(looked), strict=True):
        np.testing.assert_array_equal(a, b)


def test_put_back_after_an_error():
    model = noisy("adam")
    model.fit(X, Y, verbose=0)
    before = state(model)
    with pytest.raises(DataError):
        model.lr_find(X, np.where(np.arange(96) == 90, 5, Y), batch_size=8, steps=12)
    for a, b in zip(before, state(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_limit_of_a_quadratic():
    """Full-batch descent on ``w^2 mean(x^2)`` diverges from rate 1 / mean(x^2) on."""
    model = fc.Sequential([fc.Input((1,)), fc.layers.Dense(1, use_bias=False)])
    model.compile(fc.optimizers.SGD(), "mse")
    x = np.full((4, 1), 2.0, np.float32)
    sweep = model.lr_find(x, 3 * x, "all", start=1e-4, end=1e4, steps=17, smoothing=0.0)
    assert 0.02 < sweep.minimum < 4 * (1 / 4)
    assert sweep.suggestion <= sweep.minimum / 10
    assert sweep.rates[-1] < 1e4, "it stops when the loss diverges"
    w = float(model.get_weights()[0][0, 0])
    assert sweep.losses[0] == pytest.approx(4 * (w - 3) ** 2, rel=1e-5)
    following = w - sweep.rates[0] * 8 * (w - 3)
    assert sweep.losses[1] == pytest.approx(4 * (following - 3) ** 2, rel=1e-5)


def test_suggestion_trains_lenet():
    (x, y), _ = digits.load_data()
    x = np.float32(x[:512]) / 255
    fc.utils.set_random_seed(0)
    model = LeNet5()
    model.compile(fc.optimizers.SGD(), "sparse_categorical_crossentropy")
    sweep = model.lr_find(x, y[:512], start=1e-4, end=10.0, steps=60)
    assert 1e-3 < sweep.suggestion < 1.0
    model.optimizer.learning_rate = sweep.suggestion
    loss = model.fit(x, y[:512], epochs=3, verbose=0).history["loss"]
    assert loss[-1] < loss[0] < np.log(10) * 1.2


def test_figures_of_a_known_curve():
    rates = np.geomspace(1e-4, 1.0, 5)
    sweep = RateSweep(rates, np.ones(5), np.array([2.0, 1.9, 0.5, 0.4, 3.0]))
    assert sweep.minimum == pytest.approx(0.1)
    assert sweep.steepest == pytest.approx(1e-2) or sweep.steepest == rates[1]
    assert sweep.suggestion == min(sweep.steepest, sweep.minimum / 10)
    rising = RateSweep(rates, np.ones(5), np.arange(1.0, 6.0))
    assert rising.suggestion == pytest.approx(1e-5)


def test_smoothing_has_no_bias():
    model = noisy("sgd")
    sweep = model.lr_find(X, Y, start=1e-9, end=2e-9, steps=30)
    assert sweep.smoothed[0] == pytest.approx(sweep.losses[0])
    expected = (0.9 * 0.1 * sweep.losses[0] + 0.1 * sweep.losses[1]) / (1 - 0.81)
    assert sweep.smoothed[1] == pytest.approx(expected)
    raw = model.lr_find(X, Y, steps=10, smoothing=0.0)
    np.testing.assert_allclose(raw.smoothed, raw.losses)


def test_chart(tmp_path):
    sweep = noisy("sgd").lr_find(X, Y, steps=40, end=10.0)
    root = ET.fromstring(sweep.chart())
    words = [e.text or "" for e in root.iter() if e.tag.endswith("text")]
    assert f"suggested {sweep.suggestion:.2g}" in words
    assert {"0.0001", "0.01"} <= set(words)
    with pytest.raises(DataError, match="two"):
        sweep_chart([0.1], [1.0], [1.0], 0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 0.0}, "start"),
        ({"start": 1.0, "end": 0.1}, "start < end"),
        ({"end": np.inf}, "start < end"),
        ({"steps": 1}, "steps"),
        ({"smoothing": 1.0}, "smoothing"),
    ],
)
def test_numbers_that_make_no_sense(options, message):
    with pytest.raises(ArgumentError, match=message):
        noisy("sgd").lr_find(X, Y, **options)


def test_needs_a_loss_and_a_finite_one():
    model = fc.Sequential([fc.Input((5,)), fc.layers.Dense(1)])
    with pytest.raises(ArgumentError, match="compile"):
        model.lr_find(X, Y)
    model.compile("sgd", "mse")
    model.set_weights([w * 0 + 1e30 for w in model.get_weights()])
    with pytest.raises(DataError, match="first step"):
        model.lr_find(X, X[:, :1])


def test_a_step_that_logs_no_loss_is_told():
    class Silent(fc.Model):
        def train_step(self, data):
            return {"size": fc.ops.sum(data[0])}

    model = Silent()
    model.compile("sgd")
    with pytest.raises(ArgumentError, match=r"logged 'loss'.*\['size'\]"):
        model.lr_find(X, Y)
