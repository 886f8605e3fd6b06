"""PyramidNet: maps grow a little in every block instead of twofold at some.

Han, Kim, Kim, "Deep pyramidal residual networks", CVPR 2017, equation 2: block k of n
has ``floor(D_0 + k alpha / n)`` maps, D_0 = 16 on CIFAR and 64 on ImageNet. Section
3.3: a block is norm, 3x3, norm, ReLU, 3x3, norm, without ReLU at its ends; new maps of
the shortcut are zero::

    network             blocks               alpha   parameters (10^6)   error, %
    PyramidNet110       3 stages of 18       48      1.7                 4.58
    PyramidNet110_270   3 stages of 18       270     28.3                3.73
    PyramidNet200       bottlenecks 3 24 36 3  300   62.1                20.5 (ImageNet)

The first two are for CIFAR-10. A bottleneck, 1x1, 3x3, 1x1, has four times the maps at
its end.

>>> import fastconv as fc
>>> fc.models.PyramidNet110(alpha=48, weights=None).output_shape
(None, 10)
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastconv import ops
from fastconv.layers import Add, AveragePooling2D, MaxPooling2D
from fastconv.models.blocks import conv, normalize, relu
from fastconv.models.network import Facts, Network

PAPER = "Han, Kim, Kim, Deep pyramidal residual networks, CVPR 2017"


def small_pyramidnet(x: Any, blocks: tuple[int, ...], alpha: int) -> Any:
    """The feature maps of an image of CIFAR."""
    x = normalize(conv(x, 16, 3, "conv1"), "bn1")
    return _stages(x, blocks, 16, alpha, _basic)


def pyramidnet(x: Any, blocks: tuple[int, ...], alpha: int) -> Any:
    """The feature maps of an image of ImageNet."""
    x = relu(normalize(conv(x, 64, 7, "conv1", strides=2), "bn1"), "relu1")
    x = MaxPooling2D(3, 2, padding=1, name="maxpool")(x)
    return _stages(x, blocks, 64, alpha, _bottleneck)


def _stages(x: Any, blocks: tuple[int, ...], maps: int, alpha: int, block: Any) -> Any:
    made = 0
    for stage, depth in enumerate(blocks, start=1):
        for i in range(depth):
            made += 1
            wide = maps + made * alpha // sum(blocks)
            strides = 2 if stage > 1 and not i else 1
            x = block(x, wide, strides, f"layer{stage}.{i}")
    return relu(normalize(x, "bn_final"), "relu_final")


def _basic(x: Any, maps: int, strides: int, name: str) -> Any:
    y = conv(normalize(x, f"{name}.bn1"), maps, 3, f"{name}.conv1", strides=strides)
    y = relu(normalize(y, f"{name}.bn2"), f"{name}.relu")
    y = normalize(conv(y, maps, 3, f"{name}.conv2"), f"{name}.bn3")
    return _added(x, y, strides, name)


def _bottleneck(x: Any, maps: int, strides: int, name: str) -> Any:
    y = conv(normalize(x, f"{name}.bn1"), maps, 1, f"{name}.conv1")
    y = relu(normalize(y, f"{name}.bn2"), f"{name}.relu1")
    y = conv(y, maps, 3, f"{name}.conv2", strides=strides)
    y = relu(normalize(y, f"{name}.bn3"), f"{name}.relu2")
    y = normalize(conv(y, 4 * maps, 1, f"{name}.conv3"), f"{name}.bn4")
    return _added(x, y, strides, name)


def _added(x: Any, y: Any, strides: int, name: str) -> Any:
    if strides > 1:
        x = AveragePooling2D(2, padding=((0, 1), (0, 1)), name=f"{name}.downsample")(x)
    new = y.shape[-1] - x.shape[-1]
    if new:
        x = ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, new)))
    return Add(name=f"{name}.add")([y, x])


def _cifar(
    name: str, alpha: int, parameters: int, multiply_adds: float, error: float
) -> Network:
    return Network(
        name, partial(small_pyramidnet, blocks=(18, 18, 18)),
        Facts(
            PAPER, parameters, multiply_adds, 100 - error, reference="paper",
            data="CIFAR-10",
        ),
        image=32, smallest=8, classes=10, weights=None, alpha=alpha,
        levels={1: "layer1.17.add", 2: "layer2.17.add", 4: "relu_final"},
    )  # fmt: skip


PyramidNet110 = _cifar("pyramidnet110", 48, 1739730, 0.394, 4.58)
PyramidNet110_270 = _cifar("pyramidnet110_270", 270, 28485477, 4.718, 3.73)
PyramidNet200 = Network(
    "pyramidnet200", partial(pyramidnet, blocks=(3, 24, 36, 3)),
    Facts(PAPER, 62152030, 16.466, 79.5, 95.2, reference="paper"),
    weights=None, alpha=300,
    levels={
        2: "relu1", 4: "layer1.2.add", 8: "layer2.23.add", 16: "layer3.35.add",
        32: "relu_final",
    },
)  # fmt: skip
