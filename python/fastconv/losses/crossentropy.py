"""Cross-entropies: binary, categorical, from class numbers."""

from __future__ import annotations

from typing import Any

from fastconv import ops
from fastconv.errors import ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Tensor
from fastconv.graph.trace import as_tensor
from fastconv.losses.base import EPSILON, Known, agreeing


@op
def categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """``-sum_c y_true_c log(y_pred_c)``, shape (...); see `CategoricalCrossentropy`.

    >>> import fastconv as fc
    >>> fc.losses.categorical_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
    array([0.6931472], dtype=float32)
    """
    y, p = agreeing("categorical_crossentropy", y_true, y_pred)
    y, p = (classes_last(t, axis) for t in (y, p))
    kernel = ops.softmax_cross_entropy if from_logits else ops.cross_entropy
    return kernel(p, smoothed(y, label_smoothing, p.shape[-1]))


@op
def sparse_categorical_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    ignore_class: int | None = None,
    axis: int = -1,
    label_smoothing: float = 0.0,
) -> Tensor:
    """``-log(y_pred[y_true])``, shape (...); see `SparseCategoricalCrossentropy`.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> fc.losses.sparse_categorical_crossentropy(np.array([1]), [[0.5, 0.5]])
    array([0.6931472], dtype=float32)
    """
    labels, y_pred = as_tensor(y_true), as_tensor(y_pred)
    if labels.ndim == y_pred.ndim and labels.ndim and labels.shape[axis] == 1:
        labels = ops.squeeze(labels, axis)
    y_pred = classes_last(y_pred, axis)
    lead = y_pred.shape[:-1]
    if y_pred.ndim < 1 or labels.shape != lead:
        hint = ""
        if labels.shape == y_pred.shape:
            hint = "; one-hot targets need loss='categorical_crossentropy'"
        raise ShapeError(
            "sparse_categorical_crossentropy: expected class numbers of shape "
            f"{lead} for predictions of shape {y_pred.shape}, received shape "
            f"{labels.shape}{hint}"
        )
    labels = ops.cast(labels, "int64")
    kernel = ops.softmax_cross_entropy if from_logits else ops.cross_entropy
    if ignore_class is None:
        return _of_numbers(kernel, y_pred, labels, label_smoothing)
    counts = ops.cast(counted(labels, ignore_class), y_pred.dtype)
    # Ignored predictions become 1s, so that NaN in them reaches no gradient.
    y_pred = ops.where(ops.expand_dims(counts, -1), y_pred, 1.0)
    labels = labels * ops.cast(counts, "int64")
    values = _of_numbers(kernel, y_pred, labels, label_smoothing)
    return ops.where(counts, values, 0.0)


