"""Layers that behave in another way while they train."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers
from fastconv.layers import context
from layer_cases import data


def test_batch_norm_moves_its_statistics():
    layer = layers.BatchNormalization(momentum=0.9)
    x = data(8, 4, 3) * 2 + 1
    y = layer(x, training=True)
    mean, variance = x.mean((0, 1)), x.var((0, 1))
    expected = (x - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    _, _, moving_mean, moving_variance = layer.get_weights()
    np.testing.assert_allclose(moving_mean, 0.1 * mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moving_variance, 0.9 + 0.1 * variance, rtol=1e-4)
    assert len(layer.trainable_weights) == 2


def test_batch_norm_uses_them_outside_of_training():
    layer = layers.BatchNormalization(epsilon=1.0)
    layer(data(2, 1))
    layer.set_weights([[2.0], [1.0], [3.0], [8.0]])
    np.testing.assert_allclose(layer([[6.0]]), [[3.0]], rtol=1e-6)


def test_frozen_batch_norm_infers_also_in_training():
    layer = layers.BatchNormalization(trainable=False)
    x = data(4, 3)
    np.testing.assert_allclose(layer(x, training=True), layer(x))
    np.testing.assert_array_equal(layer.get_weights()[2], np.zeros(3))
    assert layer.trainable_weights == []


def test_batch_norm_of_one_value_gives_beta_and_of_none_moves_nothing():
    layer = layers.BatchNormalization(beta_initializer="ones")
    np.testing.assert_array_equal(layer(data(1, 3), training=True), np.ones((1, 3)))
    before = layer.get_weights()
    layer(data(0, 3), training=True)
    for a, b in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("axis", [1, 2, -1])
def test_batch_norm_along_any_axis(axis):
    x = data(5, 3, 4, 2)
    expected = layers.BatchNormalization()(np.moveaxis(x, axis, -1), training=True)
    y = layers.BatchNormalization(axis=axis)(x, training=True)
    np.testing.assert_array_equal(np.moveaxis(y, axis, -1), expected)


def test_layer_norm_over_several_axes():
    x = data(2, 3, 4, 5)
    y = layers.LayerNormalization(axis=(1, 3))(x)
    mean, variance = x.mean((1, 3), keepdims=True), x.var((1, 3), keepdims=True)
    expected = (x - mean) / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_dropout_drops_only_in_training():
    layer = layers.Dropout(0.25)
    x = np.ones((100, 100), np.float32)
    np.testing.assert_array_equal(layer(x), x)
    y = layer(x, training=True)
    assert set(np.unique(y)) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs((y == 0).mean() - 0.25) < 0.02


def test_dropout_goes_on_from_step_to_step():
    layer = layers.Dropout(0.5)
    x = np.ones(64, np.float32)
    assert (layer(x, training=True) != layer(x, training=True)).any()


def test_dropout_layers_of_a_model_differ():
    a, b = layers.Dropout(0.5), layers.Dropout(0.5)
    state = context.random_state(1)

    def both(x):
        with context.randomness(state), context.training(True):
            return a(x), b(x)

    one, other = fc.function(both)(np.ones(64, np.float32))
    assert (one != other).any()


def test_dropout_with_a_seed_of_its_own_ignores_that_of_the_model():
    layer = layers.Dropout(0.5, seed=7)

    def drop(state):
        def run(x):
            with context.randomness(state), context.training(True):
                return layer(x)

        return fc.function(run)(np.ones(64, np.float32))

    same = [drop(context.random_state(seed)) for seed in (1, 2)]
    np.testing.assert_array_equal(*same)


def test_noise_shape_and_spatial_dropout_drop_whole_maps():
    x = np.ones((4, 6, 8), np.float32)
    for layer in (layers.SpatialDropout1D(0.5), layers.Dropout(0.5, (None, 1, None))):
        y = layer(x, training=True)
        assert (y == y[:, :1]).all()
        assert 0 < (y == 0).mean() < 1


def test_training_reaches_layers_inside():
    class Twice(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.inner = layers.Dropout(0.5)

        def call(self, x):
            return self.inner(x)

    x = np.ones(64, np.float32)
    assert (Twice()(x, training=True) != x).any()
    np.testing.assert_array_equal(Twice()(x), x)
