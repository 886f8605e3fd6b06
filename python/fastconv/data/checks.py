"""What is checked once about data before it is trained on."""

from operator import index
from typing import Any

import numpy as np

from fastconv.data import tree
from fastconv.errors import ArgumentError, DataError

__all__ = ["check_arrays", "check_nan", "count"]

_CHUNK = 1 << 20  # elements looked at together


def count(name: str, value: int, least: int) -> int:
    """An argument that is an integer of ``least`` or more.

    Raises:
        ArgumentError: it is none.

    >>> count("batch_size", np.int64(32), least=1)
    32
    """
    try:
        number = index(value)
    except TypeError:
        raise ArgumentError(f"{name}: expected an integer, got {value!r}") from None
    if number < least:
        raise ArgumentError(f"{name}: expected {least} or more, got {number}")
    return number


def _refuse_nan(array: np.ndarray, name: str) -> None:
    if not np.issubdtype(array.dtype, np.floating) or array.size == 0:
        return
    rows = max(1, _CHUNK * len(array) // array.size) if array.ndim else 1
    for start in range(0, len(array), rows):
        chunk = array[start : start + rows]
        # min() hands NaN on, and needs no temporary array.
        if np.isnan(chunk.min()):
            first = np.argwhere(np.isnan(chunk))[0]
            position = (start + int(first[0]), *map(int, first[1:]))
            raise DataError(
                f"{name}: NaN at position {position} (shape {array.shape}); remove or "
                "replace such values, for example with numpy.nan_to_num"
            )


def check_nan(value: Any, name: str) -> None:
    """Refuse NaN in the float arrays of nested data, shape (samples, ...).

    Integers pass unread, infinities pass. Reads each array once, in chunks.

    Raises:
        DataError: with the name of the array and the position of its first NaN.

    >>> check_nan(np.ones((2, 3)), "x")
    """
    for leaf_name, array in tree.leaves(value, name):
        _refuse_nan(array, leaf_name)


def check_arrays(
    x: Any, y: Any = None, sample_weight: Any = None, *, nan: bool = True
) -> tuple[Any, Any, Any]:
    """x, y and sample_weight as arrays of numbers that agree, with one sample or more.

    Args:
        x: nested data of shape (samples, ...).
        y: nested data of shape (samples, ...), or None.
        sample_weight: nested data of shape (samples, ...), or None.
        nan: whether to look for NaN.

    Raises:
        DataError: no samples, a dtype that is no number, or NaN.
        ShapeError: numbers of samples that differ, or a scalar.

    >>> check_arrays([[1.0], [2.0]], [0, 1])[1]
    array([0, 1])
    """
    parts = (
        tree.to_arrays(x, "x"),
        tree.to_arrays(y, "y"),
        tree.to_arrays(sample_weight, "sample_weight"),
    )
    if tree.common_length(parts, "data") == 0:
        raise DataError("data: x has no samples; expected at least one")
    if nan:
        for part, name in zip(parts, ("x", "y", "sample_weight"), strict=True):
            check_nan(part, name)
    return parts
