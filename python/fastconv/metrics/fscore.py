"""F scores: the harmonic mean of precision and recall."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, ShapeError
from fastconv.metrics.base import EPSILON, Metric, plain

AVERAGES = (None, "micro", "macro", "weighted")


class FBetaScore(Metric):
    """``(1 + b^2) precision recall / (b^2 precision + recall)``, one a class.

    Parameters
    ----------
    average: None (default; an array of one score a class), "micro" (of all counts
        together), "macro" (the mean of the classes), "weighted" (by their targets).
    beta: b > 0: how much more recall counts than precision; default 1.
    threshold: above it, in (0, 1], a prediction is a yes; default None: the largest
        prediction of each sample is.

    Shapes: targets (0 or 1) and predictions (N, C). Keras's 1e-7 stands in each
    denominator.

    Raises
    ------
    ArgumentError for other arguments; ShapeError for other shapes.

    >>> import fastconv as fc
    >>> y, p = [[1, 0], [0, 1], [0, 1]], [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]
    >>> fc.metrics.FBetaScore(beta=2.0)(y, p).round(4)
    array([0.8333, 0.5556])
    """

    def __init__(
        self,
        average: str | None = None,
        beta: float = 1.0,
        threshold: float | None = None,
        name: str | None = "fbeta_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(name, dtype)
        limits = threshold is None or 0.0 < threshold <= 1.0
        if average not in AVERAGES or not beta > 0 or not limits:
            raise ArgumentError(
                f"metric {self.name!r}: expected average of {AVERAGES}, beta > 0 and "
                f"threshold in (0, 1]; received {average!r}, {beta!r}, {threshold!r}"
            )
        self.average = average
        self.beta = float(beta)
        self.threshold = threshold

    def reset_state(self) -> None:
        """Back to nothing."""
        self._sums: Any = np.zeros((4, 1))  # tp, fp, fn, targets, by class

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in one batch of arrays (N, C), with weights (N,)."""
        y, p = np.asarray(y_true, np.float64), np.asarray(y_pred, np.float64)
        if p.ndim != 2 or y.shape != p.shape:
            raise ShapeError(
                f"metric {self.name!r}: expected targets and predictions of one shape "
                f"(N, C), received {y.shape} and {p.shape}"
            )
        if self.threshold is None:
            top = p.max(-1, keepdims=True, initial=-np.inf)
            p = ((p >= top) & (np.abs(p) > 1e-9)).astype(np.float64)
        else:
            p = (p > self.threshold).astype(np.float64)
        w = np.ones((len(y), 1))
        if sample_weight is not None:
            w = np.asarray(sample_weight, np.float64).reshape(len(y), 1)
        terms = np.stack([p * y, p * (1 - y), (1 - p) * y, y])
        found = (terms * w).sum(1)
        micro = self.average == "micro"
        self._sums = self._sums + (found.sum(-1, keepdims=True) if micro else found)

    def result(self) -> Any:
        """The score, or one a class; 0 when there was nothing."""
        tp, fp, fn, targets = self._sums
        precision = tp / (tp + fp + EPSILON)
        recall = tp / (tp + fn + EPSILON)
        square = self.beta**2
        scores = precision * recall / (square * precision + recall + EPSILON)
        scores = scores * (1 + square)
        if self.average == "weighted":
            return float((scores * targets / (targets.sum() + EPSILON)).sum())
        return scores if self.average is None else plain(scores.mean())

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"average": self.average, "beta": self.beta, "threshold": self.threshold}
        return {**super().get_config(), **own}


class F1Score(FBetaScore):
    """``2 precision recall / (precision + recall)``; arguments as for `FBetaScore`.

    >>> import fastconv as fc
    >>> y, p = [[1, 0], [0, 1], [0, 1]], [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]]
    >>> round(fc.metrics.F1Score(average="macro")(y, p), 4)
    0.6667
    """

    def __init__(
        self,
        average: str | None = None,
        threshold: float | None = None,
        name: str | None = "f1_score",
        dtype: Any = None,
    ) -> None:
        super().__init__(average, 1.0, threshold, name, dtype)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {k: v for k, v in super().get_config().items() if k != "beta"}
