"""Every layer: output shape by Keras's rules, both orders of axes, its config."""

import json

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers
from layer_cases import CASES, SPATIAL, Case, data


def every(cases: list[Case]):
    return pytest.mark.parametrize("case", cases, ids=str)


@every(CASES)
def test_shape_in_a_model_and_on_arrays(case: Case):
    layer = case.make()
    described = layer(fc.Input(case.input))
    assert described.shape == (None, *case.output)
    assert layer(data(3, *case.input)).shape == (3, *case.output)
    assert layer.compute_output_shape((None, *case.input)) == (None, *case.output)


@every(CASES)
def test_empty_batch(case: Case):
    assert case.make()(data(0, *case.input)).shape == (0, *case.output)


@every(CASES)
def test_config_makes_the_same_layer(case: Case):
    layer = case.make(trainable=False)
    x = data(2, *case.input)
    expected = layer(x, training=False)
    config = json.loads(json.dumps(layer.get_config()))
    copy = type(layer).from_config(config)
    assert copy.get_config() == config
    assert copy.name == layer.name
    assert not copy.trainable
    copy(x)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(x, training=False), expected)


@every([c for c in SPATIAL if c.arguments.get("padding") != "causal"])
def test_channels_first_is_the_same_transposed(case: Case):
    last = case.make()
    first = case.make(data_format="channels_first")
    x = data(2, *case.input)
    expected = last(x)
    turned = np.moveaxis(x, -1, 1)
    first(turned)
    first.set_weights(last.get_weights())
    actual = first(turned)
    if expected.ndim > 2:
        actual = np.moveaxis(actual, 1, -1)
    np.testing.assert_array_equal(actual, expected)


def test_every_layer_has_a_case():
    tested = {case.layer for case in CASES} | {
        "CutMix", "FrozenGraph", "InputLayer", "Lambda", "Layer", "OpLayer", "Add",
        "Average", "Concatenate", "Maximum", "Minimum", "MixUp", "Multiply", "Subtract",
        "Convolution1D", "Convolution2D", "Convolution3D",
    }  # fmt: skip
    made = {
        name
        for name in layers.__all__
        if isinstance(getattr(layers, name), type)
        and issubclass(getattr(layers, name), layers.Layer)
        and getattr(layers, name).__name__ == name  # no second name
    }
    assert made == tested


def test_sizes_may_be_unknown():
    x = fc.Input((None, None, 3))
    y = layers.MaxPooling2D()(layers.Conv2D(8, 3, padding="same")(x))
    assert y.shape == (None, None, None, 8)
    assert layers.GlobalAveragePooling2D()(y).shape == (None, 8)


def test_batch_size_may_be_known():
    assert layers.Dense(2)(fc.Input((3,), batch_size=5)).shape == (5, 2)


def test_flatten_of_channels_first_has_the_channels_last():
    x = data(2, 3, 4, 5)
    y = layers.Flatten("channels_first")(x)
    np.testing.assert_array_equal(y, np.moveaxis(x, 1, -1).reshape(2, -1))


def test_default_data_format():
    layers.set_image_data_format("channels_first")
    try:
        assert layers.Conv2D(2, 3)(fc.Input((1, 8, 9))).shape == (None, 2, 6, 7)
    finally:
        layers.set_image_data_format("channels_last")


def test_transpositions_between_layers_cancel():
    conv = layers.Conv2D(2, 3, data_format="channels_first")
    pool = layers.MaxPooling2D(data_format="channels_first")
    run = fc.function(lambda x: pool(conv(x)))
    steps = [step.op for step in run.explain(data(1, 3, 8, 8))]
    assert steps.count("transpose") == 2


def test_names_count_up():
    from fastconv.layers.base import reset_names

    reset_names()
    made = [layers.Conv2D(1, 1), layers.Conv2D(1, 1), layers.Conv1DTranspose(1, 1)]
    made += [layers.MaxPooling2D(), layers.LeakyReLU(), layers.BatchNormalization()]
    assert [layer.name for layer in made] == [
        "conv2d", "conv2d_1", "conv1d_transpose", "max_pooling2d", "leaky_re_lu",
        "batch_normalization",
    ]  # fmt: skip
