"""Metrics that are means of losses, computed with NumPy in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

import fastconv.reference  # noqa: F401  (it registers the device)
from fastconv import losses
from fastconv.execution.function import Function
from fastconv.metrics.base import MeanOf


class Wrapped(MeanOf):
    """The mean of a loss; ``sign`` is -1 where Keras's metric turns the loss."""

    formula: ClassVar[Callable[..., Any]]
    title: ClassVar[str | None] = None
    sign: ClassVar[float] = 1.0

    def __init__(
        self, name: str | None = None, dtype: Any = None, **options: Any
    ) -> None:
        super().__init__(name or self.title, dtype)
        self.options = options
        vars(self).update(options)
        self._run = Function(self._loss, "reference")

    def _loss(self, y_true: Any, y_pred: Any) -> Any:
        return type(self).formula(y_true, y_pred, **self.options)

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """The losses, one a sample."""
        wide = [a if a.dtype.kind in "iu" else a.astype(np.float64)
                for a in (y_true, y_pred)]  # fmt: skip
        return self._run(*wide) * self.sign

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


class MeanSquaredError(Wrapped):
    """The mean of ``(y_true - y_pred)^2``; other name "mse".

    Shapes: predictions (N, ..., C), targets the same. Formula of
    `fastconv.losses.mean_squared_error`.

    >>> import fastconv as fc
    >>> fc.metrics.MeanSquaredError()([[0.0, 1.0]], [[0.0, 3.0]])
    2.0
    """

    formula = losses.mean_squared_error


class MeanAbsoluteError(Wrapped):
    """The mean of ``|y_true - y_pred|``; other name "mae".

    Shapes: predictions (N, ..., C), targets the same. Formula of
    `fastconv.losses.mean_absolute_error`.

    >>> import fastconv as fc
    >>> fc.metrics.MeanAbsoluteError()([[0.0, 1.0]], [[0.0, 3.0]])
    1.0
    """

    formula = losses.mean_absolute_error


class MeanAbsolutePercentageError(Wrapped):
    """The mean of ``100 |y_true - y_pred| / max(|y_true|, 1e-7)``; or "mape".

    Shapes: predictions (N, ..., C), targets the same. Formula of
    `fastconv.losses.mean_absolute_percentage_error`.

    >>> import fastconv as fc
    >>> fc.metrics.MeanAbsolutePercentageError()([[2.0, 1.0]], [[1.0, 1.0]])
    25.0
    """

    formula = losses.mean_absolute_percentage_error


class MeanSquaredLogarithmicError(Wrapped):
    """The mean of ``(log(1 + y_true) - log(1 + y_pred))^2``; other name "msle".

    Shapes: predictions (N, ..., C), targets the same. Formula of
    `fastconv.losses.mean_squared_logarithmic_error`.

    >>> import fastconv as fc
    >>> fc.metrics.MeanSquaredLogarithmicError()([[0.0]], [[1.0]])
    0.4804...
    """

    formula = losses.mean_squared_logarithmic_error


class LogCoshError(Wrapped):
    """The mean of ``log(cosh(y_pred - y_true))``; its name is "logcosh".

    Shapes: predictions (N, ..., C), targets the same. Formula of
    `fastconv.losses.log_cosh`.

    >>> import fastconv as fc
    >>> fc.metrics.LogCoshError()([[0.0]], [[1.0]])
    0.4337...
    """

    formula = losses.log_cosh
    title = "logcosh"


class Hinge(Wrapped):
    """The mean of ``max(1 - y_true y_pred, 0)``; targets -1 or 1, or 0 or 1.

    Shapes: predictions (N, ..., C), targets the same. Formula of
    `fastconv.losses.hinge`.

    >>> import fastconv as fc
    >>> fc.metrics.Hinge()([[1.0, -1.0]], [[0.5, -2.0]])
    0.25
    """

    formula = losses.hinge


class SquaredHinge(Wrapped):
    """The mean of ``max(1 - y_true y_pred, 0)^2``; targets as for `Hinge`.

    Shapes: predictions (N, ..., C), targets the same. Formula of
    `fastconv.losses.squared_hinge`.

    >>> import fastconv as fc
    >>> fc.metrics.SquaredHinge()([[1.0, -1.0]], [[0.5, -2.0]])
    0.125
    """

    formula = losses.squared_hinge


