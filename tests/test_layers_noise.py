"""Noise layers, group normalisation, and the report of activations."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers
from fastconv.errors import ArgumentError

X = np.random.default_rng(0).standard_normal((400, 500)).astype(np.float32)


def test_gaussian_noise():
    noise = layers.GaussianNoise(0.5)(X, training=True) - X
    assert abs(noise.mean()) < 0.005
    assert abs(noise.std() - 0.5) < 0.005
    assert abs(np.mean(noise * X)) < 0.005


def test_gaussian_dropout():
    factor = layers.GaussianDropout(0.2)(np.ones_like(X), training=True)
    assert abs(factor.mean() - 1) < 0.005
    assert abs(factor.std() - 0.5) < 0.005


def test_alpha_dropout_keeps_mean_and_variance():
    y = layers.AlphaDropout(0.3)(X, training=True)
    assert abs(y.mean()) < 0.01
    assert abs(y.std() - 1) < 0.01
    p, rate = -1.0507009873554805 * 1.6732632423543772, 0.3
    a = ((1 - rate) * (1 + rate * p**2)) ** -0.5
    dropped = np.isclose(y, a * p - a * rate * p, atol=1e-5)
    assert abs(dropped.mean() - rate) < 0.01
    np.testing.assert_allclose(y[~dropped], (a * X - a * rate * p)[~dropped], atol=1e-5)
    shared = layers.AlphaDropout(0.5, noise_shape=(None, 1))(X * 0, training=True)
    np.testing.assert_array_equal(shared, np.repeat(shared[:, :1], 500, axis=1))


def test_stochastic_depth():
    branch = np.ones((2000, 3, 2), np.float32)
    drop = layers.StochasticDepth(0.25, seed=1)
    y = drop(branch, training=True)
    np.testing.assert_array_equal(y, np.broadcast_to(y[:, :1, :1], y.shape))
    assert set(np.unique(y)) == {0, np.float32(1) / np.float32(0.75)}
    assert abs(np.mean(y == 0) - 0.25) < 0.04
    np.testing.assert_array_equal(drop([2 * branch, branch]), 3 * branch)
    x, outputs = fc.Input((3, 2)), []
    outputs = layers.StochasticDepth(0.5)([x, layers.Dense(2)(x)])
    model = fc.Model(x, outputs)
    assert model(branch[:4]).shape == (4, 3, 2)
    with pytest.raises(ArgumentError, match="3 tensors"):
        drop([branch] * 3)


@pytest.mark.parametrize(
    "make",
    [
        lambda **k: layers.GaussianNoise(0.5, **k),
        lambda **k: layers.GaussianDropout(0.5, **k),
        lambda **k: layers.AlphaDropout(0.5, **k),
        lambda **k: layers.StochasticDepth(0.5, **k),
    ],
)
def test_chance_follows_the_seed_and_the_step(make):
    """Two layers differ, two steps differ, two runs do not; inference is identity."""
    x = X[:50, :20]

    def run():
        fc.random.set_seed(4)
        first, second = fc.Input((20,)), fc.Input((20,))
        model = fc.Model([first, second], [make()(first), make()(second)])
        return [
            *fc.function(lambda a, b: model([a, b], training=True))(x, x),
            *(make(seed=7)(x, training=True) for _ in range(1)),
        ]

    a, b, own = run()
    assert np.any(a != b)
    assert np.any(a != own)
    np.testing.assert_array_equal(make()(x), x)
    with pytest.raises(ArgumentError, match="seed"):
        make(seed=-1)


def test_noise_in_training_changes_from_step_to_step():
    model = fc.Sequential([fc.Input((20,)), layers.GaussianNoise(1.0)])
    model.compile(fc.optimizers.SGD(0.0), loss="mse")
    found = [model.train_on_batch(X[:50, :20], X[:50, :20]) for _ in range(2)]
    assert found[0] != found[1]
    assert np.mean(found) == pytest.approx(1, abs=0.15)
    assert model.evaluate(X[:50, :20], X[:50, :20], verbose=0) == 0


@pytest.mark.parametrize(("groups", "axis"), [(1, -1), (3, -1), (-1, -1), (5, 1)])
def test_group_normalization(groups, axis):
    x = X[:24].reshape(-1)[: 4 * 5 * 3 * 6].reshape(4, 5, 3, 6)
    norm = layers.GroupNormalization(groups, axis, epsilon=1e-2)
    norm.build((None, 5, 3, 6))
    channels = x.shape[axis]
    gamma, beta = X[0, :channels], X[1, :channels]
    norm.set_weights([gamma, beta])
    moved = np.moveaxis(x, axis, 1).astype(float)
    count = channels if groups == -1 else groups
    rows = moved.reshape(4, count, -1)
    centred = rows - rows.mean(2, keepdims=True)
    unit = centred / np.sqrt(rows.var(2, keepdims=True) + 1e-2)
    unit = np.moveaxis(unit.reshape(moved.shape), 1, -1) * gamma + beta
    np.testing.assert_allclose(norm(x), np.moveaxis(unit, -1, axis), atol=1e-5)


def test_group_normalization_refuses():
    with pytest.raises(ArgumentError, match="groups=4"):
        layers.GroupNormalization(4)(np.ones((1, 6)))
    with pytest.raises(ArgumentError, match="groups"):
        layers.GroupNormalization(0)
    assert layers.GroupNormalization(2)(np.ones((0, 3, 4))).shape == (0, 3, 4)


def test_unit_normalization():
    y = layers.UnitNormalization()(X)
    np.testing.assert_allclose(np.linalg.norm(y, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(layers.UnitNormalization()(np.zeros((1, 3))), 0)


# The report


def test_report_of_a_chain(capsys):
    """Against a chain computed in NumPy, forwards and backwards."""
    fc.random.set_seed(0)
    hidden = layers.Dense(30, activation="relu", name="hidden")
    model = fc.Sequential([fc.Input((500,)), hidden, layers.Dense(10, name="last")])
    report = fc.utils.activation_report(model, X)
    w1, b1, w2, b2 = model.get_weights()
    h = np.maximum(X.astype(float) @ w1 + b1, 0)
    y = h @ w2 + b2
    assert [r.name for r in report] == ["hidden", "last"]
    assert [r.shape for r in report] == [(None, 30), (None, 10)]
    for row, value in zip(report, (h, y), strict=True):
        assert row.mean == pytest.approx(value.mean(), abs=1e-5)
        assert row.variance == pytest.approx(value.var(), rel=1e-4)
        assert row.zeros == pytest.approx(np.mean(value == 0), abs=1e-3)
    noise = fc.ops.random_normal(y.shape, np.array([0, 0]), stream=0)
    assert report[1].gradient_variance == pytest.approx(noise.var(), rel=1e-4)
    assert report[0].gradient_variance == pytest.approx((noise @ w2.T).var(), rel=1e-4)
    table = capsys.readouterr().out
    assert "hidden (Dense)" in table
    assert "Gradient variance" in table


def test_he_initialisation_keeps_the_second_moment():
    fc.random.set_seed(0)
    deep = [
        layers.Dense(400, activation="relu", kernel_initializer="he_normal")
        for _ in range(8)
    ]
    lines = []
    report = fc.utils.activation_report(fc.Sequential(deep), X, print_fn=lines.append)
    moments = [r.variance + r.mean**2 for r in report]
    assert 0.4 < moments[-1] / moments[0] < 2.5
    assert len(lines[0].splitlines()) == 9


def test_report_with_branches_and_errors():
    x = fc.Input((500,))
    a = layers.Dense(4)(x)
    model = fc.Model(x, [layers.Add()([a, layers.Dense(4)(x)]), a])
    before = model.get_weights()
    report = fc.utils.activation_report(model, X, print_fn=None)
    assert len(report) == 3
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ArgumentError, match="not empty"):
        fc.utils.activation_report(model, X[:0], print_fn=None)

    class Own(fc.Model):
        def call(self, x):
            return x * 2.0

    with pytest.raises(ArgumentError, match="Sequential or functional"):
        fc.utils.activation_report(Own(), X)


def test_build_counts():
    """Weights that were set after build() are those that the layer uses."""
    dense = layers.Dense(1)
    dense.build((None, 2))
    dense.set_weights([np.array([[1.0], [2.0]]), np.array([3.0])])
    np.testing.assert_array_equal(dense(np.ones((1, 2))), [[6.0]])
