"""Activations with parameters, as layers."""

from __future__ import annotations

from typing import Any

from fastconv import ops
from fastconv.layers import check
from fastconv.layers.base import Layer
from fastconv.layers.compat import renamed

__all__ = ["ELU", "LeakyReLU", "ReLU", "Softmax"]


class ReLU(Layer):
    """Rectified linear unit: ``min(max(x, 0), max_value)``, and a slope below 0.

    Formula: ``max_value`` where x >= max_value, ``x`` where threshold <= x,
    ``negative_slope (x - threshold)`` below. Nair, Hinton, ICML 2010.

    Parameters
    ----------
    max_value: >= 0, or None (default) for no limit.
    negative_slope: >= 0; default 0.
    threshold: >= 0; default 0.

    Raises
    ------
    ArgumentError for a negative parameter.

    >>> import fastconv as fc
    >>> fc.layers.ReLU(max_value=6.0)([-1.0, 2.0, 8.0])
    array([0., 2., 6.], dtype=float32)
    """

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if max_value is not None:
            max_value = check.number(self, "max_value", max_value, 0)
        self.max_value = max_value
        self.negative_slope = check.number(self, "negative_slope", negative_slope, 0)
        self.threshold = check.number(self, "threshold", threshold, 0)

    def call(self, x: Any) -> Any:
        """The function of the input."""
        if self.threshold:
            above = ops.cast(ops.greater_equal(x, self.threshold), x.dtype)
            below = ops.minimum(x - self.threshold, 0.0) * self.negative_slope
            y = x * above + below
        elif self.negative_slope:
            y = ops.leaky_relu(x, self.negative_slope)
        else:
            y = ops.relu6(x) if self.max_value == 6 else ops.relu(x)
        return y if self.max_value in (None, 6) else ops.minimum(y, self.max_value)


class LeakyReLU(Layer):
    """``x`` where x >= 0, else ``negative_slope x``; Maas, Hannun, Ng, ICML 2013.

    negative_slope: >= 0; default 0.3.

    >>> import fastconv as fc
    >>> fc.layers.LeakyReLU(0.5)([-1.0, 2.0])
    array([-0.5,  2. ], dtype=float32)
    """

    @renamed(alpha="negative_slope")
    def __init__(self, negative_slope: float = 0.3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.negative_slope = check.number(self, "negative_slope", negative_slope, 0)

    def call(self, x: Any) -> Any:
        """The function of the input."""
        return ops.leaky_relu(x, self.negative_slope)


class ELU(Layer):
    """``x`` where x >= 0, else ``alpha (e^x - 1)``; Clevert et al., arXiv:1511.07289.

    alpha: >= 0; default 1.

    >>> import fastconv as fc
    >>> fc.layers.ELU()([0.0, 2.0])
    array([0., 2.], dtype=float32)
    """

    def __init__(self, alpha: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.alpha = check.number(self, "alpha", alpha, 0)

    def call(self, x: Any) -> Any:
        """The function of the input."""
        return ops.elu(x, self.alpha)


class Softmax(Layer):
    """``e^x / sum(e^x)`` along an axis.

    axis: default the last.

    >>> import fastconv as fc
    >>> fc.layers.Softmax()([[1.0, 1.0]])
    array([[0.5, 0.5]], dtype=float32)
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, x: Any) -> Any:
        """The function of the input."""
        return ops.softmax(x, self.axis)