class CategoricalHinge(Wrapped):
    """The mean of ``max(max_c((1 - y_c) p_c) - sum_c(y_c p_c) + 1, 0)``.

    Shapes: predictions (N, ..., C), targets the same. Formula of
    `fastconv.losses.categorical_hinge`.

    >>> import fastconv as fc
    >>> fc.metrics.CategoricalHinge()([[0.0, 1.0]], [[0.25, 0.5]])
    0.75
    """

    formula = losses.categorical_hinge


class KLDivergence(Wrapped):
    """The mean of ``sum_c y_c log(y_c / p_c)``, both within [1e-7, 1].

    Shapes: predictions (N, ..., C), targets the same. Formula of
    `fastconv.losses.kl_divergence`.

    >>> import fastconv as fc
    >>> fc.metrics.KLDivergence()([[0.0, 1.0]], [[0.5, 0.5]])
    0.6931...
    """

    formula = losses.kl_divergence


class Poisson(Wrapped):
    """The mean of ``y_pred - y_true log(y_pred + 1e-7)``.

    Shapes: predictions (N, ..., C), targets the same. Formula of
    `fastconv.losses.poisson`.

    >>> import fastconv as fc
    >>> fc.metrics.Poisson()([[2.0]], [[1.0]])
    0.9999...
    """

    formula = losses.poisson


class BinaryCrossentropy(Wrapped):
    """The mean of ``-(y log p + (1 - y) log(1 - p))``.

    Parameters are those of the loss,
    `fastconv.losses.BinaryCrossentropy`.

    >>> import fastconv as fc
    >>> fc.metrics.BinaryCrossentropy()([[0.0, 1.0]], [[0.5, 0.5]])
    0.6931...
    """

    formula = losses.binary_crossentropy

    def __init__(
        self,
        name: str | None = None,
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(
            name, dtype, from_logits=from_logits, label_smoothing=label_smoothing
        )


class CategoricalCrossentropy(Wrapped):
    """The mean of ``-sum_c y_c log p_c``.

    Parameters are those of the loss,
    `fastconv.losses.CategoricalCrossentropy`.

    >>> import fastconv as fc
    >>> fc.metrics.CategoricalCrossentropy()([[0.0, 1.0]], [[0.5, 0.5]])
    0.6931...
    """

    formula = losses.categorical_crossentropy

    def __init__(
        self,
        name: str | None = None,
        dtype: Any = None,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
    ) -> None:
        super().__init__(
            name,
            dtype,
            from_logits=from_logits,
            label_smoothing=label_smoothing,
            axis=axis,
        )


class SparseCategoricalCrossentropy(Wrapped):
    """The mean of ``-log p[label]``; labels of ``ignore_class`` do not count.

    Parameters are those of the loss,
    `fastconv.losses.SparseCategoricalCrossentropy`.

    >>> import fastconv as fc
    >>> fc.metrics.SparseCategoricalCrossentropy()([1], [[0.5, 0.5]])
    0.6931...
    """

    formula = losses.sparse_categorical_crossentropy

    def __init__(
        self,
        name: str | None = None,
        dtype: Any = None,
        from_logits: bool = False,
        ignore_class: int | None = None,
        axis: int = -1,
    ) -> None:
        super().__init__(
            name, dtype, from_logits=from_logits, ignore_class=ignore_class, axis=axis
        )

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in one batch of arrays."""
        values = self.values(np.asarray(y_true), np.asarray(y_pred))
        ignored = self.options["ignore_class"]
        if ignored is not None:
            counts = (np.asarray(y_true) != ignored).reshape(values.shape)
            given = np.ones(()) if sample_weight is None else np.asarray(sample_weight)
            if given.ndim == values.ndim + 1:
                given = given[..., 0]
            axes = given.shape + (1,) * (values.ndim - given.ndim)
            sample_weight = counts * given.reshape(axes)
        self._add(values, sample_weight)
