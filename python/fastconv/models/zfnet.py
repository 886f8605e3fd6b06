"""ZFNet: AlexNet with smaller windows and strides at its start.

Zeiler, Fergus, "Visualizing and understanding convolutional networks", ECCV 2014,
figure 3::

    layer                           map   maps
    conv 7x7, stride 2              110   96
    maximum pooling 3x3, stride 2   55          then contrast normalisation
    conv 5x5, stride 2              26    256
    maximum pooling 3x3, stride 2   13          then contrast normalisation
    conv 3x3, three times           13    384, 384, 256
    maximum pooling 3x3, stride 2   6
    dense, dropout, twice                 4096
    dense                                 1000

Contrast normalisation is AlexNet's local response normalisation here.

>>> import fastconv as fc
>>> fc.models.ZFNet(weights=None).count_params()
62357608
"""

from __future__ import annotations

from typing import Any

from fastconv.layers import Conv2D, LocalResponseNormalization, MaxPooling2D
from fastconv.models.alexnet import top
from fastconv.models.network import Facts, Network

PAPER = "Zeiler, Fergus, Visualizing and understanding networks, ECCV 2014"


def zfnet(x: Any) -> Any:
    """The feature maps."""
    x = Conv2D(96, 7, 2, padding=1, activation="relu", name="conv1")(x)
    x = MaxPooling2D(3, 2, padding=1, name="pool1")(x)
    x = LocalResponseNormalization(name="norm1")(x)
    x = Conv2D(256, 5, 2, activation="relu", name="conv2")(x)
    x = MaxPooling2D(3, 2, padding=1, name="pool2")(x)
    x = LocalResponseNormalization(name="norm2")(x)
    for place, maps in ((3, 384), (4, 384), (5, 256)):
        x = Conv2D(maps, 3, padding="same", activation="relu", name=f"conv{place}")(x)
    return MaxPooling2D(3, 2, name="pool5")(x)


ZFNet = Network(
    "zfnet", zfnet, Facts(PAPER, 62357608, 1.168, 61.6, 83.5, reference="paper"),
    top=top, smallest=56, weights=None,
    levels={2: "conv1", 4: "norm1", 8: "conv2", 16: "conv5", 32: "pool5"},
)  # fmt: skip
