"""Penalties on weights and activations, when they count, and constraints."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import constraints, layers, regularizers
from fastconv.errors import ArgumentError, FormatError, ShapeError, UnknownNameError

DATA = np.random.default_rng(0)
X = DATA.standard_normal((12, 5)).astype(np.float32)
Y = DATA.standard_normal((12, 3)).astype(np.float32)
W = DATA.standard_normal((5, 4)).astype(np.float32)


def cosines(w: np.ndarray) -> float:
    """The mean of |cos| over all pairs of rows."""
    unit = w / np.linalg.norm(w, axis=1, keepdims=True)
    between = np.abs(unit @ unit.T)
    return between[np.triu_indices(len(w), 1)].mean()


@pytest.mark.parametrize(
    ("regularizer", "expected"),
    [
        ("l1", 0.01 * np.abs(W).sum()),
        ("l2", 0.01 * np.square(W).sum()),
        ("l1_l2", 0.01 * (np.abs(W) + np.square(W)).sum()),
        (regularizers.L1L2(0.2, 0.3), (0.2 * np.abs(W) + 0.3 * W**2).sum()),
        (regularizers.L1L2(), 0.0),
        (regularizers.OrthogonalRegularizer(0.5), 0.5 * cosines(W)),
        (regularizers.OrthogonalRegularizer(0.5, "columns"), 0.5 * cosines(W.T)),
        (fc.ops.max, W.max()),
    ],
)
def test_formulas_and_gradients(regularizer, expected, check_gradient):
    regularizer = regularizers.get(regularizer)
    np.testing.assert_allclose(regularizer(W), expected, rtol=1e-5)
    check_gradient(regularizer, W.astype(float))


def test_norm_constraints():
    norm = np.linalg.norm(W, axis=0, keepdims=True)
    for constraint, wanted in [
        (constraints.MaxNorm(1.5), np.minimum(norm, 1.5)),
        (constraints.UnitNorm(), 1.0),
        (constraints.MinMaxNorm(1.9, 2.1), np.clip(norm, 1.9, 2.1)),
        (
            constraints.MinMaxNorm(1.9, 2.1, 0.25),
            0.25 * np.clip(norm, 1.9, 2.1) + 0.75 * norm,
        ),
    ]:
        np.testing.assert_allclose(constraint(W), W * wanted / norm, rtol=1e-5)
    np.testing.assert_array_equal(constraints.NonNeg()(W), np.maximum(W, 0))
    np.testing.assert_array_equal(constraints.get("max_norm")(np.zeros((2, 2))), 0)
    filters = DATA.standard_normal((3, 3, 2, 4))
    unit = constraints.UnitNorm(axis=[0, 1, 2])(filters)
    np.testing.assert_allclose(np.sum(unit**2, axis=(0, 1, 2)), 1, rtol=1e-4)


def linear(**arguments):
    """One layer without bias, with zero and mean squared error its only loss."""
    fc.random.set_seed(1)
    dense = layers.Dense(3, use_bias=False, **arguments)
    model = fc.Sequential([fc.Input((5,)), dense])
    model.compile(fc.optimizers.SGD(0.1), loss="mse")
    return model


def step(w: np.ndarray, slope: np.ndarray, rate: float = 0.1) -> np.ndarray:
    """Plain gradient descent on the mean squared error and a penalty's slope."""
    error = X @ w - Y
    return w - rate * (2 * X.T @ error / error.size + slope)


def test_training_follows_the_formula():
    model = linear(kernel_regularizer=regularizers.L1L2(0.02, 0.3))
    w = model.get_weights()[0]
    penalty = 0.02 * np.abs(w).sum() + 0.3 * np.square(w).sum()
    expected = np.mean((X @ w - Y) ** 2) + penalty
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(expected, rel=1e-5)
    assert model.train_on_batch(X, Y) == pytest.approx(expected, rel=1e-5)
    after = step(w, 0.02 * np.sign(w) + 0.6 * w)
    np.testing.assert_allclose(model.get_weights()[0], after, rtol=1e-4, atol=1e-6)
    penalty = 0.02 * np.abs(after).sum() + 0.3 * np.square(after).sum()
    assert float(model.losses[0]) == pytest.approx(penalty, rel=1e-4)


def test_activity_is_a_mean_over_the_batch():
    model = linear(activity_regularizer=regularizers.L2(0.5))
    y = model.predict(X, verbose=0)
    expected = np.mean((y - Y) ** 2) + 0.5 * np.square(y).sum() / len(X)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(expected, rel=1e-5)
    layer = layers.ActivityRegularization(0.1, 0.2)
    loss = fc.function(lambda x: [layer(x), *layer.losses])(X)[1]
    expected = (0.1 * np.abs(X) + 0.2 * X**2).sum() / len(X)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_a_frozen_layer_has_no_penalty():
    model = linear(kernel_regularizer="l2")
    assert len(model.losses) == 1
    model.layers[0].trainable = False
    assert model.losses == []


