"""DenseNet: each layer sees the maps of all layers before it.

Huang, Liu, van der Maaten, Weinberger, "Densely connected convolutional networks", CVPR
2017, table 1. A dense layer is norm, ReLU, 1x1 to 4 k maps, norm, ReLU, 3x3 to k maps,
which are appended to its input; a transition halves maps, by 1x1, and size, by the
mean of 2x2::

    part           map   121   169   201   161 (k 48)   layers, growth rate k = 32
    7x7, stride 2  112    64    64    64    96          maps
    max 3x3, 2     56
    dense block 1  56      6     6     6     6
    dense block 2  28     12    12    12    12
    dense block 3  14     24    32    48    36
    dense block 4  7      16    32    32    24
    top                  mean of each map, dense 1000

The form for CIFAR (section 4.2, DenseNet-BC): 3x3 with 2 k maps, then three blocks of
(depth - 4) / 6 layers.

>>> import fastconv as fc
>>> fc.models.DenseNet121(weights=None).count_params()
8062504
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastconv.layers import (
    AveragePooling2D,
    Concatenate,
    Dense,
    GlobalAveragePooling2D,
    MaxPooling2D,
)
from fastconv.models.blocks import conv, normalize, relu
from fastconv.models.network import Facts, Network

PAPER = "Huang, Liu, van der Maaten, Weinberger, Densely connected networks, CVPR 2017"


def densenet(x: Any, blocks: tuple[int, ...], growth: int, maps: int) -> Any:
    """The feature maps of an image of ImageNet's size; ``maps`` of the stem."""
    x = conv(x, maps, 7, "features.conv0", strides=2)
    x = relu(normalize(x, "features.norm0"), "features.relu0")
    x = MaxPooling2D(3, 2, padding=1, name="features.pool0")(x)
    return _blocks(x, blocks, growth)


def small_densenet(x: Any, depth: int, growth: int) -> Any:
    """The feature maps of an image of CIFAR."""
    x = conv(x, 2 * growth, 3, "features.conv0")
    return _blocks(x, ((depth - 4) // 6,) * 3, growth)


def _blocks(x: Any, blocks: tuple[int, ...], growth: int) -> Any:
    for i, layers in enumerate(blocks, start=1):
        for j in range(1, layers + 1):
            x = _dense(x, growth, f"features.denseblock{i}.denselayer{j}")
        if i < len(blocks):
            x = _transition(x, f"features.transition{i}")
    return relu(normalize(x, f"features.norm{len(blocks) + 1}"), "features.relu")


def _dense(x: Any, growth: int, name: str) -> Any:
    y = relu(normalize(x, f"{name}.norm1"), f"{name}.relu1")
    y = conv(y, 4 * growth, 1, f"{name}.conv1")
    y = relu(normalize(y, f"{name}.norm2"), f"{name}.relu2")
    y = conv(y, growth, 3, f"{name}.conv2")
    return Concatenate(name=name)([x, y])


def _transition(x: Any, name: str) -> Any:
    x = relu(normalize(x, f"{name}.norm"), f"{name}.relu")
    x = conv(x, x.shape[-1] // 2, 1, f"{name}.conv")
    return AveragePooling2D(2, name=f"{name}.pool")(x)


def top(x: Any, classes: int, activation: Any) -> Any:
    """The classifier of the paper."""
    x = GlobalAveragePooling2D(name="avgpool")(x)
    return Dense(classes, activation=activation, name="classifier")(x)


def _network(
    depth: int, blocks: tuple[int, ...], *figures: Any, growth: int = 32, maps: int = 64
) -> Network:
    body = partial(densenet, blocks=blocks, growth=growth, maps=maps)
    return Network(
        f"densenet{depth}", body, Facts(PAPER, *figures), top=top, smallest=29,
        levels={2: "features.relu0", **_levels(4, blocks)},
    )  # fmt: skip


def _levels(reduction: int, blocks: tuple[int, ...]) -> dict[int, str]:
    """The maps behind each dense block; behind the last also normalised."""
    names = [
        f"features.denseblock{i}.denselayer{n}" for i, n in enumerate(blocks[:-1], 1)
    ]
    return {reduction << i: n for i, n in enumerate([*names, "features.relu"])}


DenseNet121 = _network(121, (6, 12, 24, 16), 7978856, 2.834, 74.434, 91.972)
DenseNet169 = _network(169, (6, 12, 32, 32), 14149480, 3.36, 75.6, 92.806)
DenseNet201 = _network(201, (6, 12, 48, 32), 20013928, 4.291, 76.896, 93.37)
DenseNet161 = _network(
    161, (6, 12, 36, 24), 28681000, 7.728, 77.138, 93.56, growth=48, maps=96
)
DenseNetCIFAR = Network(
    "densenet_cifar", small_densenet,
    Facts(PAPER, 769162, 0.288, 95.49, reference="paper", data="CIFAR-10"),
    top=top, image=32, smallest=8, classes=10, weights=None, depth=100, growth=12,
    levels=lambda depth, growth: _levels(1, ((depth - 4) // 6,) * 3),
)  # fmt: skip
