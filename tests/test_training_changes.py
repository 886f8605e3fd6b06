"""What is changed between trainings: flags, optimizers, layers, and the shuffle."""

import logging

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, FastconvError

X = np.random.default_rng(0).random((40, 4)).astype(np.float32)


def small(**options):
    model = fc.Sequential(
        [fc.Input((4,)), fc.layers.Dense(3, name="a"), fc.layers.Dense(1, name="b")]
    )
    model.compile(fc.optimizers.SGD(0.1), "mse", **options)
    return model


def moves(model, samples):
    before = model.get_layer("a").get_weights()[0]
    model.fit(X[:samples], X[:samples, :1], verbose=0)
    return not np.array_equal(before, model.get_layer("a").get_weights()[0])


def test_frozen_at_the_next_compile(caplog):
    model = small()
    assert moves(model, 32)
    model.get_layer("a").trainable = False
    with caplog.at_level(logging.WARNING, "fastconv"):
        assert moves(model, 32)
        assert moves(model, 20)
    assert "changed after compile()" in caplog.text
    assert len(caplog.records) == 1
    assert model.get_layer("a").trainable is False
    model.compile(fc.optimizers.SGD(0.1), "mse")
    assert not moves(model, 32)
    assert not moves(model, 20)
    assert len(caplog.records) == 1


def test_another_optimizer():
    model = small()
    assert moves(model, 32)
    model.optimizer = fc.optimizers.SGD(0.0)
    assert not moves(model, 32)
    assert model.optimizer.iterations == 1


class Recorded:
    """Batches that remember which epochs were asked for."""

    num_samples, num_batches, batch_size = 40, 1, 40

    def __init__(self):
        self.epochs = []

    def __len__(self):
        return 1

    def __iter__(self):
        return self.batches()

    def batches(self, epoch=0, shuffle=None, start=0):
        self.epochs.append(epoch)
        yield X, X[:, :1], None


def test_each_fit_goes_on_with_the_shuffle():
    model, data = small(), Recorded()
    for _ in range(3):
        model.fit(data, verbose=0)
    model.fit(data, initial_epoch=3, epochs=5, verbose=0)
    model.fit(data, initial_epoch=9, epochs=10, verbose=0)
    assert data.epochs == [0, 1, 2, 3, 4, 9]
    one, parts = small(), small()
    for model in (one, parts):
        model.set_weights([np.full(w.shape, 0.1, "f") for w in model.weights])
        model._seed_and_step.assign(np.array([7, 0]))
    one.fit(X, X[:, :1], epochs=3, batch_size=8, verbose=0)
    for _ in range(3):
        parts.fit(X, X[:, :1], batch_size=8, verbose=0)
    for a, b in zip(one.get_weights(), parts.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_unbuilt_sequential_inside_a_model_of_any_size():
    inner = fc.Sequential(
        [fc.layers.Conv2D(2, 3), fc.layers.GlobalAveragePooling2D()], name="inner"
    )
    x = fc.Input((None, None, 3))
    model = fc.Model(x, inner(x))
    for size in (8, 11):
        image = np.ones((2, size, size + 1, 3), np.float32)
        assert model.predict(image, verbose=0).shape == (2, 2)
    assert inner.input_shape == (None, None, None, 3)


def test_a_failed_add_or_build_changes_nothing():
    model = small()
    with pytest.raises(FastconvError):
        model.add(fc.layers.Conv2D(2, 3))
    assert [layer.name for layer in model.layers] == ["a", "b"]
    assert model.output_shape == (None, 1)
    assert model.predict(X, verbose=0).shape == (40, 1)
    later = fc.Sequential([fc.layers.Conv2D(2, 3)])
    with pytest.raises(FastconvError):
        later.build((None, 4))
    later.build((None, 4, 4, 1))
    assert later.output_shape == (None, 2, 2, 2)


def test_accuracy_follows_the_layers():
    model = fc.Sequential(
        [fc.Input((4,)), fc.layers.Dense(1, activation="sigmoid", name="a")]
    )
    model.compile("sgd", "mse", metrics=["accuracy"])
    model.fit(X, X[:, :1] > 0.5, verbose=0)
    model.evaluate(X, X[:, :1] > 0.5, verbose=0)
    model.pop()
    model.add(fc.layers.Dense(3, activation="softmax"))
    targets = np.eye(3)[model.predict(X, verbose=0).argmax(-1)]
    assert model.evaluate(X, targets, verbose=0)[1] == 1.0


class Own(fc.Model):
    def __init__(self):
        super().__init__()
        self.d = fc.layers.Dense(2)

    def call(self, x):
        return self.d(x)


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float16", "float64"])
def test_inputs_of_other_types(dtype):
    x = np.arange(8).reshape(2, 4).astype(dtype)
    model = Own()
    first = model.predict(x, verbose=0)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, model.predict(x.astype("f"), verbose=0))
    assert Own()(x).dtype == np.float32


@pytest.mark.parametrize("value", [0, -1, None, 1.5, True])
def test_validation_freq(value):
    with pytest.raises(ArgumentError, match="validation_freq"):
        small().fit(X, X[:, :1], validation_split=0.5, validation_freq=value, verbose=0)
