"""Xception: Inception taken to its end, depthwise and pointwise convolutions only.

Chollet, "Xception: deep learning with depthwise separable convolutions", CVPR 2017,
figure 5; a number is a separable convolution 3x3 to so many maps with batch
normalisation, and blocks 2 to 13 are residual::

    block    map   what
    1        147   3x3 32 with stride 2, 3x3 64, not separable
    2        74    128, 128, maximum pooling 3x3 with stride 2
    3        37    256, 256, pooling
    4        19    728, 728, pooling
    5 - 12   19    728, 728, 728
    13       10    728, 1024, pooling
    14       10    1536, 2048
    top            mean of each map, dense 1000

ReLU comes before each separable convolution, in block 14 after it. Where sizes change,
the shortcut is a 1x1 convolution with stride 2. Names are Keras's.

>>> import fastconv as fc
>>> fc.models.Xception(weights=None).count_params()
22910480
"""

from __future__ import annotations

from typing import Any

from fastconv.layers import (
    Add,
    BatchNormalization,
    Conv2D,
    MaxPooling2D,
    SeparableConv2D,
)
from fastconv.models.blocks import predictions, relu
from fastconv.models.network import SYMMETRIC, Facts, Network

PAPER = "Chollet, Xception, CVPR 2017"


def xception(x: Any) -> Any:
    """The feature maps."""
    x = relu(_conv(x, 32, 3, "block1_conv1", strides=2), "block1_conv1_act")
    x = relu(_conv(x, 64, 3, "block1_conv2"), "block1_conv2_act")
    x = _smaller(x, 2, (128, 128), "")
    x = _smaller(x, 3, (256, 256), "_1")
    x = _smaller(x, 4, (728, 728), "_2")
    for block in range(5, 13):
        y = _separable(x, block, (728, 728, 728))
        x = Add(name=f"block{block}_add")([y, x])
    x = _smaller(x, 13, (728, 1024), "_3")
    for i, maps in enumerate((1536, 2048), start=1):
        x = _unit(x, maps, f"block14_sepconv{i}")
        x = relu(x, f"block14_sepconv{i}_act")
    return x


def _smaller(x: Any, block: int, maps: tuple[int, ...], number: str) -> Any:
    """A block with pooling; ``number`` of the layers of its shortcut."""
    shortcut = _conv(
        x, maps[-1], 1, f"conv2d{number}", f"batch_normalization{number}",
        strides=2, padding="same",
    )  # fmt: skip
    y = _separable(x, block, maps)
    y = MaxPooling2D(3, 2, padding="same", name=f"block{block}_pool")(y)
    return Add(name=f"block{block}_add")([y, shortcut])


def _separable(x: Any, block: int, maps: tuple[int, ...]) -> Any:
    for i, n in enumerate(maps, start=1):
        if (block, i) != (2, 1):  # which has the ReLU of block 1 before it
            x = relu(x, f"block{block}_sepconv{i}_act")
        x = _unit(x, n, f"block{block}_sepconv{i}")
    return x


def _unit(x: Any, maps: int, name: str) -> Any:
    x = SeparableConv2D(maps, 3, padding="same", use_bias=False, name=name)(x)
    return BatchNormalization(name=f"{name}_bn")(x)


def _conv(
    x: Any, maps: int, window: int, name: str, norm: str | None = None, **options: Any
) -> Any:
    x = Conv2D(maps, window, use_bias=False, name=name, **options)(x)
    return BatchNormalization(name=norm or f"{name}_bn")(x)


Xception = Network(
    "xception", xception,
    Facts(PAPER, 22855952, 8.357, 79.0, 94.5, reference="keras", scaling=SYMMETRIC),
    top=predictions, image=299, smallest=71,
    levels={
        2: "block1_conv2_act", 4: "block2_add", 8: "block3_add", 16: "block12_add",
        32: "block14_sepconv2_act",
    },
)  # fmt: skip
