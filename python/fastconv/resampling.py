"""How an axis is scaled: the weights of the old pixels in each new one."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

__all__ = ["INTERPOLATIONS", "Table", "scaling_table"]


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(0.0, 1.0 - np.abs(x))


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys, "Cubic convolution interpolation", IEEE ASSP 29 (1981), with a = -1/2."""
    x = np.abs(x)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _lanczos(radius: int) -> Callable[[np.ndarray], np.ndarray]:
    def weigh(x: np.ndarray) -> np.ndarray:
        return np.where(np.abs(x) < radius, np.sinc(x) * np.sinc(x / radius), 0.0)

    return weigh


# Radius in pixels, and the weight at a distance.
_FILTERS: dict[str, tuple[float, Callable[[np.ndarray], np.ndarray]]] = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, _cubic),
    "lanczos3": (3.0, _lanczos(3)),
    "lanczos5": (5.0, _lanczos(5)),
}
INTERPOLATIONS = ("nearest", *_FILTERS, "area")


class Table(NamedTuple):
    """For each element of the result: (first, count) in the source, and weights."""

    ranges: np.ndarray
    weights: np.ndarray


@lru_cache(maxsize=64)
def scaling_table(n: int, m: int, interpolation: str, antialias: bool) -> Table:
    """How ``m`` elements are made of ``n``, as `fastconv.ops.resize` says."""
    if interpolation == "nearest":
        source = (2 * np.arange(m) + 1) * n // (2 * m)
        ranges = np.stack([source, np.ones_like(source)], axis=1)
        return Table(ranges.astype(np.int32), np.ones((m, 1)))
    if interpolation == "area":
        begin, end = np.arange(m) * n / m, np.arange(1, m + 1) * n / m
        pixel = np.floor(begin).astype(int)[:, None] + np.arange(-(-n // m) + 2)
        weights = np.minimum(pixel + 1, end[:, None])
        weights -= np.maximum(pixel, begin[:, None])
        # What rounding leaves of a pixel beyond an end is no part of it.
        return _compact(pixel, np.where(weights > 1e-9, weights, 0.0), n)
    radius, weigh = _FILTERS[interpolation]
    stretch = max(n / m, 1.0) if antialias else 1.0
    centre = (np.arange(m) + 0.5) * n / m - 0.5
    taps = int(2 * np.ceil(radius * stretch)) + 1
    pixel = np.ceil(centre - radius * stretch).astype(int)[:, None] + np.arange(taps)
    return _compact(pixel, weigh((pixel - centre[:, None]) / stretch), n)


def _compact(pixel: np.ndarray, weights: np.ndarray, n: int) -> Table:
    """Rows that sum to 1, of the pixels that count: inside, with a weight."""
    weights = np.where((pixel >= 0) & (pixel < n), weights, 0.0)
    weights /= weights.sum(axis=1, keepdims=True)
    used = weights != 0.0
    first = used.argmax(axis=1)
    count = used.shape[1] - used[:, ::-1].argmax(axis=1) - first
    columns = first[:, None] + np.arange(count.max())
    inside = np.arange(count.max()) < count[:, None]
    taken = np.take_along_axis(weights, np.where(inside, columns, 0), axis=1)
    start = np.take_along_axis(pixel, first[:, None], axis=1)[:, 0]
    ranges = np.stack([start, count], axis=1).astype(np.int32)
    return Table(ranges, np.where(inside, taken, 0.0))
