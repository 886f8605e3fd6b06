"""Layers that make maps larger."""

from __future__ import annotations

from typing import Any

from fastconv import ops
from fastconv.layers import check
from fastconv.layers.compat import renamed
from fastconv.layers.spatial import Spatial
from fastconv.ops.resize import INTERPOLATIONS

__all__ = ["UpSampling1D", "UpSampling2D", "UpSampling3D"]


class _UpSampling(Spatial):
    """Repeats elements; described in `UpSampling2D`."""

    interpolation = "nearest"

    @renamed(length="size", dim_ordering="data_format")
    def __init__(
        self, size: Any = 2, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.size = check.integers(self, "size", size, self.axes)

    def call(self, x: Any) -> Any:
        """The input, larger."""
        x = self.to_last(x)
        sizes = [n * s for n, s in zip(x.shape[1:-1], self.size, strict=True)]
        return self.from_last(ops.resize(x, sizes, self.interpolation))


class UpSampling1D(_UpSampling, axes=1):
    """Repeats each element of a sequence ``size`` times; default 2.

    >>> import fastconv as fc
    >>> fc.layers.UpSampling1D(3)([[[1.0], [2.0]]])[0, :, 0]
    array([1., 1., 1., 2., 2., 2.], dtype=float32)
    """


class UpSampling2D(_UpSampling, axes=2):
    """Makes images larger by whole factors: (N, H, W, C) becomes (N, H s, W t, C).

    Formula: ``y[n, i, j, c] = x[n, floor(i / s), floor(j / t), c]`` for "nearest", else
    `fastconv.ops.resize`.

    Parameters
    ----------
    size: factor, one for all or (rows, columns); default 2.
    data_format: "channels_last" or "channels_first"; None: `image_data_format()`.
    interpolation: "nearest" (default), "bilinear", "bicubic", "area", "lanczos3" or
        "lanczos5".

    Raises
    ------
    ArgumentError for factors below 1; UnknownNameError for another interpolation;
    ShapeError for an input without pixels.

    >>> import fastconv as fc
    >>> fc.layers.UpSampling2D((1, 2), interpolation="bilinear")([[[[0.0], [4.0]]]])
    array([[[[0.],
             [1.],
             [3.],
             [4.]]]], dtype=float32)
    """

    @renamed(dim_ordering="data_format")
    def __init__(
        self,
        size: Any = 2,
        data_format: str | None = None,
        interpolation: str = "nearest",
        **kwargs: Any,
    ) -> None:
        super().__init__(size, data_format, **kwargs)
        self.interpolation = check.choice(
            self, "interpolation", interpolation, INTERPOLATIONS
        )


class UpSampling3D(_UpSampling, axes=3):
    """Repeats the elements of volumes; ``size`` and ``data_format`` as `UpSampling2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.UpSampling3D((1, 2, 3))(np.zeros((1, 4, 4, 4, 2))).shape
    (1, 4, 8, 12, 2)
    """
