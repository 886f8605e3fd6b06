"""Metrics of right and wrong yes-no answers at thresholds; the confusion matrix."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from fastconv.errors import ArgumentError, DataError, ShapeError
from fastconv.metrics.base import Metric, like, plain, ratio


def weights_for(name: str, shape: tuple[int, ...], sample_weight: Any) -> np.ndarray:
    """One weight a value, from one a sample or one a value."""
    if sample_weight is None:
        return np.ones(shape)
    weights = np.asarray(sample_weight, np.float64)
    if weights.ndim == len(shape) + 1 and weights.shape[-1] == 1:
        weights = weights[..., 0]
    axes = weights.shape + (1,) * (len(shape) - weights.ndim)
    try:
        return np.broadcast_to(weights.reshape(axes), shape)
    except ValueError:
        raise ShapeError(
            f"metric {name!r}: expected a sample_weight for predictions of shape "
            f"{shape}, received shape {weights.shape}"
        ) from None


def counts_above(
    scores: np.ndarray, weights: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """For each threshold, the weight of all scores above it."""
    order = np.argsort(thresholds, kind="stable")
    below = np.searchsorted(thresholds[order], scores, side="left")
    below[np.isnan(scores)] = 0
    bins = np.bincount(below, weights, minlength=len(thresholds) + 1)
    found = np.empty(len(thresholds))
    found[order] = np.cumsum(bins[::-1])[::-1][1:]
    return found


def outcomes(
    y_true: np.ndarray, y_pred: np.ndarray, weights: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
    """True positives, false positives, true negatives, false negatives: (4, T)."""
    truth = y_true.astype(bool).ravel()
    scores, weights = y_pred.ravel().astype(np.float64), weights.ravel()
    tp = counts_above(scores[truth], weights[truth], thresholds)
    fp = counts_above(scores[~truth], weights[~truth], thresholds)
    return np.stack([tp, fp, weights[~truth].sum() - fp, weights[truth].sum() - tp])


class Counted(Metric):
    """Counts the four outcomes at thresholds; a prediction above one is a yes."""

    def __init__(
        self,
        thresholds: Any = None,
        top_k: int | None = None,
        class_id: int | None = None,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        self.thresholds = thresholds
        self.top_k = top_k
        self.class_id = class_id
        default = 0.5 if top_k is None else -np.inf
        given = default if thresholds is None else thresholds
        self._limits = np.atleast_1d(np.asarray(given, np.float64))
        super().__init__(name, dtype)
        limits = self._limits[np.isfinite(self._limits)]
        if not self._limits.size or ((limits < 0) | (limits > 1)).any():
            raise ArgumentError(
                f"metric {self.name!r}: expected thresholds in [0, 1], received "
                f"{thresholds!r}"
            )

    def reset_state(self) -> None:
        """Back to nothing."""
        self.counts = np.zeros((4, len(self._limits)))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in one batch of arrays; weights (N,) or of the predictions' shape."""
        p = np.asarray(y_pred, np.float64)
        y = like(np.asarray(y_true), p)
        w = weights_for(self.name, p.shape, sample_weight)
        if self.top_k is not None:
            best = np.argsort(-p, axis=-1, kind="stable")[..., : self.top_k]
            kept = np.full(p.shape, -np.inf)
            np.put_along_axis(kept, best, np.take_along_axis(p, best, -1), -1)
            p = kept
        if self.class_id is not None:
            if p.ndim < 2 or not 0 <= self.class_id < p.shape[-1]:
                raise ShapeError(
                    f"metric {self.name!r}: expected predictions (N, C) with class "
                    f"{self.class_id}, received shape {p.shape}"
                )
            y, p, w = (a[..., self.class_id] for a in (y, p, w))
        self.counts += outcomes(y, p, w, self._limits)

    def _shown(self, values: np.ndarray) -> Any:
        return plain(values[0] if len(self._limits) == 1 else values)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        limits = None if self.thresholds is None else self._limits.tolist()
        own = {"thresholds": limits, "top_k": self.top_k, "class_id": self.class_id}
        return {**super().get_config(), **own}


class Precision(Counted):
    """The share of yes answers that are right, ``tp / (tp + fp)``; 0 of none.

    Parameters
    ----------
    thresholds: a number in [0, 1] or several (then the result is an array): above it
        a prediction is a yes. Default 0.5, with ``top_k`` none.
    top_k: only the k largest predictions of a sample may be yes; default all.
    class_id: only this column counts; default all.

    Shapes: predictions (N,) or (N, ..., C), targets the same, 0 or 1.

    Raises
    ------
    ArgumentError for a threshold out of range; ShapeError for arrays that do not fit.

    >>> import fastconv as fc
    >>> fc.metrics.Precision()([0, 1, 1, 1], [1, 0, 1, 1])
    0.6666...
    """

    def result(self) -> Any:
        """The precision, or one a threshold."""
        tp, fp, _, _ = self.counts
        return self._shown(ratio(tp, tp + fp))


