"""Layers that act in training alone: dropout, dropped branches, penalties."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import ops, regularizers
from fastconv.errors import ArgumentError
from fastconv.graph.trace import constant
from fastconv.layers import check, context
from fastconv.layers.base import Layer
from fastconv.layers.compat import renamed
from fastconv.layers.spatial import Spatial

__all__ = [
    "ActivityRegularization", "Dropout", "SpatialDropout1D", "SpatialDropout2D",
    "SpatialDropout3D", "StochasticDepth",
]  # fmt: skip


class Random(Layer):
    """Draws random numbers in training, from the model's seed or one of its own."""

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = None if seed is None else check.integer(self, "seed", seed, 0)

    def draw(self) -> tuple[Any, int]:
        """Seed and step as a tensor, and the number of the stream."""
        state, stream = context.draw()
        if self.seed is not None:
            own = constant(np.array([self.seed], np.int64))
            state = ops.concatenate([own, state[1:]], axis=0)
        return state, stream


class Dropout(Random):
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
        super().__init__(seed, **kwargs)
        self.rate = check.number(self, "rate", rate, 0, 1)
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)

    def call(self, x: Any, training: bool = False) -> Any:
        """The input, in training with elements dropped."""
        if not training or self.rate == 0:
            return x
        state, stream = self.draw()
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


class StochasticDepth(Dropout):
    """In training, drops the whole input of some samples; scales up that of the others.

    For the branch of a residual block: ``x + StochasticDepth(rate)(branch(x))``. With a
    list [shortcut, branch] it gives their sum. The branch of a sample counts with
    probability ``1 - rate``, and then ``1 / (1 - rate)`` times, where the paper scales
    it down in inference instead. Huang, Sun, Liu, Sedra, Weinberger, "Deep networks
    with stochastic depth", ECCV 2016, section 3.

    Parameters
    ----------
    rate: fraction of samples whose branch is dropped, in [0, 1); default 0.5.
    seed: as for `Dropout`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> drop = fc.layers.StochasticDepth(0.5)
    >>> y = drop(np.ones((9, 2, 2, 3), np.float32), training=True)
    >>> bool((y == y[:, :1, :1, :1]).all())
    True
    """

    def __init__(self, rate: float = 0.5, seed: int | None = None, **kwargs: Any):
        super().__init__(rate, seed=seed, **kwargs)

    def call(self, x: Any, training: bool = False) -> Any:
        """The branch, or the sum of shortcut and branch."""
        if isinstance(x, list | tuple):
            if len(x) != 2:
                raise ArgumentError(
                    f"{check.who(self)}: expected a tensor or [shortcut, branch], "
                    f"received {len(x)} tensors"
                )
            return ops.add(x[0], super().call(x[1], training))
        return super().call(x, training)

    def mask_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """One number a sample."""
        return (*shape[:1], *(1 for _ in shape[1:]))


class ActivityRegularization(Layer):
    """The input itself, with a penalty on it: ``(l1 sum |x| + l2 sum x^2) / batch``.

    l1, l2: numbers >= 0; default 0.

    >>> import fastconv as fc
    >>> fc.layers.ActivityRegularization(l1=0.1)([[1.0, -2.0]])
    array([[ 1., -2.]], dtype=float32)
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, **kwargs: Any) -> None:
        kwargs.pop("activity_regularizer", None)  # as saved; it follows from l1 and l2
        super().__init__(**kwargs)
        self.activity_regularizer = regularizers.L1L2(l1, l2)
        self.l1, self.l2 = float(l1), float(l2)

    def call(self, x: Any) -> Any:
        """The input."""
        return x
