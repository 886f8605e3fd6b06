"""MobileNet: depthwise and pointwise convolutions in the place of 3x3 ones.

Howard et al., "MobileNets: efficient convolutional neural networks for mobile vision
applications", arXiv 1704.04861, 2017, table 1; each unit is depthwise 3x3, then 1x1,
and /2 is stride 2 of the first::

    part    map   maps
    3x3     112   32 /2
    units   112   64
    units   56    128 /2, 128
    units   28    256 /2, 256
    units   14    512 /2, 512 x5
    units   7     1024 /2, 1024
    top           mean of each map, dropout, 1x1 to 1000

All convolutions have batch normalisation and ReLU6, as in Keras, whose names these are.
``alpha`` multiplies all maps, ``depth_multiplier`` those of the depthwise ones.

>>> import fastconv as fc
>>> fc.models.MobileNet(weights=None).count_params()
4253864
>>> fc.models.MobileNet(weights=None, alpha=0.5).count_params()
1342536
"""

from __future__ import annotations

from typing import Any

from fastconv.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    DepthwiseConv2D,
    Dropout,
    GlobalAveragePooling2D,
    Reshape,
)
from fastconv.models.network import SYMMETRIC, Facts, Network

PAPER = "Howard et al., MobileNets, arXiv 1704.04861, 2017"
UNITS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2),
    (512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


def mobilenet(x: Any, alpha: float, depth_multiplier: int) -> Any:
    """The feature maps."""
    x = Conv2D(
        int(32 * alpha), 3, 2, padding="same", use_bias=False, name="conv1"
    )(x)  # fmt: skip
    x = _normalized(x, "conv1")
    for place, (maps, strides) in enumerate(UNITS, start=1):
        x = DepthwiseConv2D(
            3, strides, padding="same" if strides == 1 else ((0, 1), (0, 1)),
            depth_multiplier=depth_multiplier, use_bias=False, name=f"conv_dw_{place}",
        )(x)  # fmt: skip
        x = _normalized(x, f"conv_dw_{place}")
        x = Conv2D(int(maps * alpha), 1, use_bias=False, name=f"conv_pw_{place}")(x)
        x = _normalized(x, f"conv_pw_{place}")
    return x


def _normalized(x: Any, name: str) -> Any:
    x = BatchNormalization(name=f"{name}_bn")(x)
    return Activation("relu6", name=f"{name}_relu")(x)


def top(x: Any, classes: int, activation: Any) -> Any:
    """The classifier, as Keras has it: a convolution."""
    x = GlobalAveragePooling2D(keepdims=True, name="global_average_pooling2d")(x)
    x = Dropout(1e-3, name="dropout")(x)
    x = Conv2D(classes, 1, name="conv_preds")(x)
    x = Reshape((classes,), name="reshape_2")(x)
    return Activation(activation, name="predictions")(x)


MobileNet = Network(
    "mobilenet", mobilenet,
    Facts(PAPER, 4231976, 0.569, 70.4, 89.5, reference="keras", scaling=SYMMETRIC),
    top=top, alpha=1.0, depth_multiplier=1,
    levels={
        2 << i: f"conv_pw_{unit}_relu" for i, unit in enumerate((1, 3, 5, 11, 13))
    },
)  # fmt: skip
