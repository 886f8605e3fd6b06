"""Losses: cross-entropies, and the mean squared error."""

from __future__ import annotations

from math import prod
from typing import Any

from fastconv._core import CrossEntropyAttrs, OpKind
from fastconv.errors import DtypeError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Spec, Tensor, emit, register
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor
from fastconv.operators import OPERATORS


@op
def softmax_cross_entropy(logits: Any, labels: Any) -> Tensor:
    """Cross-entropy between labels and the softmax of logits, one value a row.

    Formula: ``loss = -sum_c y_c log(exp(x_c) / sum_j exp(x_j))``, computed from
    ``x - max(x)``; a class with ``y_c = 0`` adds nothing.

    Parameters
    ----------
    logits: shape (..., C), floating.
    labels: int64 class numbers of shape (...) or (..., 1), or a distribution of the
        shape and dtype of ``logits``. Labels get no gradient.

    Returns
    -------
    Tensor of shape (...).

    Raises
    ------
    ShapeError or DtypeError if the labels do not fit the logits; DataError when it runs
    if a class number is not in [0, C), naming its position.

    Bridle, "Training stochastic model recognition algorithms as networks can lead to
    maximum mutual information estimation of parameters", NIPS 1989, section 3.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> fc.ops.softmax_cross_entropy([[0.0, 0.0]], np.array([1]))
    array([0.6931472], dtype=float32)
    """
    name = "softmax_cross_entropy"
    return _loss(name, OpKind.softmax_cross_entropy, as_tensor(logits), labels)


@op
def cross_entropy(probabilities: Any, labels: Any) -> Tensor:
    """Cross-entropy of labels and probabilities, one value a row, as Keras does it.

    Formula: ``loss = -sum_c y_c log clip(p_c / sum_j p_j, 1e-7, 1 - 1e-7)``.

    Parameters
    ----------
    probabilities: shape (..., C), floating, >= 0.
    labels: as for `softmax_cross_entropy`.

    Returns
    -------
    Tensor of shape (...).

    Raises
    ------
    As `softmax_cross_entropy`. Goodfellow, Bengio, Courville, "Deep learning", 2016,
    section 6.2.2.3.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> fc.ops.cross_entropy([[0.5, 0.5]], np.array([1]))
    array([0.6931472], dtype=float32)
    """
    return _loss(
        "cross_entropy", OpKind.cross_entropy, as_tensor(probabilities), labels
    )


@op
def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """Quadratic loss, one value a row.

    Formula: ``loss = 1/C sum_c (y_true_c - y_pred_c)^2``.

    Parameters
    ----------
    y_true, y_pred: shape (..., C), the same dtype and shape.

    Returns
    -------
    Tensor of shape (...).

    Raises
    ------
    ShapeError if the shapes differ or have no axis; DtypeError if the dtypes differ.

    Bishop, "Pattern recognition and machine learning", 2006, section 5.2.

    >>> import fastconv as fc
    >>> fc.ops.mean_squared_error([[1.0, 2.0]], [[1.0, 4.0]])
    array([2.], dtype=float32)
    """
    y_true, y_pred = as_tensor(y_true), as_tensor(y_pred)
    name = who("mean_squared_error")
    if y_true.shape != y_pred.shape or y_pred.ndim < 1 or y_pred.shape[-1] == 0:
        raise ShapeError(
            f"{name}: expected two tensors of one shape (..., C), received y_true of "
            "shape "
            f"{y_true.shape} and y_pred of shape {y_pred.shape}"
        )
    if y_true.dtype != y_pred.dtype:
        raise DtypeError(
            f"{name}: expected one dtype, received {y_true.dtype} and {y_pred.dtype}"
        )
    difference = y_pred - y_true
    total = OPERATORS["sum"](difference * difference, axis=-1)
    return total * (1 / y_pred.shape[-1])


def _loss(name: str, kind: OpKind, scores: Tensor, labels: Any) -> Tensor:
    """Brings the operands to rows, and the losses back to the leading axes."""
    if scores.ndim < 1 or scores.shape[-1] == 0:
        raise ShapeError(
            f"{who(name)}: expected scores (..., C) with at least one class, received "
            f"shape {scores.shape}"
        )
    if "float" not in scores.dtype:
        raise DtypeError(
            f"{who(name)}: expected floating scores, received {scores.dtype}"
        )
    lead, classes = scores.shape[:-1], scores.shape[-1]
    labels = _labels(name, scores, as_tensor(labels))
    sparse = labels.dtype == "int64"
    rows = prod(lead)
    matrix = _reshaped(scores, (rows, classes))
    labels = _reshaped(labels, (rows,) if sparse else (rows, classes))
    attrs = CrossEntropyAttrs(sparse=int(sparse))
    return _reshaped(emit(kind, attrs, matrix, labels)[0], lead)


