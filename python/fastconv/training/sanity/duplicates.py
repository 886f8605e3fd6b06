"""Samples that are in the training data and in the validation data."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.data import tree
from fastconv.training.sanity.finding import Finding

ROWS = 100_000  # of each side, at most
COLUMNS = 64  # of each row, for the first comparison


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
    pairs = _equal_rows(ours, theirs)
    if not pairs:
        return []
    seen = min(len(theirs[0]), ROWS)
    first, second = pairs[0]
    return [
        Finding(
            "duplicates",
            f"{len(pairs)} of {seen} validation samples looked at are training "
            f"samples, too (validation {second} is training {first}); the validation "
            "loss would flatter: remove them from one side",
        )
    ]


def _equal_rows(
    ours: list[np.ndarray], theirs: list[np.ndarray]
) -> list[tuple[int, int]]:
    """Pairs (row of ours, row of theirs), one for each row of theirs that is found."""
    known: dict[bytes, list[int]] = {}
    for row, mark in enumerate(_marks(ours)):
        known.setdefault(mark, []).append(row)
    wanted = [(row, mark) for row, mark in enumerate(_marks(theirs)) if mark in known]
    rows = {i for _, mark in wanted for i in known[mark]}
    full: dict[bytes, int] = {}
    for i in sorted(rows, reverse=True):
        full[_bytes(ours, i)] = i
    pairs = []
    for row, _ in wanted:
        same = full.get(_bytes(theirs, row))
        if same is not None:
            pairs.append((same, row))
    return pairs


def _marks(arrays: list[np.ndarray]) -> list[bytes]:
    """A few values of each row, as bytes."""
    parts = []
    for array in arrays:
        flat = array[:ROWS].reshape(min(len(array), ROWS), -1)
        step = max(1, flat.shape[1] // COLUMNS)
        parts.append(np.ascontiguousarray(flat[:, step // 2 :: step], np.float32))
    return [b"".join(part[row].tobytes() for part in parts)
            for row in range(len(parts[0]))]  # fmt: skip


def _bytes(arrays: list[np.ndarray], row: int) -> bytes:
    return b"".join(np.asarray(array[row], np.float32).tobytes() for array in arrays)
