"""Layers that prepare images, against NumPy and against Keras where it is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers
from fastconv.errors import ArgumentError, DataError, ShapeError, UnknownNameError
from layer_cases import data

RNG = np.random.default_rng(0)


# Normalization


@pytest.mark.parametrize("axis", [-1, 1, (1, 3), (-1, 2), None, (1, 2, 3)], ids=str)
def test_adapted_data_have_mean_0_and_variance_1(axis):
    x = RNG.normal(5, 3, (60, 4, 3, 2)).astype(np.float32)
    layer, back = (layers.Normalization(axis, invert=i) for i in (False, True))
    layer.adapt(x)
    back.adapt(x)
    axes = () if axis is None else axis if isinstance(axis, tuple) else (axis,)
    others = tuple(i for i in range(4) if i not in [a % 4 for a in axes])
    y = layer(x)
    np.testing.assert_allclose(y.mean(others), 0, atol=1e-5)
    np.testing.assert_allclose(y.var(others), 1, atol=1e-4)
    np.testing.assert_allclose(back(y), x, rtol=1e-4, atol=1e-4)
    mean, variance = layer.get_weights()
    np.testing.assert_allclose(mean.ravel(), x.mean(others).ravel(), rtol=1e-5)
    np.testing.assert_allclose(variance.ravel(), x.var(others).ravel(), rtol=1e-4)


def test_adapting_does_not_depend_on_the_batches():
    x = RNG.normal(1e4, 1, (1000, 3))
    whole, parts, source = (layers.Normalization() for _ in "abc")
    whole.adapt(x, batch_size=1000)
    parts.adapt(x, batch_size=7)
    source.adapt([x[:100], x[100:]][i] for i in range(2))
    for other in (parts, source):
        for a, b in zip(whole.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)
    np.testing.assert_allclose(whole.get_weights()[1], x.var(0), rtol=1e-5)


def test_adapting_again_forgets(tmp_path):
    layer = layers.Normalization()
    layer.adapt(np.full((3, 2), 7))
    layer.adapt(np.array([[0, 10], [2, 10]], np.uint8))
    np.testing.assert_allclose(layer([[1.0, 10.0], [2.0, 10.0]]), [[0, 0], [1, 0]])


def test_a_model_is_adapted_after_it_was_made_and_is_saved_with_it(tmp_path):
    norm = layers.Normalization()
    model = fc.Sequential([layers.Input((3,)), norm])
    x = RNG.normal(3, 2, (50, 3)).astype(np.float32)
    np.testing.assert_allclose(model.predict(x, verbose=0), x)
    norm.adapt(x)
    y = model.predict(x, verbose=0)
    np.testing.assert_allclose(y, (x - x.mean(0)) / x.std(0), atol=1e-5)
    model.save(tmp_path / "model.fastconv")
    again = fc.load_model(tmp_path / "model.fastconv")
    np.testing.assert_array_equal(again.predict(x, verbose=0), y)
    assert model.trainable_weights == []


def test_given_moments(backend):
    layer = layers.Normalization(mean=[1.0, 2.0], variance=4.0)
    x = data(3, 5, 2)
    backend.isclose(backend.run(layer, x), [(x - [1, 2]) / 2])
    assert layer.weights == []
    config = layer.get_config()
    assert (config["mean"], config["variance"]) == ([1.0, 2.0], 4.0)
    again = layers.Normalization.from_config(config)
    np.testing.assert_array_equal(again(x), layer(x))


def test_variance_0_is_not_divided_by():
    layer = layers.Normalization(mean=1.0, variance=0.0)
    np.testing.assert_allclose(layer([[1.0, 2.0]]), [[0, 1e7]], rtol=1e-6)


def adapted(*given, **arguments):
    layers.Normalization(**arguments).adapt(*given)


def other_shape():
    layer = layers.Normalization()
    layer.adapt(np.zeros((2, 3)))
    layer.adapt(np.zeros((2, 4)))


ONE = np.ones((2, 3))


@pytest.mark.parametrize(
    ("python", "error", "words"),
    [
        (lambda: layers.Normalization(mean=1.0), ArgumentError, "both mean and"),
        (lambda: layers.Normalization(mean=0, variance=-1), ArgumentError, ">= 0"),
        (lambda: layers.Normalization(mean=0, variance="a"), ArgumentError, "finite"),
        (lambda: adapted(ONE, mean=0, variance=1), ArgumentError, "were given"),
        (lambda: adapted(ONE, axis=0), ArgumentError, "0 is the batch"),
        (lambda: adapted(ONE, axis=2), ArgumentError, "from 1 to 1"),
        (lambda: adapted(ONE, axis=(1, -1)), ArgumentError, "different axes"),
        (lambda: adapted(np.zeros((0, 3))), DataError, "no samples"),
        (lambda: adapted(np.full((2, 3), np.nan)), DataError, "NaN"),
        (lambda: adapted({"a": ONE}), DataError, "one array"),
        (other_shape, ShapeError, "sizes"),
        (lambda: layers.Normalization(mean=[1, 2], variance=1)(ONE), ShapeError, "(3,"),
    ],
)
def test_errors_of_normalization(python, error, words):
    with pytest.raises(error, match=words.replace("(", r"\(")):
        python()


# Sizes


def test_resizing_is_the_op(backend):
    x = data(2, 5, 7, 3)
    layer = layers.Resizing(4, 9, "bicubic", antialias=True)
    expected = fc.ops.resize(x, (4, 9), "bicubic", antialias=True)
    backend.isclose(backend.run(layer, x), [expected], 16)


@pytest.mark.parametrize(("shape", "ratio"), [((9, 4), (2, 1)), ((5, 12), (1, 2))])
def test_aspect_ratios(shape, ratio):
    """A picture whose middle is what the target's ratio leaves: nothing is scaled."""
    x = data(1, *shape, 1)
    height, width = (min(shape[0] // ratio[0], shape[1] // ratio[1]) * r for r in ratio)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    y = layers.Resizing(height, width, crop_to_aspect_ratio=True)(x)
    inside = x[:, top : top + height, left : left + width]
    np.testing.assert_array_equal(y, inside)
    np.testing.assert_array_equal(layers.CenterCrop(height, width)(x), inside)


def test_padding_to_an_aspect_ratio():
    x = np.ones((2, 4, 1), np.float32)
    y = layers.Resizing(4, 4, pad_to_aspect_ratio=True, fill_value=7.0)(x)[..., 0]
    assert y.tolist() == [[7] * 4, [1] * 4, [1] * 4, [7] * 4]


def test_upsampling_repeats(backend):
    x = data(2, 3, 2, 4)
    (y,) = backend.run(layers.UpSampling2D((2, 3)), x)
    np.testing.assert_array_equal(y, x.repeat(2, 1).repeat(3, 2))


def test_upsampling_is_learned_through(check_gradient):
    layer = layers.UpSampling2D(2, interpolation="bilinear")
    check_gradient(layer, data(1, 3, 2, 2))


@pytest.mark.parametrize(
    ("python", "error", "words"),
    [
        (lambda: layers.Resizing(0, 2), ArgumentError, "height"),
        (lambda: layers.Resizing(2, 2, "linear"), UnknownNameError, "bilinear"),
        (lambda: layers.Resizing(2, 2, fill_mode="wrap"), UnknownNameError, "constant"),
        (
            lambda: layers.Resizing(2, 2, "nearest", True, True),
            ArgumentError,
            "received both",
        ),
        (lambda: layers.Resizing(2, 2)(np.ones((3, 3))), ShapeError, "H, W, C"),
        (lambda: layers.CenterCrop(2, 2)(np.ones((1, 0, 3, 1))), ShapeError, "pixels"),
        (lambda: layers.UpSampling2D(0), ArgumentError, "size"),
        (lambda: layers.UpSampling2D(2, None, "cubic"), UnknownNameError, "bicubic"),
    ],
)
def test_errors_of_sizes(python, error, words):
    with pytest.raises(error, match=words):
        python()


# Keras


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("Resizing", {"height": 6, "width": 5}),
        ("Resizing", {"height": 6, "width": 5, "interpolation": "bicubic"}),
        ("Resizing", {"height": 6, "width": 5, "crop_to_aspect_ratio": True}),
        ("Resizing", {"height": 3, "width": 9, "pad_to_aspect_ratio": True}),
        ("CenterCrop", {"height": 4, "width": 7}),
        ("CenterCrop", {"height": 15, "width": 8}),
        ("UpSampling2D", {"size": (2, 3)}),
        ("UpSampling2D", {"size": 2, "interpolation": "bilinear"}),
        ("UpSampling2D", {"size": 2, "interpolation": "bicubic"}),
        ("Normalization", {"mean": [1.0, 2.0, 3.0], "variance": [2.0, 0.5, 1.0]}),
        ("Normalization", {"mean": 1.0, "variance": 2.0, "invert": True}),
    ],
)
@pytest.mark.parametrize("shape", [(2, 11, 8, 3), (1, 8, 13, 3)])
def test_keras_agrees(name, arguments, shape):
    keras: Any = pytest.importorskip("keras")
    x = data(*shape)
    theirs = np.asarray(getattr(keras.layers, name)(**arguments)(x))
    ours = getattr(layers, name)(**arguments)(x)
    # TensorFlow looks the weights of bicubic up in a table of 1024.
    tolerance = 5e-3 if arguments.get("interpolation") == "bicubic" else 1e-4
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=tolerance)


def test_keras_adapts_alike():
    keras: Any = pytest.importorskip("keras")
    x = data(40, 3, 2)
    theirs, ours = keras.layers.Normalization(axis=1), layers.Normalization(axis=1)
    theirs.adapt(x)
    ours.adapt(x)
    np.testing.assert_allclose(ours(x), np.asarray(theirs(x)), rtol=1e-4, atol=1e-5)
