"""What layers compute, against plain NumPy and against the ops in float64."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers, ops
from layer_cases import data


def test_dense_is_a_product(backend):
    layer = layers.Dense(3, activation="relu", bias_initializer="random_normal")
    x = data(4, 5)
    (y,) = backend.run(layer, x)
    kernel, bias = layer.get_weights()
    backend.isclose(y, np.maximum(x @ kernel + bias, 0), 5)


def test_dense_on_sequences_is_row_by_row():
    layer = layers.Dense(3)
    x = data(2, 4, 5)
    np.testing.assert_allclose(layer(x)[:, 1], layer(x[:, 1]), rtol=1e-5)


def test_conv_is_the_op(backend):
    layer = layers.Conv2D(4, 3, strides=2, padding="same", dilation_rate=1, groups=2)
    x = data(2, 7, 6, 4)
    layer(x)
    layer.bias.assign(data(4, seed=1))
    kernel, bias = layer.get_weights()
    y = ops.conv(x, kernel, 2, "same", 1, 2) + bias
    backend.isclose(backend.run(layer, x), [y], 18)


def test_causal_convolution_sees_no_later_input():
    layer = layers.Conv1D(2, 3, padding="causal")
    x = data(1, 8, 2)
    later = x.copy()
    later[:, 5:] += 1
    np.testing.assert_array_equal(layer(x)[:, :5], layer(later)[:, :5])


def test_separable_is_depthwise_then_pointwise():
    layer = layers.SeparableConv2D(5, 3, depth_multiplier=2, use_bias=False)
    x = data(1, 6, 6, 3)
    y = layer(x)
    depthwise, pointwise = layer.get_weights()
    mapped = ops.depthwise_conv(x, depthwise)
    np.testing.assert_allclose(y, mapped @ pointwise[0, 0], rtol=1e-4, atol=1e-5)


def test_partial_convolution_sees_only_its_maps():
    layer = layers.PartialConv2D([[0, 2], [1]], 3)
    x = data(1, 5, 5, 3)
    before = layer(x)
    x[..., 1] += 1
    after = layer(x)
    np.testing.assert_array_equal(before[..., 0], after[..., 0])
    assert (before[..., 1] != after[..., 1]).all()
    assert [w.shape for w in layer.weights] == [(3, 3, 3), (2,)]


def test_partial_convolution_is_a_convolution_with_zeros():
    layer = layers.PartialConv2D([[0, 2], [1]], 3)
    x = data(1, 5, 5, 3)
    y = layer(x)
    kernel = layer.get_weights()[0]
    full = np.zeros((3, 3, 3, 2), np.float32)
    full[:, :, 0, 0], full[:, :, 2, 0] = kernel[..., 0], kernel[..., 1]
    full[:, :, 1, 1] = kernel[..., 2]
    np.testing.assert_allclose(y, ops.conv(x, full), rtol=1e-5, atol=1e-6)


def test_trainable_subsampling():
    layer = layers.Subsampling2D()
    x = data(1, 4, 4, 2)
    layer(x)
    layer.set_weights([np.array([2.0, 3.0]), np.array([0.5, -1.0])])
    mean = x.reshape(1, 2, 2, 2, 2, 2).mean(axis=(2, 4))
    expected = mean * [2, 3] + [0.5, -1]
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("Add", lambda a, b: a + b),
        ("Subtract", lambda a, b: a - b),
        ("Multiply", lambda a, b: a * b),
        ("Average", lambda a, b: (a + b) / 2),
        ("Maximum", np.maximum),
        ("Minimum", np.minimum),
        ("Concatenate", lambda a, b: np.concatenate([a, b], -1)),
    ],
)
def test_merging(layer, expected):
    a, b = data(2, 3), data(2, 3, seed=1)
    np.testing.assert_allclose(getattr(layers, layer)()([a, b]), expected(a, b))
    tensors = [fc.Input((3,)), fc.Input((3,))]
    function = getattr(layers, layer.lower())
    assert function(tensors).shape == (None, *expected(a, b).shape[1:])


def test_adding_broadcasts():
    a, b = data(2, 4, 4, 3), data(2, 1, 1, 3)
    np.testing.assert_array_equal(layers.Add()([a, b]), a + b)


def test_relu_with_all_its_parameters():
    x = np.array([-2.0, 0.1, 0.5, 3.0], np.float32)
    layer = layers.ReLU(max_value=1.0, negative_slope=0.5, threshold=0.25)
    np.testing.assert_allclose(layer(x), [-1.125, -0.075, 0.5, 1.0], rtol=1e-6)


def test_lambda_is_traced_and_has_gradients():
    layer = layers.Lambda(lambda x, power: x**power, arguments={"power": 3.0})
    slope = fc.function(lambda x: fc.grad(ops.sum(layer(x)), x))
    np.testing.assert_allclose(slope([2.0]), [12.0], rtol=1e-5)


def test_own_layer_with_keras_style_arguments():
    class Scale(layers.Layer):
        def build(self, input_shape):
            shape = (input_shape[-1],)
            self.factor = self.add_weight(shape=shape, initializer="ones", name="f")

        def call(self, inputs, training=None):
            return inputs * self.factor * (2.0 if training else 1.0)

    layer = Scale()
    assert layer([[1.0]], training=True) == [[2.0]]
    assert layer([[1.0]]) == [[1.0]]
    assert layer.weights[0].name.endswith("/f")


def test_input_and_output_of_a_connected_layer():
    x, layer = fc.Input((3,)), layers.Dense(2)
    y = layer(x)
    assert layer.input is x
    assert layer.output is y


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "bool"])
def test_rescaling(backend, dtype):
    x = np.arange(24).reshape(2, 2, 2, 3).astype(dtype)
    (y,) = backend.run(layers.Rescaling(0.5, offset=-1), x)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, x.astype(np.float32) * 0.5 - 1)


def test_rescaling_by_channel():
    x = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    y = layers.Rescaling([0.5, 1, 2], [0, 1, -1])(x)
    np.testing.assert_array_equal(y, x * np.float32([0.5, 1, 2]) + [0, 1, -1])


def test_a_saved_model_rescales_raw_images(tmp_path):
    x = fc.Input((4, 4, 1), dtype="uint8")
    model = fc.Model(x, layers.Flatten()(layers.Rescaling(1 / 255)(x)))
    images = np.arange(32, dtype=np.uint8).reshape(2, 4, 4, 1)
    model.save(tmp_path / "model.safetensors")
    again = fc.load_model(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.predict(images), model.predict(images))
    np.testing.assert_allclose(
        model.predict(images), images.reshape(2, -1) / 255, rtol=1e-6
    )
