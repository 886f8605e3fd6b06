"""Which range of real numbers the 256 values of a byte should cover."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from fastconv.errors import DataError

__all__ = ["METHODS", "Range", "ranges", "scale_of"]

Range = tuple[float, float]
_BINS = 2048
_SHARES = [1 - i / 100 for i in range(81)]  # of either end, that "mse" tries
_QUANTILE = 1e-5  # that "percentile" cuts off at each end


def scale_of(range_: Range) -> tuple[float, int]:
    """Scale and zero point of bytes that cover a range, and 0, which they hit exactly.

    Jacob et al., arXiv:1712.05877, section 3.1.

    >>> scale_of((1.0, 127.5))
    (0.5, 0)
    >>> scale_of((-64.0, 63.5))
    (0.5, 128)
    """
    low, high = min(range_[0], 0.0), max(range_[1], 0.0)
    scale = float(np.float32((high - low) / 255))
    if not scale > 0:
        return 1.0, 0
    return scale, int(np.clip(np.rint(-low / scale), 0, 255))


def ranges(
    run: Callable[[Any], Sequence[np.ndarray]], batches: Iterable[Any], method: str
) -> list[Range]:
    """The range of each array that ``run`` gives for a batch.

    Raises
    ------
    DataError if there is no batch, or a value is not finite.
    """
    held = list(batches)
    if not held:
        raise DataError("quantize: expected calibration data, received none")
    limits = _limits(run, held)
    if method == "minmax":
        return [(float(low), float(high)) for low, high in limits]
    counts = np.zeros((len(limits), _BINS), np.int64)
    for batch in held:
        for i, array in enumerate(run(batch)):
            counts[i] += np.histogram(array, _BINS, tuple(limits[i]))[0]
    choose = METHODS[method]
    assert choose is not None
    return [choose(c, *limit) for c, limit in zip(counts, limits, strict=True)]


def _limits(run: Callable[[Any], Sequence[np.ndarray]], batches: list[Any]) -> Any:
    """Least and largest value of each array."""
    found = [[(a.min(), a.max()) for a in run(batch)] for batch in batches]
    limits = np.array(found, np.float64)
    if not np.isfinite(limits).all():
        raise DataError(
            "quantize: the model gives NaN or infinite values for the calibration data"
        )
    return np.stack([limits[..., 0].min(0), limits[..., 1].max(0)], axis=1)


def _edges(low: float, high: float) -> np.ndarray:
    return np.linspace(low, high, _BINS + 1)


def _percentile(counts: np.ndarray, low: float, high: float) -> Range:
    """Cuts off the outermost values at each end."""
    share = counts.cumsum() / counts.sum()
    edges = _edges(low, high)
    first = int(np.searchsorted(share, _QUANTILE))
    last = int(np.searchsorted(share, 1 - _QUANTILE))
    return float(edges[first]), float(edges[min(last + 1, _BINS)])


def _mse(counts: np.ndarray, low: float, high: float) -> Range:
    """The part of the range whose bytes have the least squared error.

    Its upper end is chosen first, then the lower one.
    """
    edges = _edges(low, high)
    x = (edges[1:] + edges[:-1]) / 2

    def error(tried: Range) -> float:
        scale, zero = scale_of(tried)
        q = np.clip(np.rint(x / scale) + zero, 0, 255)
        return float(counts @ (scale * (q - zero) - x) ** 2)

    low, high = float(low), float(high)
    high = min((high * share for share in _SHARES), key=lambda v: error((low, v)))
    low = min((low * share for share in _SHARES), key=lambda v: error((v, high)))
    return low, high


METHODS: dict[str, Callable[..., Range] | None] = {
    "minmax": None,
    "percentile": _percentile,
    "mse": _mse,
}
