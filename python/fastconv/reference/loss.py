"""Cross-entropies, by their formulas."""

from __future__ import annotations

import numpy as np

from fastconv._core import CrossEntropyAttrs, OpKind
from fastconv.errors import DataError
from fastconv.reference.registry import kernel

EPSILON = 1e-7  # Keras's backend epsilon


def _weights(
    attrs: CrossEntropyAttrs, labels: np.ndarray, scores: np.ndarray
) -> np.ndarray:
    """Labels as a distribution a row."""
    if not attrs.sparse:
        return labels.astype(scores.dtype)
    classes = scores.shape[-1]
    for position, label in enumerate(labels.reshape(-1)):
        if not 0 <= label < classes:
            raise DataError(
                f"label {label} at position {position} is out of range: expected "
                f"0 <= label < {classes}"
            )
    return np.eye(classes, dtype=scores.dtype)[labels.reshape(-1)]


@kernel(OpKind.softmax_cross_entropy)
def softmax_cross_entropy(
    attrs: CrossEntropyAttrs, logits: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, ...]:
    """-sum y log softmax(x), a row; where y is 0 nothing is added."""
    weights = _weights(attrs, labels, logits)
    apart = logits - logits.max(axis=-1, keepdims=True)
    total = np.exp(apart).sum(axis=-1, keepdims=True)
    terms = np.where(weights == 0, 0, weights * (np.log(total) - apart))
    return terms.sum(axis=-1), np.exp(apart) / total


@kernel(OpKind.softmax_cross_entropy_backward)
def softmax_cross_entropy_backward(
    attrs: CrossEntropyAttrs,
    dloss: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Gives dloss (p sum(y) - y)."""
    weights = _weights(attrs, labels, probabilities)
    total = weights.sum(axis=-1, keepdims=True)
    return ((probabilities * total - weights) * dloss[:, None],)


@kernel(OpKind.cross_entropy)
def cross_entropy(
    attrs: CrossEntropyAttrs, probabilities: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, ...]:
    """-sum y log clip(p / sum(p)), a row."""
    weights = _weights(attrs, labels, probabilities)
    q = probabilities / probabilities.sum(axis=-1, keepdims=True)
    epsilon = q.dtype.type(EPSILON)
    return (-(weights * np.log(np.clip(q, epsilon, 1 - epsilon))).sum(axis=-1),)


@kernel(OpKind.cross_entropy_backward)
def cross_entropy_backward(
    attrs: CrossEntropyAttrs,
    dloss: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
) -> tuple[np.ndarray, ...]:
    """Through the clip (0 where it acts) and the division by the sum."""
    weights = _weights(attrs, labels, probabilities)
    total = probabilities.sum(axis=-1, keepdims=True)
    q = probabilities / total
    epsilon = q.dtype.type(EPSILON)
    inside = (q >= epsilon) & (q <= 1 - epsilon)
    dq = np.where(inside, -weights / q, 0) * dloss[:, None]
    return ((dq - (dq * q).sum(axis=-1, keepdims=True)) / total,)
