"""AlexNet, as published in two groups, and as one tower.

Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional neural
networks", NIPS 2012, section 3.5 and figure 2; and Krizhevsky, "One weird trick for
parallelizing convolutional neural networks", arXiv 1404.5997, 2014::

    layer                        two groups (AlexNet)       one tower (AlexNetOneTower)
    image                        227x227x3                  224x224x3
    conv 11x11, stride 4         96, LRN                    64
    maximum pooling 3x3, 2       27x27                      27x27
    conv 5x5                     256 in 2 groups, LRN       192
    maximum pooling 3x3, 2       13x13                      13x13
    conv 3x3                     384                        384
    conv 3x3                     384 in 2 groups            256
    conv 3x3                     256 in 2 groups            256
    maximum pooling 3x3, 2       6x6                        6x6
    dense, dropout, twice        4096, 4096                 4096, 4096
    dense                        1000                       1000

The paper says 224x224 where its layers need 227x227 without padding. Its network has
60,965,224 parameters; that of one tower, torchvision's, 61,100,840.

>>> import fastconv as fc
>>> fc.models.AlexNet(weights=None).count_params()
60965224
"""

from __future__ import annotations

from typing import Any

from fastconv.layers import (
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    LocalResponseNormalization,
    MaxPooling2D,
    ZeroPadding2D,
)
from fastconv.models.network import Facts, Network

PAPER = "Krizhevsky, Sutskever, Hinton, ImageNet classification, NIPS 2012"
TOWER = "Krizhevsky, One weird trick for parallelizing convolutions, 2014"


def two_groups(x: Any) -> Any:
    """The feature maps of the paper."""
    x = _conv(x, 96, 11, "conv1", strides=4, padding="valid")
    x = LocalResponseNormalization(name="norm1")(x)
    x = MaxPooling2D(3, 2, name="pool1")(x)
    x = _conv(x, 256, 5, "conv2", groups=2)
    x = LocalResponseNormalization(name="norm2")(x)
    x = MaxPooling2D(3, 2, name="pool2")(x)
    x = _conv(x, 384, 3, "conv3")
    x = _conv(x, 384, 3, "conv4", groups=2)
    x = _conv(x, 256, 3, "conv5", groups=2)
    return MaxPooling2D(3, 2, name="pool5")(x)


def one_tower(x: Any) -> Any:
    """The feature maps of 2014."""
    x = ZeroPadding2D(2, name="padding")(x)
    x = _conv(x, 64, 11, "features.0", strides=4, padding="valid")
    x = MaxPooling2D(3, 2, name="features.2")(x)
    x = _conv(x, 192, 5, "features.3")
    x = MaxPooling2D(3, 2, name="features.5")(x)
    x = _conv(x, 384, 3, "features.6")
    x = _conv(x, 256, 3, "features.8")
    x = _conv(x, 256, 3, "features.10")
    return MaxPooling2D(3, 2, name="features.12")(x)


def _conv(x: Any, maps: int, window: int, name: str, **options: Any) -> Any:
    options = {"padding": "same", "activation": "relu", **options}
    return Conv2D(maps, window, name=name, **options)(x)


def top(x: Any, classes: int, activation: Any) -> Any:
    """The classifier of the paper."""
    x = Flatten(name="flatten")(x)
    for place in (0, 3):
        x = Dropout(0.5, name=f"classifier.{place}")(x)
        x = Dense(4096, activation="relu", name=f"classifier.{place + 1}")(x)
    return Dense(classes, activation=activation, name="classifier.6")(x)


AlexNet = Network(
    "alexnet", two_groups,
    Facts(PAPER, 60965224, 0.724, 59.3, 81.8, reference="paper"),
    top=top, image=227, smallest=67, weights=None,
    levels={4: "norm1", 8: "norm2", 16: "conv5", 32: "pool5"},
)  # fmt: skip
AlexNetOneTower = Network(
    "alexnet_one_tower", one_tower, Facts(TOWER, 61100840, 0.714, 56.522, 79.066),
    top=top, smallest=63,
    levels={4: "features.0", 8: "features.3", 16: "features.10", 32: "features.12"},
)  # fmt: skip
