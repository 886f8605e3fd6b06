"""Focal cross-entropies: what is already right weighs little."""

from __future__ import annotations

from typing import Any

from fastconv import ops
from fastconv.execution.eager import op
from fastconv.graph.ir import Tensor
from fastconv.graph.trace import as_tensor
from fastconv.losses.base import EPSILON, Known, agreeing
from fastconv.losses.crossentropy import binary_terms, classes_last, smoothed


@op
def binary_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    apply_class_balancing: bool = False,
    alpha: float = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """``mean_c((1 - p_t)^gamma crossentropy_c)``; see `BinaryFocalCrossentropy`.

    >>> import fastconv as fc
    >>> fc.losses.binary_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
    array([0.1732868], dtype=float32)
    """
    y, p = agreeing("binary_focal_crossentropy", y_true, y_pred)
    y = smoothed(y, label_smoothing, 2)
    p = ops.sigmoid(p) if from_logits else p
    right = y * p + (1.0 - y) * (1.0 - p)
    values = ops.power(1.0 - right, gamma) * binary_terms(y, p)
    if apply_class_balancing:
        values = (y * alpha + (1.0 - y) * (1.0 - alpha)) * values
    return ops.mean(values, axis=axis)


@op
def categorical_focal_crossentropy(
    y_true: Any,
    y_pred: Any,
    alpha: Any = 0.25,
    gamma: float = 2.0,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """``-sum_c alpha (1 - p_c)^gamma y_c log p_c``; see `CategoricalFocalCrossentropy`.

    >>> import fastconv as fc
    >>> fc.losses.categorical_focal_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
    array([0.0433217], dtype=float32)
    """
    y, p = agreeing("categorical_focal_crossentropy", y_true, y_pred)
    y, p = (classes_last(t, axis) for t in (y, p))
    y = smoothed(y, label_smoothing, p.shape[-1])
    p = ops.softmax(p) if from_logits else p
    total = ops.sum(p, axis=-1, keepdims=True)
    p = ops.clip(p / (total + ops.equal(total, 0.0)), EPSILON, 1.0 - EPSILON)
    if not isinstance(alpha, int | float):
        alpha = ops.cast(as_tensor(alpha), p.dtype)
    weights = ops.power(1.0 - p, gamma) * alpha
    return -ops.sum(weights * y * ops.log(p), axis=-1)


class BinaryFocalCrossentropy(Known):
    """The mean of ``(1 - p_t)^gamma`` times the binary cross-entropy.

    ``p_t = y p + (1 - y) (1 - p)`` is the probability given to the truth.

    Parameters
    ----------
    apply_class_balancing: whether class 1 weighs alpha, class 0 ``1 - alpha``; default
        False.
    alpha: in [0, 1]; default 0.25.
    gamma: how little the easy ones weigh; 0 is the cross-entropy; default 2.
    from_logits, label_smoothing, axis: as for `BinaryCrossentropy`.

    Shapes: predictions (N, ..., C), targets the same. Lin et al., "Focal loss for dense
    object detection", ICCV 2017, section 3.

    >>> import fastconv as fc
    >>> float(fc.losses.BinaryFocalCrossentropy()([[0.0, 1.0]], [[0.5, 0.5]]))
    0.1732...
    """

    formula = binary_focal_crossentropy

    def __init__(
        self,
        apply_class_balancing: bool = False,
        alpha: float = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        super().__init__(
            reduction,
            name,
            dtype,
            apply_class_balancing=bool(apply_class_balancing),
            alpha=alpha,
            gamma=gamma,
            from_logits=bool(from_logits),
            label_smoothing=label_smoothing,
            axis=axis,
        )


class CategoricalFocalCrossentropy(Known):
    """``-sum_c alpha (1 - p_c)^gamma y_c log p_c``.

    Parameters
    ----------
    alpha: the weight of all classes, or a list of one a class; default 0.25.
    gamma: how little the easy ones weigh; default 2.
    from_logits, label_smoothing, axis: as for `CategoricalCrossentropy`.

    Shapes: predictions (N, ..., C), targets (one-hot) the same. Lin et al., "Focal loss
    for dense object detection", ICCV 2017, section 3.

    >>> import fastconv as fc
    >>> float(fc.losses.CategoricalFocalCrossentropy()([[0.0, 1.0]], [[0.5, 0.5]]))
    0.0433...
    """

    formula = categorical_focal_crossentropy

    def __init__(
        self,
        alpha: Any = 0.25,
        gamma: float = 2.0,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_focal_crossentropy",
        dtype: Any = None,
    ) -> None:
        alpha = alpha if isinstance(alpha, int | float) else [float(a) for a in alpha]
        super().__init__(
            reduction,
            name,
            dtype,
            alpha=alpha,
            gamma=gamma,
            from_logits=bool(from_logits),
            label_smoothing=label_smoothing,
            axis=axis,
        )
