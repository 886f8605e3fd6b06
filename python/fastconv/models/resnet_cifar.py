"""ResNet for images of 32x32: three stages of n blocks, 6 n + 2 layers.

He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, section
4.2 and table 6::

    part             map   maps   what
    conv             32    16     3x3
    layer1           32    16     n blocks of two 3x3
    layer2           16    32     n blocks, the first with stride 2
    layer3           8     64     n blocks, the first with stride 2
    top                           mean of each map, dense 10

    n                      3      5      7      9      18
    network                20     32     44     56     110
    parameters (10^6)      0.27   0.46   0.66   0.85   1.7
    error on CIFAR-10, %   8.75   7.51   7.17   6.97   6.43

Shortcuts have no parameters (option A): where sizes differ, every other pixel is taken,
and the new maps are zero.

>>> import fastconv as fc
>>> fc.models.ResNet20(input_shape=(32, 32, 3)).count_params()
271098
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastconv import ops
from fastconv.layers import Add
from fastconv.models.blocks import conv, normalize, relu
from fastconv.models.network import Facts, Network

PAPER = "He, Zhang, Ren, Sun, Deep residual learning, CVPR 2016"


def small_resnet(x: Any, n: int) -> Any:
    """The feature maps; ``n`` blocks a stage."""
    x = relu(normalize(conv(x, 16, 3, "conv1"), "bn1"), "relu1")
    for stage in range(3):
        for i in range(n):
            strides = 2 if stage and not i else 1
            x = _block(x, 16 << stage, strides, f"layer{stage + 1}.{i}")
    return x


def _block(x: Any, maps: int, strides: int, name: str) -> Any:
    y = conv(x, maps, 3, f"{name}.conv1", strides=strides)
    y = relu(normalize(y, f"{name}.bn1"), f"{name}.relu1")
    y = normalize(conv(y, maps, 3, f"{name}.conv2"), f"{name}.bn2")
    x = shortcut(x, maps, strides)
    return relu(Add(name=f"{name}.add")([y, x]), f"{name}.relu2")


def shortcut(x: Any, maps: int, strides: int) -> Any:
    """Every other pixel for ``strides`` 2, and zeros for maps that are new."""
    if strides > 1:
        x = x[:, ::strides, ::strides, :]
    new = maps - x.shape[-1]
    return ops.pad(x, ((0, 0), (0, 0), (0, 0), (0, new))) if new else x


def _network(n: int, parameters: int, multiply_adds: float, error: float) -> Network:
    facts = Facts(
        PAPER, parameters, multiply_adds, 100 - error, reference="paper",
        data="CIFAR-10",
    )  # fmt: skip
    return Network(
        f"resnet{6 * n + 2}", partial(small_resnet, n=n), facts, image=32, smallest=8,
        classes=10, weights=None,
        levels={1 << i: f"layer{i + 1}.{n - 1}.relu2" for i in range(3)},
    )  # fmt: skip


ResNet20 = _network(3, 269722, 0.041, 8.75)
ResNet32 = _network(5, 464154, 0.069, 7.51)
ResNet44 = _network(7, 658586, 0.097, 7.17)
ResNet56 = _network(9, 853018, 0.125, 6.97)
ResNet110 = _network(18, 1727962, 0.253, 6.43)
