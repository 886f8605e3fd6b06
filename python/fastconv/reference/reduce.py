"""Reductions, by NumPy."""

from __future__ import annotations

import numpy as np

from fastconv._core import OpKind, ReduceAttrs, ReduceOp
from fastconv.reference.registry import kernel


@kernel(OpKind.reduce)
def reduce(attrs: ReduceAttrs, src: np.ndarray) -> tuple[np.ndarray]:
    """Sum, mean, max or min over the axes whose bit is set; sums are in float64."""
    axes = tuple(i for i in range(src.ndim) if attrs.axes >> i & 1)
    if attrs.op == ReduceOp.max:
        return (src.max(axis=axes),)
    if attrs.op == ReduceOp.min:
        return (src.min(axis=axes),)
    total = src.sum(axis=axes, dtype=np.float64)
    if attrs.op == ReduceOp.mean:
        total = total / np.prod([src.shape[i] for i in axes])
    return (np.asarray(total, src.dtype),)
