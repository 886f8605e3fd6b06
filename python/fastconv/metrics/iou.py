"""Intersection over union of predicted and true regions."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, ShapeError
from fastconv.metrics.base import EPSILON, Metric
from fastconv.metrics.confusion import cells, weights_for


class IoU(Metric):
    """The mean over classes of ``tp / (tp + fp + fn)``.

    Parameters
    ----------
    num_classes: C.
    target_class_ids: the classes whose mean is taken; those that never occur, neither
        as target nor as prediction, are left out.
    ignore_class: targets of this class do not count; default None.
    sparse_y_true, sparse_y_pred: whether targets and predictions are class numbers
        (default), else scores whose largest along ``axis`` is the class.
    axis: of the classes; default the last.

    Shapes: any, the same for both once the classes are found. Pairs with a class that
    is not in [0, C) do not count. Weights may be fractions. Everingham et al., "The
    PASCAL visual object classes challenge", IJCV 88, 2010, section 4.

    Raises
    ------
    ArgumentError for a target class that is not there; ShapeError for arrays that do
    not fit.

    >>> import fastconv as fc
    >>> round(fc.metrics.IoU(2, target_class_ids=[0])([0, 0, 1, 1], [0, 1, 0, 1]), 4)
    0.3333
    """

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Any,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        self.num_classes = int(num_classes)
        self.target_class_ids = [int(i) for i in target_class_ids]
        self.ignore_class = ignore_class
        self.sparse_y_true = bool(sparse_y_true)
        self.sparse_y_pred = bool(sparse_y_pred)
        self.axis = axis
        super().__init__(name, dtype)
        ids = self.target_class_ids
        if not ids or min(ids) < 0 or max(ids) >= self.num_classes:
            raise ArgumentError(
                f"metric {self.name!r}: expected target_class_ids in [0, "
                f"{num_classes}), received {ids}"
            )

    def reset_state(self) -> None:
        """Back to nothing."""
        self.matrix = np.zeros((self.num_classes, self.num_classes))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in one batch of arrays; weights one a sample or one a label."""
        y, p = np.asarray(y_true), np.asarray(y_pred)
        y = y if self.sparse_y_true else y.argmax(self.axis)
        p = p if self.sparse_y_pred else p.argmax(self.axis)
        if y.size != p.size:
            raise ShapeError(
                f"metric {self.name!r}: expected as many targets as predictions, "
                f"received shapes {y.shape} and {p.shape}"
            )
        weights = weights_for(self.name, p.shape, sample_weight).ravel()
        y, p = (a.astype(np.int64).ravel() for a in (y, p))
        kept = (y >= 0) & (y < self.num_classes) & (p >= 0) & (p < self.num_classes)
        if self.ignore_class is not None:
            kept &= y != self.ignore_class
        self.matrix += cells(y[kept], p[kept], weights[kept], self.num_classes)

    def result(self) -> float:
        """The mean over the target classes; 0 when there was nothing."""
        true = np.diag(self.matrix)
        union = self.matrix.sum(0) + self.matrix.sum(1) - true
        true, union = true[self.target_class_ids], union[self.target_class_ids]
        there = union > 1e-9
        shares = np.where(there, true / (union + EPSILON), 0.0)
        return float(shares.sum() / (there.sum() + EPSILON))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            **{key: getattr(self, key) for key in self._own},
        }

    _own: tuple[str, ...] = (
        "num_classes", "target_class_ids", "ignore_class", "sparse_y_true",
        "sparse_y_pred", "axis",
    )  # fmt: skip


class BinaryIoU(IoU):
    """The mean of `IoU` of the classes 0 and 1, with a threshold for class 1.

    Parameters
    ----------
    target_class_ids: default both, (0, 1).
    threshold: predictions from it on are class 1; default 0.5.

    >>> import fastconv as fc
    >>> round(fc.metrics.BinaryIoU()([0, 1, 0, 1], [0.1, 0.2, 0.4, 0.7]), 4)
    0.5833
    """

    _own = ("target_class_ids", "threshold")

    def __init__(
        self,
        target_class_ids: Any = (0, 1),
        threshold: float = 0.5,
        name: str | None = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(2, target_class_ids, name, dtype)
        self.threshold = threshold

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in one batch of arrays."""
        super().update_state(
            y_true, np.asarray(y_pred) >= self.threshold, sample_weight
        )


class MeanIoU(IoU):
    """The mean of `IoU` of all classes that occur; arguments as there.

    >>> import fastconv as fc
    >>> round(fc.metrics.MeanIoU(num_classes=2)([0, 0, 1, 1], [0, 1, 0, 1]), 4)
    0.3333
    """

    _own: tuple[str, ...] = (
        "num_classes", "ignore_class", "sparse_y_true", "sparse_y_pred", "axis",
    )  # fmt: skip

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_true: bool = True,
        sparse_y_pred: bool = True,
        axis: int = -1,
    ) -> None:
        ids = range(num_classes)
        given = (ignore_class, sparse_y_true, sparse_y_pred, axis)
        super().__init__(num_classes, ids, name, dtype, *given)


class OneHotIoU(IoU):
    """`IoU` of one-hot targets, and of scores or (``sparse_y_pred``) class numbers.

    >>> import fastconv as fc
    >>> metric = fc.metrics.OneHotIoU(num_classes=2, target_class_ids=[0])
    >>> round(metric([[1, 0], [0, 1]], [[0.7, 0.3], [0.6, 0.4]]), 4)
    0.5
    """

    _own = ("num_classes", "target_class_ids", "ignore_class", "sparse_y_pred", "axis")

    def __init__(
        self,
        num_classes: int,
        target_class_ids: Any,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        given = (ignore_class, False, sparse_y_pred, axis)
        super().__init__(num_classes, target_class_ids, name, dtype, *given)


class OneHotMeanIoU(MeanIoU):
    """`MeanIoU` of one-hot targets, and of scores or class numbers.

    >>> import fastconv as fc
    >>> metric = fc.metrics.OneHotMeanIoU(num_classes=2)
    >>> round(metric([[1, 0], [0, 1]], [[0.7, 0.3], [0.6, 0.4]]), 4)
    0.25
    """

    _own = ("num_classes", "ignore_class", "sparse_y_pred", "axis")

    def __init__(
        self,
        num_classes: int,
        name: str | None = None,
        dtype: Any = None,
        ignore_class: int | None = None,
        sparse_y_pred: bool = False,
        axis: int = -1,
    ) -> None:
        given = (ignore_class, False, sparse_y_pred, axis)
        super().__init__(num_classes, name, dtype, *given)
