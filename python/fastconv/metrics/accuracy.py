"""Accuracies: the share of predictions that are right."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.errors import ArgumentError
from fastconv.metrics.base import MeanOf, Metric, like


class Accuracy(MeanOf):
    """The share of predictions that are equal to their targets, shapes alike.

    >>> import fastconv as fc
    >>> fc.metrics.Accuracy()([1, 2], [1, 3])
    0.5
    """

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 where equal."""
        return like(y_true, y_pred) == y_pred


class BinaryAccuracy(MeanOf):
    """The share of predictions on the right side of ``threshold`` (default 0.5).

    >>> import fastconv as fc
    >>> fc.metrics.BinaryAccuracy()([1, 0], [0.7, 0.6])
    0.5
    """

    def __init__(
        self,
        name: str | None = "binary_accuracy",
        dtype: Any = None,
        threshold: float = 0.5,
    ) -> None:
        super().__init__(name, dtype)
        self.threshold = threshold

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 where the sides agree."""
        return like(y_true, y_pred) == (y_pred > self.threshold)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "threshold": self.threshold}


class CategoricalAccuracy(MeanOf):
    """The share of samples whose largest prediction is the largest target.

    Shapes: targets (one-hot) and predictions (N, ..., C).

    >>> import fastconv as fc
    >>> fc.metrics.CategoricalAccuracy()([[0, 1], [1, 0]], [[0.1, 0.9], [0.2, 0.8]])
    0.5
    """

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 where the maxima agree."""
        return y_true.argmax(-1) == y_pred.argmax(-1)


class SparseCategoricalAccuracy(MeanOf):
    """The share of samples whose largest prediction is at the target's class number.

    Shapes: targets (N, ...) or (N, ..., 1), predictions (N, ..., C).

    >>> import fastconv as fc
    >>> fc.metrics.SparseCategoricalAccuracy()([1, 0], [[0.1, 0.9], [0.2, 0.8]])
    0.5
    """

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 where the class is right."""
        found = y_pred.argmax(-1)
        return y_true.reshape(found.shape) == found


class _TopK(MeanOf):
    def __init__(self, k: int = 5, name: str | None = None, dtype: Any = None) -> None:
        super().__init__(name, dtype)
        if k < 1:
            raise ArgumentError(
                f"metric {self.name!r}: expected k >= 1, received {k!r}"
            )
        self.k = int(k)

    def _found(self, labels: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """Whether fewer than k classes score higher than the label's."""
        labels = labels.reshape(y_pred.shape[:-1]).astype(np.int64)
        own = np.take_along_axis(y_pred, labels[..., None], -1)
        return (y_pred > own).sum(-1) < self.k

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "k": self.k}


class TopKCategoricalAccuracy(_TopK):
    """The share of samples whose class is among the ``k`` (default 5) best predictions.

    Shapes: targets (one-hot) and predictions (N, ..., C).

    >>> import fastconv as fc
    >>> fc.metrics.TopKCategoricalAccuracy(k=2)([[0, 0, 1]], [[0.1, 0.5, 0.4]])
    1.0
    """

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 where the class is among them."""
        return self._found(y_true.argmax(-1), y_pred)


class SparseTopKCategoricalAccuracy(_TopK):
    """As `TopKCategoricalAccuracy`, for class numbers (N, ...) or (N, ..., 1).

    Parameters
    ----------
    k: default 5.
    from_sorted_ids: whether predictions are class numbers, best first; default False.

    >>> import fastconv as fc
    >>> fc.metrics.SparseTopKCategoricalAccuracy(k=1)([2], [[0.1, 0.5, 0.4]])
    0.0
    """

    def __init__(
        self,
        k: int = 5,
        name: str | None = None,
        dtype: Any = None,
        from_sorted_ids: bool = False,
    ) -> None:
        super().__init__(k, name, dtype)
        self.from_sorted_ids = bool(from_sorted_ids)

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 where the class is among them."""
        if not self.from_sorted_ids:
            return self._found(y_true, y_pred)
        labels = y_true.reshape(*y_pred.shape[:-1], 1)
        return (labels == y_pred[..., : self.k]).any(-1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = super().get_config()
        return {**config, "from_sorted_ids": True} if self.from_sorted_ids else config


def accuracy_for(y_true: np.ndarray, y_pred: np.ndarray, name: str) -> Metric:
    """The accuracy that "accuracy" means for such targets and predictions, as in Keras.

    One prediction a sample: `BinaryAccuracy`; targets that are class numbers:
    `SparseCategoricalAccuracy`; else `CategoricalAccuracy`.

    >>> import numpy as np
    >>> accuracy_for(np.zeros(2), np.zeros((2, 3)), "accuracy")
    <SparseCategoricalAccuracy 'accuracy'>
    """
    if y_pred.ndim < 2 or y_pred.shape[-1] == 1:
        return BinaryAccuracy(name)
    if y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1:
        return SparseCategoricalAccuracy(name)
    return CategoricalAccuracy(name)


def binary_accuracy(y_true: Any, y_pred: Any, threshold: float = 0.5) -> np.ndarray:
    """1 where a prediction is on its target's side of the threshold, in its shape.

    >>> import fastconv as fc
    >>> fc.metrics.binary_accuracy([1, 0], [0.7, 0.6])
    array([1., 0.])
    """
    return _values(BinaryAccuracy(threshold=threshold), y_true, y_pred)


def categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1 where the largest prediction is the largest target; shape (...).

    >>> import fastconv as fc
    >>> fc.metrics.categorical_accuracy([[0, 1]], [[0.1, 0.9]])
    array([1.])
    """
    return _values(CategoricalAccuracy(), y_true, y_pred)


def sparse_categorical_accuracy(y_true: Any, y_pred: Any) -> np.ndarray:
    """1 where the largest prediction is at the class number; shape (...).

    >>> import fastconv as fc
    >>> fc.metrics.sparse_categorical_accuracy([1], [[0.1, 0.9]])
    array([1.])
    """
    return _values(SparseCategoricalAccuracy(), y_true, y_pred)


def top_k_categorical_accuracy(y_true: Any, y_pred: Any, k: int = 5) -> np.ndarray:
    """1 where the class is among the k best predictions; shape (...).

    >>> import fastconv as fc
    >>> fc.metrics.top_k_categorical_accuracy([[0, 0, 1]], [[0.1, 0.5, 0.4]], k=2)
    array([1.])
    """
    return _values(TopKCategoricalAccuracy(k), y_true, y_pred)


def sparse_top_k_categorical_accuracy(
    y_true: Any, y_pred: Any, k: int = 5, from_sorted_ids: bool = False
) -> np.ndarray:
    """As `top_k_categorical_accuracy`, for class numbers.

    >>> import fastconv as fc
    >>> fc.metrics.sparse_top_k_categorical_accuracy([2], [[0.1, 0.5, 0.4]], k=1)
    array([0.])
    """
    metric = SparseTopKCategoricalAccuracy(k, from_sorted_ids=from_sorted_ids)
    return _values(metric, y_true, y_pred)


def _values(metric: MeanOf, y_true: Any, y_pred: Any) -> np.ndarray:
    values = metric.values(np.asarray(y_true), np.asarray(y_pred))
    return values.astype(np.float64)
