"""GoogLeNet, that is Inception v1: windows of several sizes side by side.

Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich, "Going deeper
with convolutions", CVPR 2015, table 1::

    part                  map   maps   what
    conv1                 112   64     7x7, stride 2
    maxpool1              56           3x3, stride 2
    conv2, conv3          56    192    1x1 64, 3x3 192
    maxpool2              28           3x3, stride 2
    inception3a, 3b       28    480
    maxpool3              14           3x3, stride 2
    inception4a - 4e      14    832    auxiliary classifiers on 4a and 4d
    maxpool4              7            2x2, stride 2
    inception5a, 5b       7     1024
    top                                mean of each map, dropout, dense 1000

As in torchvision, each convolution has batch normalisation instead of a bias, there
is no local response normalisation, and the third branch has 3x3 windows where the paper
has 5x5. With ``auxiliary=True`` a model has three outputs: the class, and what the
classifiers on 4d and 4a say, for training with ``loss_weights=[1, 0.3, 0.3]``
(section 5).

>>> import fastconv as fc
>>> fc.models.GoogLeNet(weights=None).count_params()
6639464
"""

from __future__ import annotations

from typing import Any

from fastconv.layers import (
    AveragePooling2D,
    Concatenate,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePooling2D,
    MaxPooling2D,
)
from fastconv.models.blocks import conv, normalize, relu
from fastconv.models.network import SYMMETRIC, Facts, Network

PAPER = "Szegedy et al., Going deeper with convolutions, CVPR 2015"
UP = ((0, 1), (0, 1))  # as if the last window, only partly inside, were counted

# Maps of the branches: 1x1; 1x1 then 3x3; 1x1 then "5x5"; pooling then 1x1.
MODULES = {
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}


def googlenet(x: Any, auxiliary: bool) -> Any:
    """The feature maps; with ``auxiliary`` also those of 4d and 4a."""
    x = _unit(x, 64, 7, "conv1", strides=2)
    x = MaxPooling2D(3, 2, padding=UP, name="maxpool1")(x)
    x = _unit(_unit(x, 64, 1, "conv2"), 192, 3, "conv3")
    x = MaxPooling2D(3, 2, padding=UP, name="maxpool2")(x)
    made = {}
    for name, module in MODULES.items():
        if name == "4a":
            x = MaxPooling2D(3, 2, padding=UP, name="maxpool3")(x)
        if name == "5a":
            x = MaxPooling2D(2, 2, name="maxpool4")(x)
        made[name] = x = _inception(x, *module, f"inception{name}")
    return (x, made["4d"], made["4a"]) if auxiliary else x


def _inception(
    x: Any,
    one: int,
    three: tuple[int, int],
    five: tuple[int, int],
    pooled: int,
    at: str,
) -> Any:
    """Figure 2b."""
    reduced = _unit(x, three[0], 1, f"{at}.branch2.0")
    smaller = _unit(x, five[0], 1, f"{at}.branch3.0")
    largest = MaxPooling2D(3, 1, padding=1, name=f"{at}.branch4.0")(x)
    branches = [
        _unit(x, one, 1, f"{at}.branch1"),
        _unit(reduced, three[1], 3, f"{at}.branch2.1"),
        _unit(smaller, five[1], 3, f"{at}.branch3.1"),
        _unit(largest, pooled, 1, f"{at}.branch4.1"),
    ]
    return Concatenate(name=at)(branches)


def _unit(x: Any, maps: int, window: int, name: str, **options: Any) -> Any:
    """Convolution, batch normalisation, ReLU."""
    x = conv(x, maps, window, f"{name}.conv", **options)
    return relu(normalize(x, f"{name}.bn", 1e-3), f"{name}.relu")


def top(x: Any, classes: int, activation: Any) -> Any:
    """The classifier; with the auxiliary ones if their maps are there."""
    maps, *early = x if isinstance(x, tuple) else (x,)
    y = GlobalAveragePooling2D(name="avgpool")(maps)
    y = Dropout(0.2, name="dropout")(y)
    y = Dense(classes, activation=activation, name="fc")(y)
    others = [
        _auxiliary(maps, classes, activation, name)
        for maps, name in zip(early, ("aux2", "aux1"), strict=False)
    ]
    return [y, *others] if others else y


def _auxiliary(x: Any, classes: int, activation: Any, name: str) -> Any:
    x = AveragePooling2D(5, 3, name=f"{name}.pool")(x)
    x = _unit(x, 128, 1, f"{name}.conv")
    x = Flatten(name=f"{name}.flatten")(x)
    x = Dense(1024, activation="relu", name=f"{name}.fc1")(x)
    x = Dropout(0.7, name=f"{name}.dropout")(x)
    return Dense(classes, activation=activation, name=f"{name}.fc2")(x)


GoogLeNet = Network(
    "googlenet", googlenet,
    Facts(PAPER, 6624904, 1.498, 69.778, 89.53, scaling=SYMMETRIC),
    top=top, auxiliary=False,
    levels={
        2: "conv1.relu", 4: "conv3.relu", 8: "inception3b", 16: "inception4e",
        32: "inception5b",
    },
)  # fmt: skip
