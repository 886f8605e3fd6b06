"""Interpolation along one axis, element by element."""

from __future__ import annotations

import numpy as np

from fastconv._core import OpKind, ResizeAttrs
from fastconv.reference.registry import kernel


@kernel(OpKind.resize)
def resize(
    attrs: ResizeAttrs, src: np.ndarray, ranges: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Each element is the sum of a range of the source, weighted."""
    moved = np.moveaxis(src, attrs.axis, 0)
    dst = np.zeros((len(ranges), *moved.shape[1:]), src.dtype)
    for i, (first, count) in enumerate(ranges):
        for t in range(count):
            dst[i] += weights[i, t] * moved[first + t]
    return (np.moveaxis(dst, 0, attrs.axis),)