class Penalised(layers.Layer):
    """Adds to the loss in its call; its weight has a penalty of its own."""

    def build(self, input_shape):
        self.factor = self.add_weight((5,), "ones", regularizer="l1")

    def call(self, x):
        self.add_loss(0.5 * fc.ops.mean(x))
        return x * self.factor


def test_add_loss_of_a_layer_of_ones_own():
    model = fc.Sequential([fc.Input((5,)), Penalised(), Penalised()])
    model.compile(fc.optimizers.SGD(0.0), loss="mse")
    expected = np.mean((X - 1) ** 2) + 2 * 0.05 + X.mean()
    for _ in range(2):  # what one step added is not there in the next
        loss = model.train_on_batch(X, np.ones_like(X))
        assert loss == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ArgumentError, match="inside call"):
        Penalised().add_loss(1.0)


# Epochs


def losses(model, **arguments):
    history = model.fit(X, Y, batch_size=12, verbose=0, **arguments)
    return history.history["loss"]


def test_start_epoch_needs_no_other_plan(monkeypatch):
    model = linear(kernel_regularizer=regularizers.L2(1.0, start_epoch=2))
    plain = linear()
    w = plain.get_weights()[0]
    found = losses(model, epochs=3)
    for epoch in range(3):
        expected = np.mean((X @ w - Y) ** 2) + (np.square(w).sum() if epoch > 1 else 0)
        assert found[epoch] == pytest.approx(expected, rel=1e-4)
        w = step(w, 2 * w if epoch > 1 else 0 * w)
    np.testing.assert_allclose(model.get_weights()[0], w, rtol=1e-4, atol=1e-6)
    assert len(model._plans._functions["train"]._plans) == 1


def test_evaluation_counts_what_the_last_epoch_counted(tmp_path):
    def fresh():
        return linear(kernel_regularizer=regularizers.L2(1.0, start_epoch=2))

    model = fresh()
    w = model.get_weights()[0]
    error = np.mean((X @ w - Y) ** 2)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(error, rel=1e-5)
    history = model.fit(X, Y, epochs=3, verbose=0, validation_data=(X, Y)).history
    for epoch in range(2):  # the next epoch begins with the weights of this one
        error = history["loss"][epoch + 1] - history["val_loss"][epoch]
        penalty = error if epoch else 0  # that starts with the third epoch
        assert error == pytest.approx(penalty, abs=1e-5)
    assert history["loss"][2] > history["val_loss"][1] + 0.01
    after = model.evaluate(X, Y, verbose=0)
    assert after == pytest.approx(history["val_loss"][2], rel=1e-6)
    model.save(tmp_path / "model.fc")
    again = fc.load_model(tmp_path / "model.fc")
    assert again.evaluate(X, Y, verbose=0) == after
    assert again.layers[0].kernel_regularizer.start_epoch == 2


@pytest.mark.parametrize("built", [True, False])
def test_a_training_that_goes_on(tmp_path, built):
    """In one go, in two with a file between, and from ``initial_epoch``."""

    def fresh():
        fc.random.set_seed(1)
        dense = layers.Dense(3, kernel_regularizer=regularizers.L2(0.5, start_epoch=2))
        model = fc.Sequential([fc.Input((5,)), dense] if built else [dense])
        model.compile(fc.optimizers.SGD(0.1), loss="mse")
        return model

    whole = losses(fresh(), epochs=4)
    first = fresh()
    begun = losses(first, epochs=3)
    first.save(tmp_path / "model.fc")
    rest = losses(fc.load_model(tmp_path / "model.fc"), epochs=4, initial_epoch=3)
    np.testing.assert_array_equal(whole, [*begun, *rest])
    late, never = fresh(), fresh()
    never.fit(X, Y, epochs=0, verbose=0)
    gap = losses(late, epochs=4, initial_epoch=3)[0] - losses(never, epochs=1)[0]
    assert gap > 0.1


# Constraints


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
def test_constraints_hold_after_every_step(optimizer):
    def model(**rules):
        fc.random.set_seed(3)
        parts = [
            layers.Conv2D(4, 3, **rules),
            layers.BatchNormalization(),
            layers.Flatten(),
            layers.Dense(3, **rules),
        ]
        made = fc.Sequential([fc.Input((5, 5, 2)), *parts])
        made.compile(optimizer, loss="mse")
        return made

    x = np.random.default_rng(1).standard_normal((12, 5, 5, 2))
    bound = model(kernel_constraint="non_neg", bias_constraint="unit_norm")
    free = model()
    bound.set_weights(free.get_weights())
    bound.fit(x, Y, epochs=1, verbose=0)
    free.fit(x, Y, epochs=1, verbose=0)
    for layer, other in zip(bound.layers, free.layers, strict=True):
        for one, two in zip(layer.weights, other.weights, strict=True):
            expected = two.value
            if one.constraint is not None:
                expected = one.constraint(two.value)
            np.testing.assert_allclose(one.value, expected, rtol=1e-5, atol=1e-7)
    bound.fit(x, Y, epochs=5, verbose=0)
    assert bound.layers[0].kernel.value.min() >= 0
    assert np.linalg.norm(bound.layers[-1].bias.value) == pytest.approx(1, rel=1e-5)


