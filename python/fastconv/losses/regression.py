"""Losses of numbers: squared, absolute, relative and logarithmic errors, cosine."""

from __future__ import annotations

import math
from typing import Any

from fastconv import ops
from fastconv.errors import ArgumentError
from fastconv.execution.eager import op
from fastconv.graph.ir import Tensor
from fastconv.losses.base import EPSILON, Known, agreeing


@op
def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """The quadratic loss ``1/C sum_c (y_true_c - y_pred_c)^2``, shape (...).

    y_true, y_pred: shape (..., C); y_true without the last axis where C is 1.

    >>> import fastconv as fc
    >>> fc.losses.mean_squared_error([[0.0, 1.0]], [[0.0, 3.0]])
    array([2.], dtype=float32)
    """
    y_true, y_pred = agreeing("mean_squared_error", y_true, y_pred)
    return ops.mean_squared_error(y_true, y_pred)


@op
def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """``1/C sum_c |y_true_c - y_pred_c|``, shape (...).

    y_true, y_pred: shape (..., C); y_true without the last axis where C is 1.

    >>> import fastconv as fc
    >>> fc.losses.mean_absolute_error([[0.0, 1.0]], [[0.0, 3.0]])
    array([1.], dtype=float32)
    """
    y_true, y_pred = agreeing("mean_absolute_error", y_true, y_pred)
    return ops.mean(ops.abs(y_pred - y_true), axis=-1)


@op
def mean_absolute_percentage_error(y_true: Any, y_pred: Any) -> Tensor:
    """``100/C sum_c |y_true_c - y_pred_c| / max(|y_true_c|, 1e-7)``, shape (...).

    >>> import fastconv as fc
    >>> fc.losses.mean_absolute_percentage_error([[2.0, 1.0]], [[1.0, 1.0]])
    array([25.], dtype=float32)
    """
    y, p = agreeing("mean_absolute_percentage_error", y_true, y_pred)
    errors = ops.abs((y - p) / ops.maximum(ops.abs(y), EPSILON))
    return ops.mean(errors, axis=-1) * 100.0


@op
def mean_squared_logarithmic_error(y_true: Any, y_pred: Any) -> Tensor:
    """``1/C sum_c (log(1 + y_true_c) - log(1 + y_pred_c))^2``, shape (...).

    Values below 1e-7 count as 1e-7.

    >>> import fastconv as fc
    >>> fc.losses.mean_squared_logarithmic_error([[0.0]], [[1.0]])
    array([0.48045...], dtype=float32)
    """
    y, p = agreeing("mean_squared_logarithmic_error", y_true, y_pred)
    logs = [ops.log(ops.maximum(t, EPSILON) + 1.0) for t in (p, y)]
    return ops.mean(ops.square(logs[0] - logs[1]), axis=-1)


@op
def huber(y_true: Any, y_pred: Any, delta: float = 1.0) -> Tensor:
    """The mean of ``e^2 / 2`` where ``|e| <= delta``, else ``delta |e| - delta^2 / 2``.

    >>> import fastconv as fc
    >>> fc.losses.huber([[0.0, 0.0]], [[1.0, 3.0]])
    array([1.5], dtype=float32)
    """
    y, p = agreeing("huber", y_true, y_pred)
    error = p - y
    size = ops.abs(error)
    near = ops.square(error) * 0.5
    far = size * delta - 0.5 * delta**2
    return ops.mean(ops.where(ops.less_equal(size, delta), near, far), axis=-1)


@op
def log_cosh(y_true: Any, y_pred: Any) -> Tensor:
    """The mean of ``log(cosh(e))``, computed as ``e + softplus(-2 e) - log 2``.

    >>> import fastconv as fc
    >>> fc.losses.log_cosh([[0.0]], [[1.0]])
    array([0.43378...], dtype=float32)
    """
    y, p = agreeing("log_cosh", y_true, y_pred)
    error = p - y
    values = error + ops.softplus(error * -2.0) - math.log(2.0)
    return ops.mean(values, axis=-1)


@op
def cosine_similarity(y_true: Any, y_pred: Any, axis: int = -1) -> Tensor:
    """``-sum_c y_c p_c / (|y| |p|)`` along an axis: -1 alike, 1 opposed, 0 of zeros.

    >>> import fastconv as fc
    >>> fc.losses.cosine_similarity([[0.0, 1.0]], [[0.0, 3.0]])
    array([-1.], dtype=float32)
    """
    y, p = (unit(t, axis) for t in agreeing("cosine_similarity", y_true, y_pred))
    return -ops.sum(y * p, axis=axis)


