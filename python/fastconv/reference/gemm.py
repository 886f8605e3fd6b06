"""Matrix products, the naive way."""

from __future__ import annotations

import numpy as np

from fastconv._core import GemmAttrs, OpKind
from fastconv.reference.activation import epilogue
from fastconv.reference.registry import kernel


@kernel(OpKind.gemm)
def gemm(
    attrs: GemmAttrs, a: np.ndarray, b: np.ndarray, *operands: np.ndarray
) -> tuple[np.ndarray]:
    """C = A B, one outer product at a time."""
    a = np.swapaxes(a, -1, -2) if attrs.transpose_a else a
    b = np.swapaxes(b, -1, -2) if attrs.transpose_b else b
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    c = np.zeros((*lead, attrs.m, attrs.n), a.dtype)
    for i in range(attrs.k):
        c += a[..., :, i : i + 1] * b[..., i : i + 1, :]
    return (epilogue(attrs.epilogue, c, *operands),)
