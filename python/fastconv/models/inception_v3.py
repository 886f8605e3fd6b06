"""Inception v3: factorised convolutions, in branches that are joined.

Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, "Rethinking the Inception architecture for
computer vision", CVPR 2016, table 1, without the auxiliary head::

    part       grid, of 299x299   maps   what
    stem            35x35          192   5 convolutions, 2 maximum poolings
    mixed0          35x35          256   1x1, 5x5, two 3x3, pooling (figure 5)
    mixed1, 2       35x35          288   the same
    mixed3          17x17          768   stride 2 (figure 10)
    mixed4 - 7      17x17          768   1x7 and 7x1 of 128, 160, 160, 192 maps
                                         (figure 6)
    mixed8           8x8          1280   stride 2
    mixed9, 10       8x8          2048   1x3 beside 3x1 (figure 7)
    top             classes              mean of each map, dense, softmax

As in Keras, whose names these are, each convolution has no bias, batch normalisation
without gamma, and ReLU.

>>> import fastconv as fc
>>> base = fc.applications.InceptionV3(include_top=False, weights=None)
>>> base.output_shape, base.count_params()
((None, None, None, 2048), 21802784)
"""

from __future__ import annotations

from itertools import count
from typing import Any

from fastconv.layers import (
    Activation,
    AveragePooling2D,
    BatchNormalization,
    Concatenate,
    Conv2D,
    MaxPooling2D,
)
from fastconv.models.blocks import predictions
from fastconv.models.network import SYMMETRIC, Facts, Network

__all__ = ["InceptionV3"]

PAPER = "Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, Rethinking Inception, CVPR 2016"


class _Units:
    """Makes units of convolution, normalisation and ReLU; numbered, as in Keras."""

    def __init__(self) -> None:
        self.numbers = count()

    def __call__(
        self, x: Any, maps: int, window: Any, strides: int = 1, padding: str = "same"
    ) -> Any:
        """One unit."""
        i = next(self.numbers)
        at = f"_{i}" if i else ""
        x = Conv2D(maps, window, strides, padding, use_bias=False, name=f"conv2d{at}")(
            x
        )
        x = BatchNormalization(scale=False, name=f"batch_normalization{at}")(x)
        return Activation("relu", name=f"activation{at}")(x)

    def chain(self, x: Any, *units: tuple[int, Any]) -> Any:
        """Units of (maps, window), one after the other."""
        for maps, window in units:
            x = self(x, maps, window)
        return x

    def pooled(self, x: Any, maps: int, block: str) -> Any:
        """The mean of 3x3, and a 1x1 unit."""
        x = AveragePooling2D(3, 1, padding="same", name=f"{block}_pool")(x)
        return self(x, maps, 1)


def inception_v3(x: Any) -> Any:
    """The feature maps."""
    unit = _Units()
    x = unit(x, 32, 3, 2, "valid")
    x = unit(x, 32, 3, 1, "valid")
    x = unit(x, 64, 3)
    x = MaxPooling2D(3, 2, name="stem_pool1")(x)
    x = unit(x, 80, 1)
    x = unit(x, 192, 3, 1, "valid")
    x = MaxPooling2D(3, 2, name="stem_pool2")(x)
    for i, pooled in enumerate((32, 64, 64)):
        x = _mixed_35(x, unit, pooled, f"mixed{i}")
    x = _smaller_17(x, unit, "mixed3")
    for i, maps in enumerate((128, 160, 160, 192)):
        x = _mixed_17(x, unit, maps, f"mixed{4 + i}")
    x = _smaller_8(x, unit, "mixed8")
    for i in range(2):
        x = _mixed_8(x, unit, f"mixed9_{i}", f"mixed{9 + i}")
    return x


def _mixed_35(x: Any, unit: _Units, pooled: int, name: str) -> Any:
    """Figure 5: the 5x5 stays, and a branch has two 3x3 instead of another."""
    one = unit(x, 64, 1)
    five = unit.chain(x, (48, 1), (64, 5))
    double = unit.chain(x, (64, 1), (96, 3), (96, 3))
    return _join([one, five, double, unit.pooled(x, pooled, name)], name)


def _smaller_17(x: Any, unit: _Units, name: str) -> Any:
    """Figure 10: convolutions and pooling of stride 2 side by side."""
    three = unit(x, 384, 3, 2, "valid")
    double = unit.chain(x, (64, 1), (96, 3))
    double = unit(double, 96, 3, 2, "valid")
    return _join([three, double, MaxPooling2D(3, 2, name=f"{name}_pool")(x)], name)


def _mixed_17(x: Any, unit: _Units, maps: int, name: str) -> Any:
    """Figure 6: a 7x7 as 1x7 and 7x1, and twice that."""
    row, column = (1, 7), (7, 1)
    one = unit(x, 192, 1)
    seven = unit.chain(x, (maps, 1), (maps, row), (192, column))
    double = unit.chain(
        x, (maps, 1), (maps, column), (maps, row), (maps, column), (192, row)
    )
    return _join([one, seven, double, unit.pooled(x, 192, name)], name)


def _smaller_8(x: Any, unit: _Units, name: str) -> Any:
    three = unit(unit(x, 192, 1), 320, 3, 2, "valid")
    seven = unit.chain(x, (192, 1), (192, (1, 7)), (192, (7, 1)))
    seven = unit(seven, 192, 3, 2, "valid")
    return _join([three, seven, MaxPooling2D(3, 2, name=f"{name}_pool")(x)], name)


def _mixed_8(x: Any, unit: _Units, inner: str, name: str) -> Any:
    """Figure 7: 1x3 beside 3x1, so that there are more maps on the coarsest grid."""
    row, column = (1, 3), (3, 1)
    one = unit(x, 320, 1)
    three = unit(x, 384, 1)
    three = _join([unit(three, 384, row), unit(three, 384, column)], inner)
    double = unit.chain(x, (448, 1), (384, 3))
    double = _join([unit(double, 384, row), unit(double, 384, column)], f"{name}_inner")
    return _join([one, three, double, unit.pooled(x, 192, name)], name)


def _join(branches: list[Any], name: str) -> Any:
    return Concatenate(name=name)(branches)


InceptionV3 = Network(
    "inception_v3", inception_v3,
    Facts(PAPER, 23817352, 5.713, 77.9, 93.7, reference="keras", scaling=SYMMETRIC),
    top=predictions, image=299, smallest=75,
    levels={
        2: "activation_2", 4: "activation_4", 8: "mixed2", 16: "mixed7", 32: "mixed10",
    },
)  # fmt: skip
