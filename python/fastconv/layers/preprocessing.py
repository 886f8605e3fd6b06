"""Layers that prepare inputs, so that a saved model takes raw images."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import ops
from fastconv._core import AugmentKind, AugmentStep
from fastconv.errors import ArgumentError
from fastconv.layers import check
from fastconv.layers.base import Layer

__all__ = ["Rescaling"]


class Rescaling(Layer):
    """Brings inputs into another range: ``inputs * scale + offset``.

    Input of any shape; integers become float32 first. The output has the input's shape.

    Parameters
    ----------
    scale: a number, or numbers that broadcast to the input: one a channel, say.
    offset: as ``scale``; default 0.

    Raises
    ------
    ArgumentError for a scale or an offset that is not made of finite numbers.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> pixels = np.array([0, 64, 192], np.uint8)
    >>> fc.layers.Rescaling(1 / 128, offset=-1)(pixels)
    array([-1. , -0.5,  0.5], dtype=float32)
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = self._numbers("scale", scale)
        self.offset = self._numbers("offset", offset)

    def call(self, x: Any) -> Any:
        """The input, scaled and moved."""
        return ops.cast(x, self.dtype) * self.scale + self.offset

    def augment_steps(self, training: bool = True) -> list[AugmentStep]:
        """The step for `fastconv.data.augment`; the same in training and else."""
        step = AugmentStep(AugmentKind.rescale)
        step.scale = np.ravel(self.scale).tolist()
        step.offset = np.ravel(self.offset).tolist()
        return [step]

    def _numbers(self, what: str, value: Any) -> Any:
        """A number as it is, several as an array."""
        try:
            numbers = np.asarray(value, float)
        except (TypeError, ValueError):
            numbers = np.asarray(np.nan)
        if not np.isfinite(numbers).all():
            raise ArgumentError(
                f"{check.who(self)}: expected {what}, finite numbers, received "
                f"{value!r:.80}"
            )
        return numbers if numbers.ndim else float(numbers)