# Arguments, saving, errors

RULED = {
    "Dense": ({"units": 2}, ("kernel", "bias"), (4,)),
    "Conv1D": ({"filters": 2, "kernel_size": 2}, ("kernel", "bias"), (4, 3)),
    "Conv2D": ({"filters": 2, "kernel_size": 2}, ("kernel", "bias"), (4, 4, 3)),
    "Conv2DTranspose": (
        {"filters": 2, "kernel_size": 2}, ("kernel", "bias"), (4, 4, 3)
    ),
    "DepthwiseConv2D": ({"kernel_size": 2}, ("depthwise", "bias"), (4, 4, 3)),
    "SeparableConv2D": (
        {"filters": 2, "kernel_size": 2}, ("depthwise", "pointwise", "bias"), (4, 4, 3)
    ),
    "BatchNormalization": ({}, ("beta", "gamma"), (4,)),
    "LayerNormalization": ({}, ("beta", "gamma"), (4,)),
    "GroupNormalization": ({"groups": 2}, ("beta", "gamma"), (4,)),
    "PartialConv2D": (
        {"connections": [[0, 1], [2]], "kernel_size": 2}, ("kernel", "bias"), (4, 4, 3)
    ),
    "Subsampling2D": ({}, ("coefficient", "bias"), (4, 4, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", RULED)
def test_every_layer_with_weights_takes_rules(name, tmp_path):
    arguments, ruled, shape = RULED[name]
    rules = {f"{what}_regularizer": regularizers.L1(0.5) for what in ruled}
    rules |= {f"{what}_constraint": constraints.MinMaxNorm(0, 3) for what in ruled}
    layer = getattr(layers, name)(**arguments, **rules, activity_regularizer="l2")
    model = fc.Sequential([fc.Input(shape), layer])
    total = sum(np.abs(w.value).sum() for w in layer.trainable_weights)
    found = sum(float(loss) for loss in model.losses)
    assert found == pytest.approx(0.5 * total, rel=1e-5)
    assert len(model.losses) == len(ruled) == len(layer.trainable_weights)
    assert all(w.constraint.max_value == 3 for w in layer.trainable_weights)
    model.save(tmp_path / "model.fc")
    again = fc.load_model(tmp_path / "model.fc").layers[0]
    assert again.get_config() == layer.get_config()
    assert len(again.losses) == len(ruled)


class Halved(regularizers.Regularizer):
    """Half the sum."""

    def __call__(self, x):
        return 0.5 * fc.ops.sum(x)


def test_rules_of_ones_own_are_saved_by_name(tmp_path):
    model = linear(kernel_regularizer=Halved())
    expected = float(model.losses[0])
    model.save(tmp_path / "model.fc")
    with pytest.raises(FormatError, match=r"custom_objects=\{'Halved'"):
        fc.load_model(tmp_path / "model.fc")
    again = fc.load_model(tmp_path / "model.fc", custom_objects={"Halved": Halved})
    assert float(again.losses[0]) == expected


@pytest.mark.parametrize("module", [regularizers, constraints])
def test_serialize(module):
    made = {
        regularizers: regularizers.OrthogonalRegularizer(0.1, "columns", start_epoch=3),
        constraints: constraints.MinMaxNorm(0.1, 0.9, 0.5, [0, 1]),
    }[module]
    again = module.deserialize(module.serialize(made))
    assert type(again) is type(made)
    assert again.get_config() == made.get_config()
    assert module.get(None) is None
    with pytest.raises(UnknownNameError, match="unknown"):
        module.get("l3")
    with pytest.raises(ArgumentError, match="expected the"):
        module.get(3)


def test_bad_arguments():
    for make in (
        lambda: regularizers.L1(-1),
        lambda: regularizers.L2(float("nan")),
        lambda: regularizers.L2("much"),
        lambda: regularizers.L2(1, start_epoch=-1),
        lambda: regularizers.OrthogonalRegularizer(1, "diagonals"),
        lambda: constraints.MaxNorm(-1),
        lambda: constraints.MinMaxNorm(2, 1),
        lambda: constraints.MinMaxNorm(0, 1, 2),
        lambda: layers.Dense(1, gamma_regularizer="l2"),
    ):
        with pytest.raises(ArgumentError, match=r"received|unknown argument"):
            make()
    with pytest.raises(ShapeError, match="2 axes"):
        regularizers.OrthogonalRegularizer()(np.ones((2, 2, 2)))


def test_names_of_keras_1():
    with pytest.warns(DeprecationWarning, match="kernel_regularizer"):
        dense = layers.Dense(2, W_regularizer="l2")
    assert dense.kernel_regularizer.l2 == 0.01


@pytest.mark.parametrize(
    ("base", "argument"),
    [
        (fc.regularizers.Regularizer, [1.0]),
        (fc.constraints.Constraint, [1.0]),
        (fc.initializers.Initializer, (1,)),
    ],
)
def test_a_class_of_ones_own_without_its_method(base, argument):
    own = type("Own", (base,), {})()
    with pytest.raises(ArgumentError, match=r"Own has no __call__\("):
        own(argument)
