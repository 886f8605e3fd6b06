"""SqueezeNet: few maps into the 3x3 convolutions, AlexNet's accuracy at 1/50 the size.

Iandola, Han, Moskewicz, Ashraf, Dally, Keutzer, "SqueezeNet", arXiv 1602.07360, 2016,
table 1. A fire module has s 1x1 convolutions (squeeze), then e 1x1 and e 3x3 side by
side (expand); M is maximum pooling 3x3 with stride 2::

    1.0   7x7 96 /2  M  fire 16 64, 16 64, 32 128  M  32 128, 48 192, 48 192, 64 256  M
          64 256  top
    1.1   3x3 64 /2  M  fire 16 64, 16 64  M  32 128, 32 128  M  48 192, 48 192, 64 256,
          64 256  top
    top   dropout, 1x1 convolution to the classes, ReLU, mean of each map

>>> import fastconv as fc
>>> fc.models.SqueezeNet1_1(weights=None).count_params()
1235496
"""

from __future__ import annotations

from functools import partial
from typing import Any

from fastconv.layers import (
    Activation,
    Concatenate,
    Conv2D,
    Dropout,
    GlobalAveragePooling2D,
    MaxPooling2D,
)
from fastconv.models.network import Facts, Network

PAPER = "Iandola et al., SqueezeNet, arXiv 1602.07360, 2016"
UP = ((0, 1), (0, 1))  # as if the last window, only partly inside, were counted


def squeezenet(x: Any, maps: int, window: int, modules: tuple[Any, ...]) -> Any:
    """The feature maps; ``modules``: (squeeze, expand), or None for a pooling."""
    x = _conv(x, maps, window, "features.0", strides=2)
    for place, module in enumerate((None, *modules), start=2):
        name = f"features.{place}"
        if module is None:
            x = MaxPooling2D(3, 2, padding=UP, name=name)(x)
        else:
            squeeze, expand = module
            x = _fire(x, squeeze, expand, name)
    return x


def _fire(x: Any, squeeze: int, expand: int, name: str) -> Any:
    x = _conv(x, squeeze, 1, f"{name}.squeeze")
    one = _conv(x, expand, 1, f"{name}.expand1x1")
    three = _conv(x, expand, 3, f"{name}.expand3x3", padding="same")
    return Concatenate(name=name)([one, three])


def _conv(x: Any, maps: int, window: int, name: str, **options: Any) -> Any:
    return Conv2D(
        maps, window, activation="relu", kernel_initializer="he_uniform", name=name,
        **options,
    )(x)  # fmt: skip


def top(x: Any, classes: int, activation: Any) -> Any:
    """The classifier of the paper."""
    x = Dropout(0.5, name="classifier.0")(x)
    x = Conv2D(classes, 1, activation="relu", name="classifier.1")(x)
    x = GlobalAveragePooling2D(name="classifier.3")(x)
    return Activation(activation, name="predictions")(x)


SqueezeNet1_0 = Network(
    "squeezenet1_0",
    partial(
        squeezenet, maps=96, window=7,
        modules=(
            (16, 64), (16, 64), (32, 128), None,
            (32, 128), (48, 192), (48, 192), (64, 256), None, (64, 256),
        ),
    ),
    Facts(PAPER, 1248424, 0.819, 58.092, 80.42),
    top=top, smallest=21,
    levels={2: "features.0", 4: "features.5", 8: "features.10", 16: "features.12"},
)  # fmt: skip
SqueezeNet1_1 = Network(
    "squeezenet1_1",
    partial(
        squeezenet, maps=64, window=3,
        modules=(
            (16, 64), (16, 64), None, (32, 128), (32, 128), None,
            (48, 192), (48, 192), (64, 256), (64, 256),
        ),
    ),
    Facts(PAPER, 1235496, 0.349, 58.178, 80.624),
    top=top, smallest=17,
    levels={2: "features.0", 4: "features.4", 8: "features.7", 16: "features.12"},
)  # fmt: skip