def unit(x: Tensor, axis: int) -> Tensor:
    """``x / max(|x|, 1e-7)`` along an axis, with a gradient of 0s of 0s."""
    squares = ops.sum(ops.square(x), axis=axis, keepdims=True)
    return x * ops.rsqrt(ops.maximum(squares, EPSILON**2))


class MeanSquaredError(Known):
    """The quadratic loss: the mean of ``(y_true - y_pred)^2``.

    Shapes: predictions (N, ..., C), targets the same. Other names: "mse", "quadratic".

    Parameters
    ----------
    reduction, name, dtype: as for `Loss`; all losses take them.

    Raises
    ------
    ShapeError, when called, for targets or weights that do not fit; so do all losses.

    >>> import fastconv as fc
    >>> float(fc.losses.MeanSquaredError()([[0.0, 1.0]], [[0.0, 3.0]]))
    2.0
    """

    formula = mean_squared_error


class MeanAbsoluteError(Known):
    """The mean of ``|y_true - y_pred|``.

    Shapes: predictions (N, ..., C), targets the same. Other name: "mae".

    >>> import fastconv as fc
    >>> float(fc.losses.MeanAbsoluteError()([[0.0, 1.0]], [[0.0, 3.0]]))
    1.0
    """

    formula = mean_absolute_error


class MeanAbsolutePercentageError(Known):
    """The mean of ``100 |y_true - y_pred| / max(|y_true|, 1e-7)``.

    Shapes: predictions (N, ..., C), targets the same. Other name: "mape".

    >>> import fastconv as fc
    >>> float(fc.losses.MeanAbsolutePercentageError()([[2.0, 1.0]], [[1.0, 1.0]]))
    25.0
    """

    formula = mean_absolute_percentage_error


class MeanSquaredLogarithmicError(Known):
    """The mean of ``(log(1 + y_true) - log(1 + y_pred))^2``, both at least 1e-7.

    Shapes: predictions (N, ..., C), targets the same. Other name: "msle".

    >>> import fastconv as fc
    >>> float(fc.losses.MeanSquaredLogarithmicError()([[0.0]], [[1.0]]))
    0.4804...
    """

    formula = mean_squared_logarithmic_error


class Huber(Known):
    """Squares of small errors, sizes of large ones, which pull less than squared.

    ``e^2 / 2`` where ``|e| <= delta``, else ``delta |e| - delta^2 / 2``; their mean.

    Parameters
    ----------
    delta: where the parabola becomes a line, > 0; default 1.

    Shapes: predictions (N, ..., C), targets the same. Huber, "Robust estimation of a
    location parameter", Annals of Mathematical Statistics 35, 1964, section 3.

    Raises
    ------
    ArgumentError for a delta that is not positive.

    >>> import fastconv as fc
    >>> float(fc.losses.Huber()([[0.0, 0.0]], [[1.0, 3.0]]))
    1.5
    """

    formula = huber

    def __init__(
        self,
        delta: float = 1.0,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "huber_loss",
        dtype: Any = None,
    ) -> None:
        if not delta > 0:
            raise ArgumentError(f"Huber: expected delta > 0, received {delta!r}")
        super().__init__(reduction, name, dtype, delta=delta)


class LogCosh(Known):
    """The mean of ``log(cosh(y_pred - y_true))``: about ``e^2 / 2``, then ``|e|``.

    Shapes: predictions (N, ..., C), targets the same.

    >>> import fastconv as fc
    >>> float(fc.losses.LogCosh()([[0.0]], [[1.0]]))
    0.4337...
    """

    formula = log_cosh


class CosineSimilarity(Known):
    """``-sum y p / (|y| |p|)``: -1 for vectors of one direction, 0 if one is 0.

    Parameters
    ----------
    axis: of the vectors; default the last.

    Shapes: predictions (N, ..., C), targets the same.

    >>> import fastconv as fc
    >>> float(fc.losses.CosineSimilarity()([[0.0, 1.0]], [[0.0, 3.0]]))
    -1.0
    """

    formula = cosine_similarity

    def __init__(
        self,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "cosine_similarity",
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype, axis=axis)
