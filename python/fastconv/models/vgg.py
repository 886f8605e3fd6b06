"""VGG: 3x3 convolutions only, ever more maps.

Simonyan, Zisserman, "Very deep convolutional networks for large-scale image
recognition", ICLR 2015, table 1; a number is a convolution with so many maps, each
followed by ReLU, and M is maximum pooling 2x2::

    A  VGG-11   64 M 128 M 256 256 M 512 512 M 512 512 M
    B  VGG-13   64 64 M 128 128 M 256 256 M 512 512 M 512 512 M
    D  VGG-16   64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M
    E  VGG-19   64 64 M 128 128 M 256 x4 M 512 x4 M 512 x4 M
    top         dense 4096, dropout, dense 4096, dropout, dense 1000

``VGG16BN`` and its like have batch normalisation after each convolution, as in
torchvision.

>>> import fastconv as fc
>>> fc.models.VGG16(weights=None).count_params()
138357544
"""

from __future__ import annotations

from itertools import accumulate
from typing import Any

from fastconv.layers import (
    Activation,
    BatchNormalization,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPooling2D,
)
from fastconv.models.network import Facts, Network

PAPER = "Simonyan, Zisserman, Very deep convolutional networks, ICLR 2015"
MAPS = (64, 128, 256, 512, 512)


def vgg(x: Any, depths: tuple[int, ...], normalized: bool) -> Any:
    """The feature maps; ``depths``: convolutions before each pooling."""
    place = iter(range(1000))  # layers are numbered as in torchvision
    for maps, depth in zip(MAPS, depths, strict=True):
        for _ in range(depth):
            x = Conv2D(maps, 3, padding="same", name=f"features.{next(place)}")(x)
            if normalized:
                x = BatchNormalization(
                    momentum=0.9, epsilon=1e-5, name=f"features.{next(place)}"
                )(x)
            x = Activation("relu", name=f"features.{next(place)}")(x)
        x = MaxPooling2D(2, name=f"features.{next(place)}")(x)
    return x


def top(x: Any, classes: int, activation: Any) -> Any:
    """The classifier of the paper."""
    x = Flatten(name="flatten")(x)
    for place in (0, 3):
        x = Dense(4096, activation="relu", name=f"classifier.{place}")(x)
        x = Dropout(0.5, name=f"classifier.{place + 2}")(x)
    return Dense(classes, activation=activation, name="classifier.6")(x)


def _network(
    depth: int, depths: tuple[int, ...], *figures: Any, normalized: bool = False
) -> Network:
    return Network(
        f"vgg{depth}_bn" if normalized else f"vgg{depth}",
        lambda x: vgg(x, depths, normalized),
        Facts(PAPER, *figures),
        top=top,
        levels=_levels(depths, normalized),
    )


def _levels(depths: tuple[int, ...], normalized: bool) -> dict[int, str]:
    """The maps before each pooling, and behind the last."""
    sizes = (depth * (2 + normalized) + 1 for depth in depths)
    pools = [end - 1 for end in accumulate(sizes)]
    found = {1 << i: f"features.{pool - 1}" for i, pool in enumerate(pools)}
    return {**found, 32: f"features.{pools[-1]}"}


A, B, D, E = (1, 1, 2, 2, 2), (2, 2, 2, 2, 2), (2, 2, 3, 3, 3), (2, 2, 4, 4, 4)
VGG11 = _network(11, A, 132863336, 7.609, 69.02, 88.628)
VGG13 = _network(13, B, 133047848, 11.308, 69.928, 89.246)
VGG16 = _network(16, D, 138357544, 15.47, 71.592, 90.382)
VGG19 = _network(19, E, 143667240, 19.632, 72.376, 90.876)
VGG11BN = _network(11, A, 132868840, 7.609, 70.37, 89.81, normalized=True)
VGG13BN = _network(13, B, 133053736, 11.308, 71.586, 90.374, normalized=True)
VGG16BN = _network(16, D, 138365992, 15.47, 73.36, 91.516, normalized=True)
VGG19BN = _network(19, E, 143678248, 19.632, 74.218, 91.842, normalized=True)