def _of_numbers(kernel: Any, p: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """The cross-entropy is linear in its targets: smoothing mixes in uniform ones."""
    values = kernel(p, labels)
    if not smoothing:
        return values
    uniform = ops.full(p.shape, 1.0 / p.shape[-1], p.dtype)
    return values * (1.0 - smoothing) + kernel(p, uniform) * smoothing


@op
def binary_crossentropy(
    y_true: Any,
    y_pred: Any,
    from_logits: bool = False,
    label_smoothing: float = 0.0,
    axis: int = -1,
) -> Tensor:
    """``-mean_c(y log p + (1 - y) log(1 - p))``, shape (...); see `BinaryCrossentropy`.

    >>> import fastconv as fc
    >>> fc.losses.binary_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
    array([0.6931472], dtype=float32)
    """
    y, p = agreeing("binary_crossentropy", y_true, y_pred)
    y = smoothed(y, label_smoothing, 2)
    values = ops.softplus(p) - p * y if from_logits else binary_terms(y, p)
    return ops.mean(values, axis=axis)


def binary_terms(y: Tensor, p: Tensor) -> Tensor:
    """``-(y log p + (1 - y) log(1 - p))``, p within [1e-7, 1 - 1e-7]."""
    p = ops.clip(p, EPSILON, 1.0 - EPSILON)
    return -(y * ops.log(p) + (1.0 - y) * ops.log(1.0 - p))


def smoothed(y: Tensor, smoothing: float, classes: int) -> Tensor:
    """``y (1 - s) + s / classes``."""
    return y * (1.0 - smoothing) + smoothing / classes if smoothing else y


def classes_last(x: Tensor, axis: int) -> Tensor:
    """The axis of the classes moved to the end."""
    return x if axis in (-1, x.ndim - 1) else ops.moveaxis(x, axis, -1)


def counted(labels: Tensor, ignore_class: int) -> Tensor:
    """1 where the label is not the ignored one."""
    return 1 - ops.equal(labels, int(ignore_class))


class SparseCategoricalCrossentropy(Known):
    """Cross-entropy between class numbers and probabilities: ``-log p[label]``.

    Parameters
    ----------
    from_logits: whether predictions are scores before softmax; default False.
    ignore_class: samples (or pixels) with this label cost 0 and do not count in the
        mean; default None.
    axis: of the classes in the predictions; default the last.
    label_smoothing: s in [0, 1], as for `CategoricalCrossentropy`; default 0.

    Shapes: predictions (N, ..., C); targets (N, ...) or (N, ..., 1), integers in [0,
    C). A target out of range is a DataError of the step that met it; weights are
    unchanged.

    >>> import fastconv as fc
    >>> float(fc.losses.SparseCategoricalCrossentropy()([1], [[0.5, 0.5]]))
    0.693...
    """

    sparse = True
    formula = sparse_categorical_crossentropy

    def __init__(
        self,
        from_logits: bool = False,
        ignore_class: int | None = None,
        reduction: str | None = "sum_over_batch_size",
        axis: int = -1,
        name: str | None = "sparse_categorical_crossentropy",
        dtype: Any = None,
        label_smoothing: float = 0.0,
    ) -> None:
        given = {"ignore_class": ignore_class, "label_smoothing": label_smoothing}
        logits = bool(from_logits)
        super().__init__(
            reduction, name, dtype, from_logits=logits, axis=axis, **given
        )

    def _mask(self, y_true: Any, values: Tensor) -> Tensor | None:
        ignored = self.options["ignore_class"]
        if ignored is None:
            return None
        labels = ops.reshape(ops.cast(y_true, "int64"), values.shape)
        return ops.cast(counted(labels, ignored), values.dtype)


class CategoricalCrossentropy(Known):
    """Cross-entropy between distributions: ``-sum_c y_c log p_c``.

    Parameters
    ----------
    from_logits: whether predictions are scores before softmax; default False.
    label_smoothing: s in [0, 1]: targets become ``y (1 - s) + s / C`` (Szegedy et al.,
        "Rethinking the Inception architecture", CVPR 2016, section 7); default 0.
    axis: of the classes; default the last.

    Shapes: predictions (N, ..., C), targets (one-hot or any distribution) the same.
    Predictions that are all 0 are no distribution and give NaN, as in Keras.

    >>> import fastconv as fc
    >>> float(fc.losses.CategoricalCrossentropy()([[0.0, 1.0]], [[0.5, 0.5]]))
    0.693...
    """

    formula = categorical_crossentropy

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "categorical_crossentropy",
        dtype: Any = None,
    ) -> None:
        given = {"from_logits": bool(from_logits), "label_smoothing": label_smoothing}
        super().__init__(reduction, name, dtype, **given, axis=axis)


class BinaryCrossentropy(Known):
    """Cross-entropy of yes-no targets: ``-mean(y log p + (1 - y) log(1 - p))``.

    From logits x it is ``mean(log(1 + exp(x)) - x y)``, finite for any x.

    Parameters
    ----------
    from_logits: whether predictions are scores before the sigmoid; default False.
    label_smoothing: s in [0, 1]: targets become ``y (1 - s) + s / 2``; default 0.
    axis: the one whose mean is taken; default the last.

    Shapes: predictions (N, ..., C), targets the same, or (N, ...) where C is 1.

    >>> import fastconv as fc
    >>> float(fc.losses.BinaryCrossentropy()([[0.0, 1.0]], [[0.5, 0.5]]))
    0.693...
    """

    formula = binary_crossentropy

    def __init__(
        self,
        from_logits: bool = False,
        label_smoothing: float = 0.0,
        axis: int = -1,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "binary_crossentropy",
        dtype: Any = None,
    ) -> None:
        given = {"from_logits": bool(from_logits), "label_smoothing": label_smoothing}
        super().__init__(reduction, name, dtype, **given, axis=axis)