def _labels(name: str, scores: Tensor, labels: Tensor) -> Tensor:
    lead = scores.shape[:-1]
    if "float" in labels.dtype:
        if labels.shape != scores.shape:
            raise ShapeError(
                f"{who(name)}: expected labels that are distributions, of the shape "
                "of the "
                f"scores {scores.shape}, received {labels.dtype}{list(labels.shape)}; "
                "class "
                "numbers must be integers"
            )
        return labels if labels.dtype == scores.dtype else _cast(labels, scores.dtype)
    if labels.dtype == "bool":
        raise DtypeError(
            f"{who(name)}: expected labels of int64 or floats, received bool"
        )
    if labels.shape not in (lead, (*lead, 1)):
        raise ShapeError(
            f"{who(name)}: expected class numbers of shape {lead} for scores of shape "
            f"{scores.shape}, received {labels.dtype}{list(labels.shape)}; one-hot "
            "labels "
            "must be floats"
        )
    return labels if labels.dtype == "int64" else _cast(labels, "int64")


def _cast(t: Tensor, dtype: str) -> Tensor:
    return OPERATORS["cast"](t, dtype)


def _reshaped(t: Tensor, shape: tuple[int, ...]) -> Tensor:
    return t if t.shape == shape else OPERATORS["reshape"](t, shape)


def _check(
    kind: OpKind, attrs: CrossEntropyAttrs, scores: Tensor, labels: Tensor
) -> None:
    expected = scores.shape[:1] if attrs.sparse else scores.shape
    if scores.ndim != 2 or labels.shape != expected:
        raise ShapeError(
            f"{who(kind.name)}: expected scores (rows, C) and labels of shape "
            f"{expected}, "
            f"received {scores.shape} and {labels.shape}"
        )


def _softmax_shape(
    attrs: CrossEntropyAttrs, logits: Tensor, labels: Tensor
) -> list[Spec]:
    _check(OpKind.softmax_cross_entropy, attrs, logits, labels)
    return [(logits.shape[:1], logits.dtype), (logits.shape, logits.dtype)]


def _plain_shape(
    attrs: CrossEntropyAttrs, probabilities: Tensor, labels: Tensor
) -> list[Spec]:
    _check(OpKind.cross_entropy, attrs, probabilities, labels)
    return [(probabilities.shape[:1], probabilities.dtype)]


def _backward_shape(
    attrs: CrossEntropyAttrs, dloss: Tensor, probabilities: Tensor, labels: Tensor
) -> list[Spec]:
    _check(OpKind.cross_entropy_backward, attrs, probabilities, labels)
    if dloss.shape != probabilities.shape[:1]:
        raise ShapeError(
            f"{who('cross_entropy_backward')}: expected a gradient of shape "
            f"{probabilities.shape[:1]}, received {dloss.shape}"
        )
    return [(probabilities.shape, probabilities.dtype)]


def _softmax_gradient(
    node: Node, dloss: Tensor | None, dprobabilities: Tensor | None
) -> list[Tensor | None]:
    assert dprobabilities is None, "the probabilities are kept for this rule alone"
    if dloss is None:
        return [None, None]
    operands = (dloss, node.outputs[1], node.inputs[1])
    kind = OpKind.softmax_cross_entropy_backward
    return [emit(kind, node.attrs, *operands)[0], None]


def _plain_gradient(node: Node, dloss: Tensor) -> list[Tensor | None]:
    operands = (dloss, *node.inputs)
    return [emit(OpKind.cross_entropy_backward, node.attrs, *operands)[0], None]


def _per_score(operations: int, operand: int) -> Any:
    return lambda node: operations * node.inputs[operand].size


register(
    OpKind.softmax_cross_entropy,
    Rule(_softmax_shape, _softmax_gradient, _per_score(5, 0)),
)
register(
    OpKind.softmax_cross_entropy_backward,
    Rule(_backward_shape, None, _per_score(2, 1)),
)
register(OpKind.cross_entropy, Rule(_plain_shape, _plain_gradient, _per_score(4, 0)))
register(OpKind.cross_entropy_backward, Rule(_backward_shape, None, _per_score(6, 1)))
