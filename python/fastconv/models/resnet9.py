"""ResNet-9: few, wide residual layers for CIFAR-10, to be trained in minutes.

Coleman et al., "Analysis of DAWNBench", 2019; the network is D. Page's, "How to train
your ResNet", 2018, with maps w = 64 there and 32 here::

    part      map   maps   what
    prep      32    w      3x3
    layer1    16    2 w    3x3, maximum pooling, then two 3x3 with a shortcut
    layer2    8     4 w    3x3, maximum pooling, then two 3x3 with a shortcut
    layer3    4     8 w    3x3, maximum pooling, then two 3x3 with a shortcut
    top                    maximum of each map, dense 10, times 1/8

Each convolution is followed by batch normalisation and ReLU; the original has no
residual layers in layer2.

>>> import fastconv as fc
>>> fc.models.ResNet9().count_params()
1944298
"""

from __future__ import annotations

from typing import Any

from fastconv.layers import (
    Activation,
    Add,
    Dense,
    GlobalMaxPooling2D,
    MaxPooling2D,
    Rescaling,
)
from fastconv.models.blocks import conv, normalize, relu
from fastconv.models.network import Facts, Network

PAPER = "Page, How to train your ResNet, 2018"


def resnet9(x: Any, width: int) -> Any:
    """The feature maps; ``width``: maps of the first convolution."""
    x = _unit(x, width, "prep")
    for stage in (1, 2, 3):
        name = f"layer{stage}"
        x = _unit(x, width << stage, name, pool=True)
        y = _unit(_unit(x, width << stage, f"{name}.0"), width << stage, f"{name}.1")
        x = Add(name=f"{name}.add")([x, y])
    return x


def _unit(x: Any, maps: int, name: str, pool: bool = False) -> Any:
    x = conv(x, maps, 3, f"{name}.conv")
    if pool:
        x = MaxPooling2D(2, name=f"{name}.pool")(x)
    return relu(normalize(x, f"{name}.bn"), f"{name}.relu")


def top(x: Any, classes: int, activation: Any) -> Any:
    """The classifier; small scores at first keep the early steps calm."""
    x = GlobalMaxPooling2D(name="maxpool")(x)
    x = Rescaling(0.125, name="scale")(x)
    x = Dense(classes, name="fc")(x)
    return Activation(activation, name="predictions")(x)


ResNet9 = Network(
    "resnet9", resnet9,
    Facts(PAPER, 1941546, 0.114, reference="paper", data="CIFAR-10"),
    top=top, image=32, smallest=8, classes=10, weights=None, width=32,
    levels={1: "prep.relu", 2: "layer1.add", 4: "layer2.add", 8: "layer3.add"},
)  # fmt: skip
