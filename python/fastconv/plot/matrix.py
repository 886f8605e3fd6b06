"""A confusion matrix, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv.errors import ShapeError
from fastconv.plot.colours import paint
from fastconv.plot.svg import Figure, box, document, picture, rule, text

__all__ = ["confusion_matrix", "table"]

_READABLE = 30  # classes for which numbers are written
_CELL, _TOP, _LETTER = 34, 66, 6.6


def confusion_matrix(
    matrix: Any, class_names: Sequence[object] | None = None, title: str = ""
) -> Figure:
    """How often class i (row) was taken for class j (column).

    The colour is the share of the row: blue on the diagonal, orange beside it. With
    more than 30 classes the picture has no numbers.

    Parameters
    ----------
    matrix: (C, C) counts, as `fastconv.metrics.ConfusionMatrix` gives them.
    class_names: C names; default the numbers.
    title: a line above.

    Raises
    ------
    ShapeError: a matrix that is not square, or another number of names.

    >>> import fastconv as fc
    >>> fc.plot.confusion_matrix([[5, 1], [0, 4]], ["cat", "dog"])
    <Figure 160x152>
    """
    counts = np.asarray(matrix, np.float64)
    given = range(len(counts)) if class_names is None else class_names
    names = [str(name) for name in given]
    if counts.ndim != 2 or counts.shape != (len(names), len(names)) or not names:
        raise ShapeError(
            f"confusion_matrix: expected (C, C) counts and C names, received shape "
            f"{counts.shape} and {len(names)} names"
        )
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1e-300)
    left = 40 + _LETTER * max(map(len, names))
    parts = [text(12, 24, title, "title") if title else ""]
    parts.append(text(left, 44, "predicted", anchor="start"))
    if len(names) > _READABLE:
        side = 480.0
        parts.append(picture(paint(shares, "heat"), left, _TOP, side, side))
        parts.append(text(left - 8, _TOP + 12, "true", anchor="end"))
    else:
        side = _CELL * len(names)
        parts += _cells(counts, shares, names, left)
    width = max(left + side + 12, 24 + 8 * len(title), 160)
    return document(width, _TOP + side + 18, parts, title or "confusion matrix")


def _cells(
    counts: np.ndarray, shares: np.ndarray, names: list[str], left: float
) -> list[str]:
    parts = []
    for i, name in enumerate(names):
        middle = _TOP + _CELL * i + 21
        parts.append(text(left - 8, middle, name, anchor="end"))
        parts.append(text(left + _CELL * (i + 0.5), 60, name[:5], anchor="middle"))
        for j, count in enumerate(counts[i]):
            x = left + _CELL * j
            hue = "f0" if i == j else "f1"
            opacity = f' fill-opacity="{0.06 + 0.8 * shares[i, j]:.2f}"'
            cell = box(hue, x, _TOP + _CELL * i, _CELL - 1, _CELL - 1)
            parts.append(cell.replace("/>", f"{opacity}/>"))
            if count:
                place = (x + _CELL / 2, middle)
                kind = "on" if shares[i, j] > 0.35 else ""
                parts.append(text(*place, f"{count:.6g}", kind, "middle"))
    return parts


def table(rows: Sequence[Sequence[object]], title: str = "") -> Figure:
    """A table; the first row is its head, and columns of numbers stand at the right.

    Parameters
    ----------
    rows: texts or numbers, as many in each row.
    title: a line above.

    Raises
    ------
    ShapeError: no row, or rows of different lengths.

    >>> import fastconv as fc
    >>> fc.plot.table([("layer", "parameters"), ("C1", 156), ("S2", 0)])
    <Figure 168x102>
    """
    cells = [[_shown(value) for value in row] for row in rows]
    if not cells or not cells[0] or len({len(row) for row in cells}) != 1:
        raise ShapeError("table: expected rows of one length, the first of them a head")
    widths = [20 + 7.2 * max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [
        len(column) > 1 and all(isinstance(v, int | float) for v in column[1:])
        for column in zip(*rows, strict=True)
    ]
    top = 30 + (24 if title else 0)
    parts = [text(20, 26, title, "title") if title else ""]
    for i, row in enumerate(cells):
        x = 20.0
        for word, width, right in zip(row, widths, numeric, strict=True):
            place = (x + width - 20, "end") if right else (x, "start")
            kind = "" if i else "name"
            parts.append(text(place[0], top + 22 * i, word, kind, place[1]))
            x += width
    total = sum(widths)
    parts.append(rule("axis", (20, top + 7), (total, top + 7)))
    width = max(20 + total, 40 + 8 * len(title))
    return document(width, top + 22 * len(cells) + 6, parts, title or "table")


def _shown(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
