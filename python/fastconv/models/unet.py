"""U-Net: a class for each pixel, from coarse maps and from fine ones.

Ronneberger, Fischer, Brox, "U-Net: convolutional networks for biomedical image
segmentation", MICCAI 2015, figure 1. Each level has two 3x3 convolutions with ReLU; on
the way down levels are joined by 2x2 maximum pooling, on the way up by a 2x2 up-
convolution with stride 2, whose maps are put beside those of the same level::

    map    1      1/2     1/4     1/8     1/16
    down   64     128     256     512     1024
    up     64     128     256     512
    top    1x1 convolution to the classes, softmax in each pixel

Here 3x3 convolutions keep the size, so that nothing is cropped and each pixel of the
image has a result.
"""

from __future__ import annotations

from typing import Any

from fastconv.errors import ArgumentError, ShapeError
from fastconv.layers import (
    Activation,
    Concatenate,
    Conv2D,
    Conv2DTranspose,
    Input,
    MaxPooling2D,
)
from fastconv.models.network import UNIT, Facts
from fastconv.training import Model

__all__ = ["UNet"]

FACTS = {
    "UNet": Facts(
        "Ronneberger, Fischer, Brox, U-Net, MICCAI 2015",
        31030658, 48.096, reference="paper", scaling=UNIT, data="ISBI cells",
    )
}  # fmt: skip


def UNet(  # noqa: N802  (Keras's style for models)
    input_shape: Any = (256, 256, 1),
    classes: int = 2,
    maps: Any = (64, 128, 256, 512, 1024),
    classifier_activation: Any = "softmax",
    name: str = "unet",
) -> Any:
    """U-Net, for the class of each pixel; train it with a loss of class labels.

    Parameters
    ----------
    input_shape: height, width, channels; the first two are multiples of
        ``2**(len(maps) - 1)``, or None for any such size. Default (256, 256, 1).
    classes: of a pixel, default 2.
    maps: of the convolutions of each level, finest first; default those of the paper.
    classifier_activation: of the result, over the classes; default "softmax".
    name: of the model.

    Returns
    -------
    Model, from (N, H, W, channels) to (N, H, W, classes).

    Raises
    ------
    ShapeError for a size that cannot be halved so often; ArgumentError for less than
    two levels.

    >>> import fastconv as fc
    >>> fc.models.UNet((64, 96, 3), classes=4, maps=(8, 16, 32)).output_shape
    (None, 64, 96, 4)
    """
    maps = tuple(maps)
    if len(maps) < 2:
        raise ArgumentError(f"UNet: expected maps of two levels or more, got {maps}")
    unit = 2 ** (len(maps) - 1)
    if any(side is not None and side % unit for side in input_shape[:2]):
        raise ShapeError(
            f"UNet: expected a height and width that are multiples of {unit} for "
            f"{len(maps)} levels, received {tuple(input_shape)}"
        )
    image = Input(input_shape)
    x, kept = image, []
    for level, size in enumerate(maps):
        if level:
            x = MaxPooling2D(2, name=f"down{level}.pool")(x)
        x = _twice(x, size, f"down{level}")
        kept.append(x)
    for level in reversed(range(len(maps) - 1)):
        x = Conv2DTranspose(maps[level], 2, strides=2, name=f"up{level}.conv0")(x)
        x = Concatenate(name=f"up{level}.concat")([kept[level], x])
        x = _twice(x, maps[level], f"up{level}")
    x = Conv2D(classes, 1, name="predictions")(x)
    x = Activation(classifier_activation, name="activation")(x)
    model = Model(image, x, name=name)
    model.metadata = FACTS["UNet"].metadata("unet")
    return model


def _twice(x: Any, maps: int, name: str) -> Any:
    for i in (1, 2):
        x = Conv2D(
            maps, 3, padding="same", activation="relu", name=f"{name}.conv{i}",
            kernel_initializer="he_normal",
        )(x)  # fmt: skip
    return x
