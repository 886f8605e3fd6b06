"""Samples that are in the training data and in the validation data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastconv.data import tree
from fastconv.training.sanity.finding import Finding

ROWS = 100_000  # of each side, at most
COLUMNS = 64  # of each row, for the first comparison
ALIKE = 8  # training rows with the same 64 values that are compared in full
VALUES = 1 << 26  # compared in full, or bytes of a file that are read


def faults(train: Any, validation: Any) -> list[Finding]:
    """Whether rows of two nested inputs are equal; None for inputs that are not known.

    64 values spread over each row find the candidates, which are compared in full.
    """
    if train is None or validation is None:
        return []
    ours = [array for _, array in tree.leaves(train, "x")]
    theirs = [array for _, array in tree.leaves(validation, "x")]
    if [a.shape[1:] for a in ours] != [a.shape[1:] for a in theirs]:
        return []
    known: dict[bytes, list[int]] = {}
    for row, mark in enumerate(_marks(ours)):
        rows = known.setdefault(mark, [])
        if len(rows) < ALIKE:
            rows.append(row)
    pairs, left, seen = [], VALUES, 0
    for second, mark in enumerate(_marks(theirs)):
        seen += 1
        for first in known.get(mark, ()):
            left -= sum(array[0].size for array in ours)
            if _equal(ours, first, theirs, second):
                pairs.append((first, second))
                break
        if left < 0:
            break
    if not pairs:
        return []
    first, second = pairs[0]
    return [
        Finding(
            "duplicates",
            f"{len(pairs)} of {seen} validation samples looked at are training "
            f"samples, too (validation {second} is training {first}); the validation "
            "loss would flatter: remove them from one side",
        )
    ]


def _marks(arrays: list[np.ndarray]) -> list[bytes]:
    """A few values of each row, as bytes."""
    parts = []
    rows = min(ROWS, *(_readable(array) for array in arrays))
    for array in arrays:
        size = math.prod(array.shape[1:])
        columns = np.linspace(0, size - 1, min(size, COLUMNS)).astype(np.intp)
        where: Any = (slice(rows),)
        if array.ndim > 1:
            where += np.unravel_index(columns, array.shape[1:])
        values = array[where].reshape(min(rows, len(array)), -1)
        parts.append(np.ascontiguousarray(values, np.float32))
    return [b"".join(part[row].tobytes() for part in parts)
            for row in range(len(parts[0]))]  # fmt: skip


def _readable(array: np.ndarray) -> int:
    """Rows that may be read: of an array in a file, so many bytes."""
    if not isinstance(array, np.memmap):
        return ROWS
    return int(VALUES // max(1, array[:1].nbytes))


def _equal(
    ours: list[np.ndarray], first: int, theirs: list[np.ndarray], second: int
) -> bool:
    return all(
        np.array_equal(a[first], b[second]) for a, b in zip(ours, theirs, strict=True)
    )