class Recall(Counted):
    """The share of true cases that were found, ``tp / (tp + fn)``; 0 of none.

    Parameters, shapes and errors as for `Precision`.

    >>> import fastconv as fc
    >>> fc.metrics.Recall()([0, 1, 1, 1], [1, 0, 1, 1])
    0.6666...
    """

    def result(self) -> Any:
        """The recall, or one a threshold."""
        tp, _, _, fn = self.counts
        return self._shown(ratio(tp, tp + fn))


class _Count(Counted):
    row: ClassVar[int]

    def __init__(
        self, thresholds: Any = None, name: str | None = None, dtype: Any = None
    ) -> None:
        super().__init__(thresholds, name=name, dtype=dtype)

    def result(self) -> Any:
        """The weight of such cases, or one a threshold."""
        return self._shown(self.counts[self.row])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        return {k: v for k, v in config.items() if k not in ("top_k", "class_id")}


class TruePositives(_Count):
    """How many targets of 1 are predicted above the threshold (default 0.5).

    >>> import fastconv as fc
    >>> fc.metrics.TruePositives()([0, 1, 1, 1], [1, 0, 1, 1])
    2.0
    """

    row = 0


class FalsePositives(_Count):
    """How many targets of 0 are predicted above the threshold (default 0.5).

    >>> import fastconv as fc
    >>> fc.metrics.FalsePositives()([0, 1, 0, 0], [0, 0, 1, 1])
    2.0
    """

    row = 1


class TrueNegatives(_Count):
    """How many targets of 0 are not predicted above the threshold (default 0.5).

    >>> import fastconv as fc
    >>> fc.metrics.TrueNegatives()([0, 1, 0, 0], [1, 1, 0, 0])
    2.0
    """

    row = 2


class FalseNegatives(_Count):
    """How many targets of 1 are not predicted above the threshold (default 0.5).

    >>> import fastconv as fc
    >>> fc.metrics.FalseNegatives()([0, 1, 1, 1], [0, 1, 0, 0])
    2.0
    """

    row = 3


class ConfusionMatrix(Metric):
    """How often class i (row) was taken for class j (column): an array (C, C).

    It is no part of Keras. Logs of training leave it out, as it is no number.

    Parameters
    ----------
    num_classes: C.

    Shapes: targets class numbers (N, ...) or (N, ..., 1), or one-hot as the
    predictions; predictions scores (N, ..., C).

    Raises
    ------
    DataError for a class number that is not in [0, C).

    >>> import fastconv as fc
    >>> fc.metrics.ConfusionMatrix(2)([0, 1, 1], [[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])
    array([[1., 0.],
           [1., 1.]])
    """

    def __init__(
        self, num_classes: int, name: str | None = None, dtype: Any = None
    ) -> None:
        self.num_classes = int(num_classes)
        super().__init__(name, dtype)

    def reset_state(self) -> None:
        """Back to nothing."""
        self.matrix = np.zeros((self.num_classes, self.num_classes))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in one batch of arrays; weights one a sample or one a label."""
        p, y = np.asarray(y_pred), np.asarray(y_true)
        if p.ndim < 2 or p.shape[-1] != self.num_classes:
            raise ShapeError(
                f"metric {self.name!r}: expected predictions (N, ..., "
                f"{self.num_classes}), received shape {p.shape}"
            )
        found = p.argmax(-1)
        labels = y.argmax(-1) if y.shape == p.shape else like(y, found)
        wrong = (labels < 0) | (labels >= self.num_classes)
        if wrong.any():
            raise DataError(
                f"metric {self.name!r}: expected classes in [0, {self.num_classes}), "
                f"received {labels[wrong][0]}"
            )
        weights = weights_for(self.name, found.shape, sample_weight)
        self.matrix += cells(labels, found, weights, self.num_classes)

    def result(self) -> np.ndarray:
        """The matrix so far."""
        return self.matrix.copy()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "num_classes": self.num_classes}


def cells(
    labels: np.ndarray, found: np.ndarray, weights: np.ndarray, classes: int
) -> np.ndarray:
    """The weights summed by pair of classes, shape (classes, classes)."""
    places = labels.astype(np.int64).ravel() * classes + found.astype(np.int64).ravel()
    sums = np.bincount(places, weights.ravel(), classes * classes)
    return sums.reshape(classes, classes)
