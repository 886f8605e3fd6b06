"""Layers that add zeros around an input, or crop it."""

from __future__ import annotations

from typing import Any, ClassVar

from fastconv import ops
from fastconv.errors import ShapeError
from fastconv.layers import check
from fastconv.layers.compat import renamed
from fastconv.layers.spatial import Spatial
from fastconv.ops import geometry

__all__ = [
    "Cropping1D", "Cropping2D", "Cropping3D", "SamePadding2D", "ZeroPadding1D",
    "ZeroPadding2D", "ZeroPadding3D",
]  # fmt: skip


class _Border(Spatial):
    """Changes the borders of the spatial axes."""

    def widths(self, pairs: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
        """The pairs of all axes, batch and channels too."""
        if self.data_format == "channels_first":
            return [(0, 0), (0, 0), *pairs]
        return [(0, 0), *pairs, (0, 0)]


class _ZeroPadding(_Border):
    """Adds zeros; described in `ZeroPadding2D`."""

    @renamed(dim_ordering="data_format")
    def __init__(
        self, padding: Any = 1, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.padding = check.pairs(self, "padding", padding, self.axes)

    def call(self, x: Any) -> Any:
        """The input with zeros around it."""
        return ops.pad(x, self.widths(self.padding))


class _Cropping(_Border):
    """Takes elements off; described in `Cropping2D`."""

    default: ClassVar[int] = 1  # Keras's, which differs in 2D

    @renamed(dim_ordering="data_format")
    def __init__(
        self, cropping: Any = None, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format, **kwargs)
        cropping = self.default if cropping is None else cropping
        self.cropping = check.pairs(self, "cropping", cropping, self.axes)

    def call(self, x: Any) -> Any:
        """The middle of the input."""
        widths = self.widths(self.cropping)
        if any(a + b >= n for (a, b), n in zip(widths[1:], x.shape[1:], strict=True)):
            raise ShapeError(
                f"{check.who(self)}: expected an input larger than its cropping "
                f"{self.cropping}, received shape {x.shape}"
            )
        return ops.crop(x, widths)


class ZeroPadding1D(_ZeroPadding, axes=1):
    """Zeros before and after sequences; ``padding`` is a number or (before, after).

    >>> import fastconv as fc
    >>> fc.layers.ZeroPadding1D((1, 0))([[[5.0]]])
    array([[[0.],
            [5.]]], dtype=float32)
    """


class ZeroPadding2D(_ZeroPadding, axes=2):
    """Zeros around images: (N, H, W, C) becomes (N, H + top + bottom, W + ..., C).

    Parameters
    ----------
    padding: a number, one an axis, or ((top, bottom), (left, right)); default 1.
    data_format: "channels_last" or "channels_first"; None: `image_data_format()`.

    Raises
    ------
    ArgumentError for other or negative values.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.ZeroPadding2D(((1, 0), (2, 2)))(np.zeros((1, 4, 4, 3))).shape
    (1, 5, 8, 3)
    """


class SamePadding2D(_Border, axes=2):
    """The zeros that ``padding="same"`` would add, as pixels that poolings count.

    So that ``MaxPooling2D(k, s)`` sees zeros at the border and ``AveragePooling2D(k,
    s)`` divides by all k x k, whatever the size of the image is.

    Parameters
    ----------
    kernel_size, strides: of the layer that follows; strides default 1.
    data_format: "channels_last" or "channels_first"; None: `image_data_format()`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.SamePadding2D(3, 2)(np.zeros((1, 7, 8, 3))).shape
    (1, 9, 9, 3)
    """

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.kernel_size = check.integers(self, "kernel_size", kernel_size, self.axes)
        self.strides = check.integers(self, "strides", strides, self.axes)

    def call(self, x: Any) -> Any:
        """The input with zeros around it."""
        first = self.data_format == "channels_first"
        sides = x.shape[2:] if first else x.shape[1:-1]
        found = geometry.window(
            "same_padding", (1, *sides, 1), self.kernel_size, out_channels=1,
            strides=self.strides, padding="same",
        )  # fmt: skip
        pads = zip(found.pad_before[1:], found.pad_after[1:], strict=True)
        return ops.pad(x, self.widths(tuple(pads)))


class ZeroPadding3D(_ZeroPadding, axes=3):
    """Zeros around volumes; parameters in `ZeroPadding2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.ZeroPadding3D()(np.zeros((1, 2, 2, 2, 1))).shape
    (1, 4, 4, 4, 1)
    """


class Cropping1D(_Cropping, axes=1):
    """Sequences without their ends; ``cropping`` is a number or (before, after).

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Cropping1D((1, 0))(np.zeros((1, 4, 2))).shape
    (1, 3, 2)
    """


class Cropping2D(_Cropping, axes=2):
    """Images without their borders: (N, H, W, C) becomes (N, H - top - bottom, ..., C).

    Parameters
    ----------
    cropping: a number, one an axis, or ((top, bottom), (left, right)); default 0.
    data_format: "channels_last" or "channels_first"; None: `image_data_format()`.

    Raises
    ------
    ArgumentError for other or negative values; ShapeError if nothing would be left.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Cropping2D(1)(np.zeros((1, 4, 4, 3))).shape
    (1, 2, 2, 3)
    """

    default = 0


class Cropping3D(_Cropping, axes=3):
    """Volumes without their borders; parameters in `Cropping2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Cropping3D(((0, 1), 1, 1))(np.zeros((1, 4, 4, 4, 1))).shape
    (1, 3, 2, 2, 1)
    """
