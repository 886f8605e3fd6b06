"""Metrics of numbers that are more than the mean of a loss."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from fastconv import losses
from fastconv.errors import ArgumentError, ShapeError
from fastconv.metrics.base import Averaged, Metric, like, plain
from fastconv.metrics.wrapped import Wrapped

AGGREGATIONS = (None, "uniform_average", "variance_weighted_average")


class RootMeanSquaredError(Averaged):
    """``sqrt(sum w (y_true - y_pred)^2 / sum w)`` over all batches.

    Shapes: predictions (N, ...), targets the same.

    >>> import fastconv as fc
    >>> fc.metrics.RootMeanSquaredError()([0.0, 0.0], [3.0, 3.0])
    3.0
    """

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in one batch of arrays."""
        y_pred = np.asarray(y_pred, np.float64)
        self._add(np.square(like(np.asarray(y_true), y_pred) - y_pred), sample_weight)

    def result(self) -> float:
        """The root of the mean; 0 when there was nothing."""
        return math.sqrt(super().result())


class CosineSimilarity(Wrapped):
    """The mean of ``sum y p / (|y| |p|)``: 1 for vectors of one direction.

    Parameters
    ----------
    axis: of the vectors; default the last. The loss of this name has the other sign.

    >>> import fastconv as fc
    >>> fc.metrics.CosineSimilarity()([[0.0, 1.0]], [[0.0, 3.0]])
    1.0
    """

    formula = losses.cosine_similarity
    sign = -1.0

    def __init__(
        self, name: str | None = None, dtype: Any = None, axis: int = -1
    ) -> None:
        super().__init__(name, dtype, axis=axis)


class R2Score(Metric):
    """The coefficient of determination ``1 - sum (y - p)^2 / sum (y - mean(y))^2``.

    Parameters
    ----------
    class_aggregation: of the scores of the columns: their mean ("uniform_average", the
        default), "variance_weighted_average", or None for all of them.
    num_regressors: p of the adjusted score ``1 - (1 - R2)(n - 1)/(n - p - 1)``, with
        n the number of values, as in Keras; default 0, not adjusted.

    Shapes: predictions and targets (N, C).

    Raises
    ------
    ArgumentError for another aggregation or a negative number; ShapeError for other
    shapes.

    >>> import fastconv as fc
    >>> fc.metrics.R2Score()([[1.0], [4.0], [3.0]], [[2.0], [4.0], [4.0]])
    0.571...
    """

    def __init__(
        self,
        class_aggregation: str | None = "uniform_average",
        num_regressors: int = 0,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(name, dtype)
        if class_aggregation not in AGGREGATIONS or num_regressors < 0:
            raise ArgumentError(
                f"metric {self.name!r}: expected class_aggregation of {AGGREGATIONS} "
                f"and num_regressors >= 0, received {class_aggregation!r} and "
                f"{num_regressors!r}"
            )
        self.class_aggregation = class_aggregation
        self.num_regressors = num_regressors

    def reset_state(self) -> None:
        """Back to nothing."""
        self._sums: Any = np.zeros((4, 1))  # of w, w y, w y^2, w (y - p)^2
        self._values = 0

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in one batch of arrays (N, C), with weights (N,) or (N, C)."""
        p = np.asarray(y_pred, np.float64)
        y = np.asarray(y_true, np.float64)
        if p.ndim != 2 or y.shape not in (p.shape, p.shape[:1]):
            raise ShapeError(
                f"metric {self.name!r}: expected targets and predictions (N, C), "
                f"received {y.shape} and {p.shape}"
            )
        y = like(y, p)
        w = np.asarray(1.0 if sample_weight is None else sample_weight, np.float64)
        w = np.broadcast_to(w[:, None] if w.ndim == 1 else w, p.shape)
        self._sums = self._sums + np.stack([w, w * y, w * y * y, w * (y - p) ** 2]).sum(
            1
        )
        self._values += y.size

    def result(self) -> Any:
        """The score; 0 when there was nothing."""
        count, first, second, error = self._sums
        if not self._values:
            return 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            total = second - first * (first / count)
            scores = 1 - error / total
        scores = np.where(np.isinf(scores), 0.0, scores)
        if self.class_aggregation == "uniform_average":
            scores = scores.mean()
        elif self.class_aggregation is not None:
            scores = (total * scores).sum() / total.sum()
        return plain(self._adjusted(scores))

    def _adjusted(self, score: Any) -> Any:
        n, p = self._values, self.num_regressors
        if not p:
            return score
        if p >= n - 1:
            warnings.warn(
                f"R2Score: {p} regressors for {n} values; the score is not adjusted",
                stacklevel=3,
            )
            return score
        return 1 - (1 - score) * (n - 1) / (n - p - 1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"class_aggregation": self.class_aggregation}
        return {**super().get_config(), **own, "num_regressors": self.num_regressors}
