"""The area under the ROC or precision-recall curve."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, ShapeError
from fastconv.metrics.base import EPSILON, Metric, like, plain, ratio
from fastconv.metrics.confusion import outcomes, weights_for

CURVES = ("ROC", "PR")
METHODS = ("interpolation", "minoring", "majoring")


class AUC(Metric):
    """The area under a curve of points at thresholds, as Keras approximates it.

    ROC: recall over the false positive rate. PR: precision over recall, interpolated
    between thresholds as Davis and Goadrich do ("The relationship between
    precision-recall and ROC curves", ICML 2006, section 4).

    Parameters
    ----------
    num_thresholds: evenly over [0, 1]; default 200.
    curve: "ROC" (default) or "PR".
    summation_method: "interpolation" (default; trapezia), "minoring", "majoring".
    thresholds: those between 0 and 1, instead of even ones.
    multi_label: whether each column has a curve, whose mean is the result; default
        all values are of one curve.
    num_labels: the number of columns, with ``multi_label``; default that of the data.
    label_weights: of the columns: in the mean, or else of the values.
    from_logits: whether predictions are scores before the sigmoid; default False.

    Shapes: predictions (N,) or (N, ..., C), targets the same, 0 or 1.

    Raises
    ------
    ArgumentError for unknown names or fewer than 2 thresholds; ShapeError for arrays
    that do not fit.

    >>> import fastconv as fc
    >>> round(fc.metrics.AUC(num_thresholds=3)([0, 0, 1, 1], [0, 0.5, 0.3, 0.9]), 4)
    0.75
    """

    def __init__(
        self,
        num_thresholds: int = 200,
        curve: str = "ROC",
        summation_method: str = "interpolation",
        name: str | None = None,
        dtype: Any = None,
        thresholds: Any = None,
        multi_label: bool = False,
        num_labels: int | None = None,
        label_weights: Any = None,
        from_logits: bool = False,
    ) -> None:
        inner = None if thresholds is None else sorted(float(t) for t in thresholds)
        self.num_thresholds = num_thresholds if inner is None else len(inner) + 2
        self.curve = str(curve).upper()
        self.summation_method = str(summation_method).lower()
        self.thresholds = inner
        self.multi_label = bool(multi_label)
        self.num_labels = num_labels
        self.label_weights = label_weights
        self.from_logits = bool(from_logits)
        self._check(name)
        if inner is None:
            inner = [
                i / (self.num_thresholds - 1) for i in range(1, self.num_thresholds - 1)
            ]
        self._limits = np.array([-EPSILON, *inner, 1.0 + EPSILON])
        super().__init__(name, dtype)

    def _check(self, name: str | None) -> None:
        fits = self.curve in CURVES and self.summation_method in METHODS
        if not fits or self.num_thresholds < 2:
            raise ArgumentError(
                f"metric {name or 'auc'!r}: expected a curve of {CURVES}, a "
                f"summation_method of {METHODS} and num_thresholds > 1; received "
                f"{self.curve!r}, {self.summation_method!r}, {self.num_thresholds!r}"
            )
        if self.num_labels and not self.multi_label:
            raise ArgumentError(
                f"metric {name or 'auc'!r}: num_labels needs multi_label=True"
            )

    def reset_state(self) -> None:
        """Back to nothing."""
        self.counts: Any = np.zeros((4, len(self._limits), 1))

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in one batch of arrays; weights (N,) or of the predictions' shape."""
        p = np.asarray(y_pred, np.float64)
        y = like(np.asarray(y_true), p)
        if self.multi_label and (
            p.ndim != 2 or p.shape[1] != (self.num_labels or p.shape[1])
        ):
            raise ShapeError(
                f"metric {self.name!r}: expected predictions (N, "
                f"{self.num_labels or 'labels'}), received shape {p.shape}"
            )
        if self.from_logits:
            p = 0.5 * (1.0 + np.tanh(0.5 * p))
        w = weights_for(self.name, p.shape, sample_weight)
        if self.multi_label:
            each = zip(y.T, p.T, w.T, strict=True)
            columns = [outcomes(*column, self._limits) for column in each]
            self.counts = self.counts + np.stack(columns, axis=-1)
            return
        if self.label_weights is not None:
            w = w * np.asarray(self.label_weights, np.float64)
        self.counts += outcomes(y, p, w, self._limits)[..., None]

    def result(self) -> float:
        """The area; 0 when there was nothing."""
        if self.curve == "PR" and self.summation_method == "interpolation":
            areas = self._interpolated()
        else:
            tp, fp, tn, fn = self.counts
            recall = ratio(tp, tp + fn)
            roc = self.curve == "ROC"
            x = ratio(fp, fp + tn) if roc else recall
            y = recall if roc else ratio(tp, tp + fp)
            heights = {
                "interpolation": (y[:-1] + y[1:]) / 2,
                "minoring": np.minimum(y[:-1], y[1:]),
                "majoring": np.maximum(y[:-1], y[1:]),
            }[self.summation_method]
            areas = ((x[:-1] - x[1:]) * heights).sum(0)
        if self.multi_label and self.label_weights is not None:
            weights = np.asarray(self.label_weights, np.float64)
            return plain(ratio((areas * weights).sum(), weights.sum()))
        return float(areas.mean())

    def _interpolated(self) -> np.ndarray:
        """The area under precision that is tp / (tp + fp) with tp linear in tp + fp."""
        tp, fp, _, fn = self.counts
        yes = tp + fp
        found = tp[:-1] - tp[1:]
        slope = ratio(found, np.maximum(yes[:-1] - yes[1:], 0))
        intercept = tp[1:] - slope * yes[1:]
        both = (yes[:-1] > 0) & (yes[1:] > 0)
        grown = np.where(both, ratio(yes[:-1], yes[1:]), 1.0)
        area = slope * (found + intercept * np.log(np.where(both, grown, 1.0)))
        return ratio(area, tp[1:] + fn[1:]).sum(0)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        weights = self.label_weights
        return {
            **super().get_config(),
            "num_thresholds": self.num_thresholds,
            "curve": self.curve,
            "summation_method": self.summation_method,
            "thresholds": self.thresholds,
            "multi_label": self.multi_label,
            "num_labels": self.num_labels,
            "label_weights": None if weights is None else np.asarray(weights).tolist(),
            "from_logits": self.from_logits,
        }
