"""Inception v3: factorised convolutions, in branches that are joined."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import config
from fastconv.errors import ArgumentError, ShapeError, unknown_name
from fastconv.layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    Dense,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Input,
    MaxPooling2D,
)
from fastconv.training import Model
from fastconv.training.call_graph import sources

__all__ = ["InceptionV3", "preprocess_input"]

SMALLEST, DEFAULT = 75, 299  # height and width of images
CLASSES = 1000  # of ImageNet


def InceptionV3(  # noqa: N802  (Keras's name)
    include_top: bool = True,
    weights: Any = "imagenet",
    input_tensor: Any = None,
    input_shape: Any = None,
    pooling: str | None = None,
    classes: int = CLASSES,
    classifier_activation: Any = "softmax",
    name: str = "inception_v3",
) -> Any:
    """Inception v3, as Keras defines it; for images scaled by `preprocess_input`.

    Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception architecture for
    computer vision", CVPR 2016, table 1 (without the auxiliary head)::

        part       grid, of 299x299   maps   what
        stem            35x35          192   5 convolutions, 2 maximum poolings
        mixed0          35x35          256   1x1, 5x5, two 3x3, pooling (figure 5)
        mixed1, 2       35x35          288   the same
        mixed3          17x17          768   stride 2 (figure 10)
        mixed4 - 7      17x17          768   1x7 and 7x1 of 128, 160, 160, 192 maps
                                             (figure 6)
        mixed8           8x8          1280   stride 2
        mixed9, 10       8x8          2048   1x3 beside 3x1 (figure 7)
        top             classes              mean of each map, dense, softmax

    Each convolution has no bias, batch normalisation without gamma, and ReLU.
    23,851,784 parameters with the top for 1000 classes, 21,802,784 without.

    Parameters
    ----------
    include_top: whether the classifier is there; default True.
    weights: "imagenet" (the default), None for random ones, or the path of a file of
        `Model.save_weights`. fastconv does not download weights: "imagenet" is read
        from ``inception_v3.safetensors`` (without the top
        ``inception_v3_notop.safetensors``) in the folder ``weights`` of the cache,
        ``FASTCONV_CACHE`` or ``~/.cache/fastconv``.
    input_tensor: tensor of a model to build upon; default a new input.
    input_shape: of an image, three channels, height and width >= 75; with the top
        default (299, 299, 3), without it default any size, (None, None, 3).
    pooling: without the top: "avg" or "max" over each map; default none.
    classes, classifier_activation: of the top; default 1000 and "softmax".
    name: of the model.

    Raises
    ------
    ArgumentError for weights that are not there, or arguments that do not fit;
    ShapeError for images that are too small; UnknownNameError for another pooling.

    >>> import fastconv as fc
    >>> base = fc.applications.InceptionV3(include_top=False, weights=None)
    >>> base.output_shape, base.count_params()
    ((None, None, None, 2048), 21802784)
    """
    if pooling not in (None, "avg", "max"):
        raise unknown_name("pooling", pooling, ["avg", "max"])
    if weights == "imagenet" and include_top and classes != CLASSES:
        raise ArgumentError(
            f"InceptionV3: the top of weights='imagenet' has {CLASSES} classes, "
            f"received classes={classes}; give include_top=False or weights=None"
        )
    path = weights if weights is None else _weights_file(weights, include_top)
    image = input_tensor
    if image is None:
        image = Input(_image_shape(input_shape, include_top))
    x = _body(image)
    if include_top:
        x = GlobalAveragePooling2D(name="avg_pool")(x)
        x = Dense(classes, activation=classifier_activation, name="predictions")(x)
    elif pooling is not None:
        x = (GlobalAveragePooling2D if pooling == "avg" else GlobalMaxPooling2D)()(x)
    inputs = image if input_tensor is None else sources(image)
    model = Model(inputs, x, name=name)
    if path is not None:
        model.load_weights(path)
    return model


def preprocess_input(x: Any, data_format: str | None = None) -> np.ndarray:
    """Images as Inception v3 takes them: ``x / 127.5 - 1``, from 0 .. 255 to -1 .. 1.

    data_format: has no effect; each value is scaled alike.

    >>> from fastconv.applications.inception_v3 import preprocess_input
    >>> preprocess_input([0, 255])
    array([-1.,  1.], dtype=float32)
    """
    return np.asarray(x, np.float32) / np.float32(127.5) - np.float32(1)


def _body(x: Any) -> Any:
    x = _conv(x, 32, 3, strides=2, padding="valid")
    x = _conv(x, 32, 3, padding="valid")
    x = _conv(x, 64, 3)
    x = MaxPooling2D(3, strides=2)(x)
    x = _conv(x, 80, 1, padding="valid")
    x = _conv(x, 192, 3, padding="valid")
    x = MaxPooling2D(3, strides=2)(x)
    for i, pooled in enumerate((32, 64, 64)):
        x = _mixed_35(x, pooled, f"mixed{i}")
    x = _smaller_17(x, "mixed3")
    for i, maps in enumerate((128, 160, 160, 192)):
        x = _mixed_17(x, maps, f"mixed{4 + i}")
    x = _smaller_8(x, "mixed8")
    for i in range(2):
        x = _mixed_8(x, f"mixed9_{i}", f"mixed{9 + i}")
    return x


def _mixed_35(x: Any, pooled: int, name: str) -> Any:
    """Figure 5: the 5x5 stays, and a branch has two 3x3 instead of another."""
    one = _conv(x, 64, 1)
    five = _convs(x, (48, 1), (64, 5))
    double = _convs(x, (64, 1), (96, 3), (96, 3))
    return _join([one, five, double, _pooled(x, pooled)], name)


def _smaller_17(x: Any, name: str) -> Any:
    """Figure 10: convolutions and pooling of stride 2 side by side."""
    three = _conv(x, 384, 3, strides=2, padding="valid")
    double = _convs(x, (64, 1), (96, 3))
    double = _conv(double, 96, 3, strides=2, padding="valid")
    return _join([three, double, MaxPooling2D(3, strides=2)(x)], name)


def _mixed_17(x: Any, maps: int, name: str) -> Any:
    """Figure 6: a 7x7 as 1x7 and 7x1, and twice that."""
    row, column = (1, 7), (7, 1)
    one = _conv(x, 192, 1)
    seven = _convs(x, (maps, 1), (maps, row), (192, column))
    double = _convs(
        x, (maps, 1), (maps, column), (maps, row), (maps, column), (192, row)
    )
    return _join([one, seven, double, _pooled(x, 192)], name)


def _smaller_8(x: Any, name: str) -> Any:
    three = _conv(_conv(x, 192, 1), 320, 3, strides=2, padding="valid")
    seven = _convs(x, (192, 1), (192, (1, 7)), (192, (7, 1)))
    seven = _conv(seven, 192, 3, strides=2, padding="valid")
    return _join([three, seven, MaxPooling2D(3, strides=2)(x)], name)


def _mixed_8(x: Any, inner: str, name: str) -> Any:
    """Figure 7: 1x3 beside 3x1, so that there are more maps on the coarsest grid."""
    row, column = (1, 3), (3, 1)
    one = _conv(x, 320, 1)
    three = _conv(x, 384, 1)
    three = _join([_conv(three, 384, row), _conv(three, 384, column)], inner)
    double = _convs(x, (448, 1), (384, 3))
    double = _join([_conv(double, 384, row), _conv(double, 384, column)])
    return _join([one, three, double, _pooled(x, 192)], name)


def _conv(
    x: Any, filters: int, window: Any, strides: int = 1, padding: str = "same"
) -> Any:
    """Convolution, batch normalisation, ReLU."""
    x = Conv2D(filters, window, strides=strides, padding=padding, use_bias=False)(x)
    x = BatchNormalization(axis=_channels(), scale=False)(x)
    return Activation("relu")(x)


def _convs(x: Any, *convolutions: tuple[int, Any]) -> Any:
    for filters, window in convolutions:
        x = _conv(x, filters, window)
    return x


def _pooled(x: Any, filters: int) -> Any:
    return _conv(AveragePooling2D(3, strides=1, padding="same")(x), filters, 1)


def _join(branches: list[Any], name: str | None = None) -> Any:
    return Concatenate(_channels(), name=name)(branches)


def _channels() -> int:
    return 1 if config.image_data_format() == "channels_first" else -1


def _image_shape(shape: Any, include_top: bool) -> tuple[int | None, ...]:
    """Shape of an image in the order in force, checked."""
    first = config.image_data_format() == "channels_first"
    if shape is None:
        side = DEFAULT if include_top else None
        return (3, side, side) if first else (side, side, 3)
    shape = tuple(shape)
    sides, channels = (shape[1:], shape[:1]) if first else (shape[:-1], shape[-1:])
    fits = all(side is None or side >= SMALLEST for side in sides)
    if len(shape) != 3 or channels != (3,) or not fits:
        raise ShapeError(
            f"InceptionV3: expected input_shape with 3 channels and sides >= "
            f"{SMALLEST}, {config.image_data_format()}, received {shape}"
        )
    if include_top and None in sides:
        raise ShapeError(
            f"InceptionV3: expected a known image size, received {shape}; "
            "include_top=False takes images of any size"
        )
    return shape


def _weights_file(weights: Any, include_top: bool) -> str:
    """The path of a file of weights, which must be there."""
    if weights != "imagenet":
        if not Path(weights).is_file():
            raise ArgumentError(
                f"InceptionV3: expected weights=None, 'imagenet' or the path of a "
                f"file, received {weights!r}, which is no file"
            )
        return os.fspath(weights)
    part = "" if include_top else "_notop"
    path = config.cache_dir() / "weights" / f"inception_v3{part}.safetensors"
    if not path.is_file():
        raise ArgumentError(
            f"InceptionV3: weights='imagenet' expects the file {path}, which is not "
            "there, and fastconv downloads no weights; put one there that "
            "Model.save_weights wrote, name one with weights='PATH', or give "
            "weights=None for random weights"
        )
    return os.fspath(path)
