"""Class labels, and vectors of length 1."""

from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, DataError

__all__ = ["normalize", "to_categorical"]


def _integers(y: Any) -> np.ndarray:
    labels = np.asarray(y)
    if labels.dtype.kind in "biu":
        return labels.astype(np.int64)
    if labels.dtype.kind == "f" and np.isfinite(labels).all():
        whole: np.ndarray = labels.astype(np.int64)
        if (whole == labels).all():
            return whole
    raise DataError(f"to_categorical: expected whole numbers, got dtype {labels.dtype}")


def to_categorical(y: Any, num_classes: int | None = None) -> np.ndarray:
    """Labels as one-hot rows: ``out[..., k] = 1 if y[...] == k else 0``.

    Args:
        y: whole numbers of shape S, or S + (1,): a last dimension of 1 is dropped.
        num_classes: K; None is ``max(y) + 1``.

    Returns:
        float32 of shape S + (K,).

    Raises:
        DataError: a label that is no whole number, or not in 0 .. K - 1 (the message
            gives its position, its value and the range).
        ArgumentError: ``num_classes`` below 1, or none given and no labels.

    >>> to_categorical([0, 2]).tolist()
    [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    labels = _integers(y)
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    if num_classes is None and labels.size:
        num_classes = max(int(labels.max()) + 1, 1)
    if num_classes is None or num_classes < 1:
        raise ArgumentError(f"num_classes: expected 1 or more, got {num_classes}")
    _check_range(labels, num_classes)
    out = np.zeros((*labels.shape, num_classes), dtype=np.float32)
    np.put_along_axis(out, labels[..., None], 1.0, axis=-1)
    return out


def _check_range(labels: np.ndarray, num_classes: int) -> None:
    wrong = (labels < 0) | (labels >= num_classes)
    if wrong.any():
        position = tuple(map(int, np.argwhere(wrong)[0]))
        raise DataError(
            f"to_categorical: label {labels[position]} at position {position} is not "
            f"in 0 .. {num_classes - 1}"
        )


def normalize(x: Any, axis: int = -1, order: int = 2) -> np.ndarray:
    """Vectors along an axis, divided by their norm; a vector of zeros stays.

    Formula: ``x / (sum |x|^order)^(1 / order)``.

    >>> normalize([[3.0, 4.0]]).tolist()
    [[0.6, 0.8]]
    """
    array = np.atleast_1d(np.asarray(x))
    norm = np.atleast_1d(np.linalg.norm(array, order, axis))
    norm[norm == 0] = 1
    quotient: np.ndarray = array / np.expand_dims(norm, axis)
    return quotient
