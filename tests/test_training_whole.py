"""``batch_size="all"`` in parts: the same step as that of one plan."""

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError

rng = np.random.default_rng(8)
N = 37
X = rng.standard_normal((N, 6, 6, 2)).astype("f4")
LABELS = rng.integers(0, 3, N)
W = rng.random(N).astype("f4")
CLASSES = {0: 0.5, 1: 2.0, 2: 1.0}


def model(norm=False):
    fc.random.set_seed(4)
    x = fc.Input((6, 6, 2))
    h = fc.layers.Conv2D(4, 3, activation="tanh")(x)
    h = fc.layers.BatchNormalization()(h) if norm else h
    h = fc.layers.Flatten()(h)
    return x, h


def classifier(loss="sparse_categorical_crossentropy", **compiled):
    x, h = model()
    made = fc.Model(x, fc.layers.Dense(3, "softmax")(h))
    made.compile(fc.optimizers.Adam(0.02), loss, **compiled)
    return made


@pytest.fixture
def small(monkeypatch):
    """Makes a plan of more than 10 samples of a model too large."""

    def limit(made, samples=10):
        bytes_ = made.memory(samples)["arena"]
        monkeypatch.setattr(
            "fastconv.training.step_plans.available_bytes", lambda: bytes_
        )

    return limit


def both(make, small, *data, **options):
    """History and weights, in one plan and in parts."""
    found = []
    for limited in (False, True):
        made = make()
        if limited:
            small(made)
        options = {"batch_size": "all", "epochs": 3, "verbose": 0, **options}
        history = made.fit(*data, **options).history
        if limited:
            assert 1 <= made._plans._whole.part < N, "not in parts"
            assert N % made._plans._whole.part, "the last part is not smaller"
        assert made.optimizer.iterations == 3
        found.append((history, made.get_weights()))
    (history, weights), (parts, parts_weights) = found
    assert set(history) == set(parts)
    for name, values in history.items():
        np.testing.assert_allclose(parts[name], values, rtol=2e-5, err_msg=name)
    for a, b in zip(weights, parts_weights, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("w", [None, W])
@pytest.mark.parametrize("classes", [None, CLASSES])
def test_weighted_classes_and_samples(w, classes, small):
    both(lambda: classifier(metrics=["accuracy"]), small, X, LABELS,
         sample_weight=w, class_weight=classes)  # fmt: skip


@pytest.mark.parametrize("reduction", ["sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("ignored", [None, 1])
def test_reductions(reduction, ignored, small):
    loss = fc.losses.SparseCategoricalCrossentropy(
        reduction=reduction, ignore_class=ignored
    )
    both(lambda: classifier(loss), small, X, LABELS, sample_weight=W)


def test_several_outputs(small):
    def make():
        x, h = model()
        outputs = {
            "a": fc.layers.Dense(3, "softmax", name="a")(h),
            "b": fc.layers.Dense(2, name="b")(h),
        }
        made = fc.Model(x, outputs)
        losses = {
            "a": fc.losses.SparseCategoricalCrossentropy(
                reduction="mean_with_sample_weight", ignore_class=0),
            "b": fc.losses.MeanSquaredError(reduction="sum"),
        }  # fmt: skip
        made.compile(fc.optimizers.Adam(0.02), losses, {"a": 0.7, "b": 0.1})
        return made

    y = {"a": LABELS, "b": rng.standard_normal((N, 2)).astype("f4")}
    both(make, small, X, y, sample_weight={"a": W, "b": W[::-1].copy()})


class Penalty(fc.layers.Layer):
    def call(self, x):
        self.add_loss(0.1 * fc.ops.mean(fc.ops.square(x)))
        return x


def test_added_losses(small):
    def make():
        x, h = model()
        made = fc.Model(x, fc.layers.Dense(3, "softmax")(Penalty()(h)))
        made.compile(fc.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
        return made

    both(make, small, X, LABELS)


def test_what_cannot_be_done_in_parts(small):
    x, h = model(norm=True)
    normed = fc.Model(x, fc.layers.Dense(3, "softmax")(h))
    normed.compile("sgd", "sparse_categorical_crossentropy")
    small(normed)
    with pytest.warns(UserWarning, match="statistics of these"):
        normed.fit(X, LABELS, "all", verbose=0)

    dice = classifier(fc.losses.Dice())
    small(dice)
    with pytest.raises(ArgumentError, match="one value of all samples"):
        dice.fit(X, np.eye(3, dtype="f4")[LABELS], "all", verbose=0)

    class Own(fc.Model):
        def train_step(self, data):
            return super().train_step(data)

    x, h = model()
    own = Own(x, fc.layers.Dense(3, "softmax")(h))
    own.compile("sgd", "sparse_categorical_crossentropy")
    small(own)
    with pytest.raises(ArgumentError, match="its own train_step"):
        own.fit(X, LABELS, "all", verbose=0)
