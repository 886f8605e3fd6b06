"""ResNet v2: normalisation and ReLU before the convolutions, a sum that stays as it is.

He, Zhang, Ren, Sun, "Identity mappings in deep residual networks", ECCV 2016, figure
4e; stages and maps are those of `fastconv.models.resnet`::

    layer   map   maps                       blocks of 50, 101, 152
    conv1   112   7x7, 64, stride 2
            56    maximum pooling 3x3, 2
    conv2   56    1x1 64, 3x3, 1x1 256       3   3   3
    conv3   28    128, 512                   4   4   8
    conv4   14    256, 1024                  6   23  36
    conv5   7     512, 2048                  3   3   3
    top           normalisation, ReLU, mean of each map, dense 1000

As in Keras, whose names these are, the last block of a stage has the stride, in its
3x3 convolution, so that a map above is the size behind its stage's first block.

>>> import fastconv as fc
>>> fc.models.ResNet50V2(weights=None).count_params()
25613800
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastconv.layers import (
    Add,
    BatchNormalization,
    Conv2D,
    MaxPooling2D,
    ZeroPadding2D,
)
from fastconv.models.blocks import predictions, relu
from fastconv.models.network import SYMMETRIC, Facts, Network

PAPER = "He, Zhang, Ren, Sun, Identity mappings in residual networks, ECCV 2016"


def resnet_v2(x: Any, blocks: tuple[int, ...]) -> Any:
    """The feature maps."""
    x = Conv2D(64, 7, 2, padding=3, name="conv1_conv")(x)
    x = ZeroPadding2D(1, name="pool1_pad")(x)  # zeros: x may be negative here
    x = MaxPooling2D(3, 2, name="pool1_pool")(x)
    for stage, depth in enumerate(blocks):
        for i in range(1, depth + 1):
            strides = 2 if i == depth and stage < 3 else 1
            x = _block(x, 64 << stage, strides, i == 1, f"conv{stage + 2}_block{i}")
    return relu(_normalize(x, "post_bn"), "post_relu")


def _block(x: Any, maps: int, strides: int, widens: bool, name: str) -> Any:
    before = relu(_normalize(x, f"{name}_preact_bn"), f"{name}_preact_relu")
    if widens:
        x = Conv2D(4 * maps, 1, name=f"{name}_0_conv")(before)
    elif strides > 1:
        x = MaxPooling2D(1, strides, name=f"{name}_pool")(x)
    y = _unit(before, maps, 1, f"{name}_1")
    y = _unit(y, maps, 3, f"{name}_2", strides=strides, padding=1)
    y = Conv2D(4 * maps, 1, name=f"{name}_3_conv")(y)
    return Add(name=f"{name}_out")([x, y])


def _unit(x: Any, maps: int, window: int, name: str, **options: Any) -> Any:
    x = Conv2D(maps, window, use_bias=False, name=f"{name}_conv", **options)(x)
    return relu(_normalize(x, f"{name}_bn"), f"{name}_relu")


def _normalize(x: Any, name: str) -> Any:
    return BatchNormalization(epsilon=1.001e-5, name=name)(x)


def _network(
    depth: int,
    blocks: tuple[int, ...],
    parameters: int,
    multiply_adds: float,
    top1: float,
    top5: float,
) -> Network:
    facts = Facts(PAPER, parameters, multiply_adds, top1, top5, "keras", SYMMETRIC)
    levels = {4 << i: f"conv{i + 2}_block{blocks[i] - 1}_out" for i in range(3)}
    return Network(
        f"resnet{depth}v2", partial(resnet_v2, blocks=blocks), facts, top=predictions,
        levels={2: "conv1_conv", **levels, 32: "post_relu"},
    )  # fmt: skip


ResNet50V2 = _network(50, (3, 4, 6, 3), 25568360, 3.482, 76.0, 93.0)
ResNet101V2 = _network(101, (3, 4, 23, 3), 44577896, 7.194, 77.2, 93.8)
ResNet152V2 = _network(152, (3, 8, 36, 3), 60236904, 10.907, 78.0, 94.2)
