"""Nested data: an array, or a list, tuple or dict of nested data, or None."""

from collections.abc import Callable, Iterator
from numbers import Number
from typing import Any

import numpy as np

from fastconv.errors import DataError, ShapeError
from fastconv.tree import map_named

__all__ = ["common_length", "leaves", "slice_rows", "to_arrays", "tree_map"]

# Objects, text, dates: nothing that a kernel can read.
_REFUSED_KINDS = "OSUTMm"


def _is_leaf(value: Any) -> bool:
    """Whether value is one array: also a (nested) list of plain numbers."""
    if value is None or isinstance(value, dict):
        return False
    while isinstance(value, list | tuple):
        if not value:
            return True
        value = value[0]
        if isinstance(value, Number) and not hasattr(value, "shape"):
            return True
        if not isinstance(value, list | tuple):
            return False
    return True


def tree_map(function: Callable[[Any, str], Any], value: Any, name: str) -> Any:
    """Apply ``function(leaf, name_of_leaf)`` to all leaves; None stays None.

    >>> tree_map(lambda leaf, name: name, {"a": np.zeros(1), "b": None}, "x")
    {'a': "x['a']", 'b': None}
    """
    if isinstance(value, np.ndarray):
        return function(value, name)
    return map_named(value, name, _is_leaf, function)


def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """All leaves of nested data with their names, in order.

    >>> [name for name, _ in leaves((np.zeros(1), np.zeros(1)), "x")]
    ['x[0]', 'x[1]']
    """
    found: list[tuple[str, Any]] = []
    tree_map(lambda leaf, leaf_name: found.append((leaf_name, leaf)), value, name)
    return iter(found)


def _to_array(value: Any, name: str) -> np.ndarray:
    detach = getattr(value, "detach", None)
    if detach is not None:
        value = detach().cpu()
    if not hasattr(value, "__array__") and hasattr(value, "numpy"):
        value = value.numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise DataError(f"{name}: cannot become one array: {error}") from error
    if array.dtype.kind in _REFUSED_KINDS:
        raise DataError(
            f"{name}: expected numbers, got an array of dtype {array.dtype} and shape "
            f"{array.shape}; rows of unequal length must be padded, text encoded"
        )
    return array


def to_arrays(value: Any, name: str) -> Any:
    """Nested data with every leaf as a plain ndarray; nothing is copied needlessly.

    Leaves may be arrays, memory-mapped arrays, tensors (``__array__`` or ``numpy()``)
    and lists of numbers.

    Raises:
        DataError: a leaf is of dtype object, text or date.

    >>> to_arrays([1, 2], "y")
    array([1, 2])
    """
    return tree_map(_to_array, value, name)


def common_length(parts: tuple[Any, Any, Any], where: str) -> int:
    """The number of samples on which all arrays of (x, y, sample_weight) agree.

    Raises:
        DataError: there is no array in x.
        ShapeError: an array is a scalar, or two first dimensions differ.

    >>> common_length((np.zeros((3, 2)), np.zeros(3), None), "fit")
    3
    """
    named = zip(parts, ("x", "y", "sample_weight"), strict=True)
    arrays = [item for part, name in named for item in leaves(part, name)]
    if next(leaves(parts[0], "x"), None) is None:
        raise DataError(f"{where}: x holds no array")
    first_name, first = arrays[0]
    for name, array in arrays:
        if array.ndim == 0:
            raise ShapeError(f"{where}: {name} is a scalar, expected (samples, ...)")
        if len(array) != len(first):
            raise ShapeError(
                f"{where}: {first_name} has {len(first)} samples (shape {first.shape})"
                f" but {name} has {len(array)} (shape {array.shape})"
            )
    return len(first)


def slice_rows(value: Any, rows: Any) -> Any:
    """``leaf[rows]`` for all leaves: a view for a slice, a copy for an index array.

    >>> slice_rows({"a": np.arange(4)}, slice(1, 3))
    {'a': array([1, 2])}
    """
    return tree_map(lambda leaf, _: leaf[rows], value, "")
