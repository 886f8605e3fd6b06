"""Dropout layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import ops
from fastconv.errors import ArgumentError
from fastconv.graph.trace import constant
from fastconv.layers import check, context
from fastconv.layers.base import Layer
from fastconv.layers.compat import renamed
from fastconv.layers.spatial import Spatial

__all__ = ["Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"]


class Dropout(Layer):
    """In training, zeroes elements at random and scales up the others; else identity.

    Formula: ``y = x keep / (1 - rate)``, ``keep`` being 1 with probability ``1 -
    rate``. Srivastava et al., "Dropout", JMLR 15 (2014), section 4.

    The same seed drops the same elements, on every device.

    Parameters
    ----------
    rate: fraction to drop, in [0, 1); Keras's 1, which drops all, is refused.
    noise_shape: shape of ``keep``, with 1 along axes where all elements share their
        fate and None for the input's own size; default the input's shape.
    seed: of this layer; default None, that is the model's.

    Raises
    ------
    ArgumentError for a rate outside [0, 1), or a noise_shape of another rank.

    >>> import fastconv as fc
    >>> fc.layers.Dropout(0.5)([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """

    @renamed(p="rate")
    def __init__(
        self,
        rate: float,
        noise_shape: Any = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.rate = check.number(self, "rate", rate, 0, 1)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self.seed = None if seed is None else check.integer(self, "seed", seed, 0)

    def call(self, x: Any, training: bool = False) -> Any:
        """The input, in training with elements dropped."""
        if not training or self.rate == 0:
            return x
        state, stream = context.draw()
        if self.seed is not None:
            own = constant(np.array([self.seed], np.int64))
            state = ops.concatenate([own, state[1:]], axis=0)
        shape = self.mask_shape(x.shape)
        if shape == x.shape:
            return ops.dropout(x, self.rate, state, stream)
        return x * ops.dropout(ops.ones(shape, x.dtype), self.rate, state, stream)

    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of what is drawn for an input of this shape."""
        given = (None,) * len(shape) if self.noise_shape is None else self.noise_shape
        if len(given) != len(shape):
            raise ArgumentError(
                f"{check.who(self)}: expected a noise_shape of {len(shape)} sizes for "
                f"an input of shape {shape}, received {self.noise_shape}"
            )
        return tuple(s if n is None else n for n, s in zip(given, shape, strict=True))


class _SpatialDropout(Spatial, Dropout):
    """Drops whole maps; described in `SpatialDropout2D`."""

    @renamed(p="rate", dim_ordering="data_format")
    def __init__(
        self,
        rate: float,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, rate=rate, seed=seed, **kwargs)

    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """One number a channel."""
        ones = (1,) * self.axes
        if self.data_format == "channels_first":
            return (*shape[:2], *ones)
        return (shape[0], *ones, shape[-1])


class SpatialDropout1D(_SpatialDropout, axes=1):
    """Drops whole channels of sequences; parameters in `SpatialDropout2D`.

    >>> import fastconv as fc
    >>> fc.layers.SpatialDropout1D(0.5)([[[1.0], [2.0]]]).shape
    (1, 2, 1)
    """


class SpatialDropout2D(_SpatialDropout, axes=2):
    """Drops whole maps of images, whose neighbours would tell what was dropped.

    Tompson et al., "Efficient object localization using convolutional networks", CVPR
    2015, section 3.2. Input and output (N, H, W, C).

    Parameters
    ----------
    rate, seed: as for `Dropout`.
    data_format: "channels_last" or "channels_first"; None: `image_data_format()`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> drop = fc.layers.SpatialDropout2D(0.5)
    >>> y = drop(np.ones((1, 2, 2, 99), np.float32), training=True)
    >>> bool((y == y[:, :1, :1]).all())
    True
    """


class SpatialDropout3D(_SpatialDropout, axes=3):
    """Drops whole channels of volumes; parameters in `SpatialDropout2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.SpatialDropout3D(0.5)(np.zeros((1, 2, 2, 2, 1))).shape
    (1, 2, 2, 2, 1)
    """
