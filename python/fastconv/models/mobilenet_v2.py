"""MobileNetV2: residual blocks that are wide inside and narrow outside.

Sandler, Howard, Zhu, Zhmoginov, Chen, "MobileNetV2: inverted residuals and linear
bottlenecks", CVPR 2018, table 2; t: how much wider a block is inside, c: maps, n:
blocks, s: stride of the first::

    part          map    t   c     n   s
    3x3           112    -   32    1   2
    bottleneck    112    1   16    1   1
    bottleneck    56     6   24    2   2
    bottleneck    28     6   32    3   2
    bottleneck    14     6   64    4   2
    bottleneck    14     6   96    3   1
    bottleneck    7      6   160   3   2
    bottleneck    7      6   320   1   1
    1x1           7      -   1280  1   1
    top           mean of each map, dropout, dense 1000

``alpha`` multiplies all maps (the width multiplier), rounded to multiples of 8.

>>> import fastconv as fc
>>> fc.models.MobileNetV2(weights=None).count_params()
3538984
>>> fc.models.MobileNetV2(weights=None, alpha=0.5).count_params()
1987224
"""

from __future__ import annotations

from typing import Any

from fastconv.layers import (
    Activation,
    Add,
    Dense,
    DepthwiseConv2D,
    Dropout,
    GlobalAveragePooling2D,
)
from fastconv.models.blocks import conv, normalize
from fastconv.models.network import Facts, Network

PAPER = "Sandler, Howard, Zhu, Zhmoginov, Chen, MobileNetV2, CVPR 2018"
TABLE = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2),
    (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip


def mobilenet_v2(x: Any, alpha: float) -> Any:
    """The feature maps."""
    x = _unit(x, _rounded(32 * alpha), 3, "features.0", strides=2)
    place = 1
    for expansion, maps, blocks, strides in TABLE:
        for i in range(blocks):
            x = _bottleneck(
                x, expansion, _rounded(maps * alpha), 1 if i else strides,
                f"features.{place}",
            )  # fmt: skip
            place += 1
    return _unit(x, _rounded(1280 * max(1.0, alpha)), 1, f"features.{place}")


def _bottleneck(x: Any, expansion: int, maps: int, strides: int, name: str) -> Any:
    """Wider, depthwise 3x3, narrower without ReLU; added if the sizes are equal."""
    y, at = x, iter(range(4))
    if expansion > 1:
        y = _unit(y, expansion * x.shape[-1], 1, f"{name}.conv.{next(at)}")
    inside = f"{name}.conv.{next(at)}"
    y = DepthwiseConv2D(
        3, strides, padding=1, use_bias=False, depthwise_initializer="he_normal",
        name=f"{inside}.0",
    )(y)  # fmt: skip
    y = relu6(normalize(y, f"{inside}.1"), f"{inside}.2")
    y = conv(y, maps, 1, f"{name}.conv.{next(at)}")
    y = normalize(y, f"{name}.conv.{next(at)}")
    if strides > 1 or x.shape[-1] != maps:
        return y
    return Add(name=f"{name}.add")([x, y])


def _unit(x: Any, maps: int, window: int, name: str, **options: Any) -> Any:
    x = conv(x, maps, window, f"{name}.0", **options)
    return relu6(normalize(x, f"{name}.1"), f"{name}.2")


def relu6(x: Any, name: str) -> Any:
    """Rectified, at most 6."""
    return Activation("relu6", name=name)(x)


def _rounded(maps: float) -> int:
    """A multiple of 8 near ``maps``, at least 90 % of it."""
    found = max(8, int(maps + 4) // 8 * 8)
    return found + 8 if found < 0.9 * maps else found


def top(x: Any, classes: int, activation: Any) -> Any:
    """The classifier of the paper."""
    x = GlobalAveragePooling2D(name="avgpool")(x)
    x = Dropout(0.2, name="classifier.0")(x)
    return Dense(classes, activation=activation, name="classifier.1")(x)


MobileNetV2 = Network(
    "mobilenet_v2", mobilenet_v2, Facts(PAPER, 3504872, 0.301, 71.878, 90.286),
    top=top, alpha=1.0,
    levels={
        2: "features.1.conv.2", 4: "features.3.add", 8: "features.6.add",
        16: "features.13.add", 32: "features.17.conv.3",
    },
)  # fmt: skip
