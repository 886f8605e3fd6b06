"""From numbers to colours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastconv.errors import DataError, unknown_name

__all__ = ["RAMPS", "paint", "to_unit", "value_range"]

# Colours at equal distances from the least to the largest value; between them, lines.
RAMPS: Mapping[str, tuple[tuple[int, int, int], ...]] = {
    "grey": ((0, 0, 0), (255, 255, 255)),
    "heat": ((18, 12, 52), (110, 26, 110), (201, 63, 75), (248, 150, 40),
             (252, 247, 180)),
    "diverging": ((24, 78, 160), (146, 190, 232), (247, 247, 247), (244, 178, 110),
                  (178, 76, 8)),
}  # fmt: skip


def paint(values: np.ndarray, colours: str) -> np.ndarray:
    """Values 0 .. 1 of any shape (...) as colours (..., 3), uint8; NaN is black.

    Raises
    ------
    UnknownNameError: no such ramp.

    >>> paint(np.array([0.0, 1.0]), "grey").tolist()
    [[0, 0, 0], [255, 255, 255]]
    """
    if colours not in RAMPS:
        raise unknown_name("ramp of colours", colours, list(RAMPS))
    anchors = np.array(RAMPS[colours], np.float64)
    places = np.linspace(0, 1, len(anchors))
    parts = [np.interp(values, places, anchors[:, c]) for c in range(3)]
    painted = np.rint(np.nan_to_num(np.stack(parts, -1)))
    return painted.astype(np.uint8)


def value_range(values: Any, colours: str = "grey") -> tuple[float, float]:
    """What is the least and the largest colour, where the user does not say it.

    0 .. 255 for uint8; for floats 0 .. 1 if they lie in it, else their own range, for
    "diverging" with 0 in the middle. Values that are not finite do not count.

    >>> value_range(np.array([-3.0, 1.0]), "diverging")
    (-3.0, 3.0)
    """
    values = np.asarray(values)
    if values.dtype == np.uint8:
        return 0.0, 255.0
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise DataError("figure: expected finite values, received none")
    low, high = float(finite.min()), float(finite.max())
    if colours == "diverging":
        high = max(abs(low), abs(high))
        low = -high
    elif low >= 0.0 and high <= 1.0:
        low, high = 0.0, 1.0
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def to_unit(values: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """The values with ``limits`` as 0 and 1, and cut there; float64."""
    low, high = limits
    return np.clip((np.asarray(values, np.float64) - low) / (high - low), 0.0, 1.0)
