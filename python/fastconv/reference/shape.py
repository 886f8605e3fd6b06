"""Ops that only move data, by NumPy's indexing."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._core import ConcatAttrs, OpKind, PadAttrs, TransposeAttrs
from fastconv.reference.registry import kernel


@kernel(OpKind.reshape)
def reshape(attrs: Any, src: np.ndarray) -> tuple[np.ndarray]:
    """The same elements in another shape."""
    return (src.reshape(attrs.shape),)


@kernel(OpKind.transpose)
def transpose(attrs: TransposeAttrs, src: np.ndarray) -> tuple[np.ndarray]:
    """Axis i of dst is axis permutation[i] of src."""
    return (np.transpose(src, attrs.permutation[: src.ndim]),)


@kernel(OpKind.broadcast)
def broadcast(attrs: Any, src: np.ndarray) -> tuple[np.ndarray]:
    """Repeated along new axes and axes of size 1."""
    return (np.broadcast_to(src, attrs.shape),)


@kernel(OpKind.concat)
def concat(attrs: ConcatAttrs, *inputs: np.ndarray) -> tuple[np.ndarray]:
    """One after the other along an axis."""
    return (np.concatenate(inputs, axis=attrs.axis),)


@kernel(OpKind.slice)
def slice_(attrs: Any, src: np.ndarray) -> tuple[np.ndarray]:
    """Element i is src[start + i step]."""
    for axis, count in enumerate(attrs.shape):
        indices = attrs.native.start[axis] + attrs.native.step[axis] * np.arange(count)
        src = np.take(src, indices, axis=axis)
    return (src,)


@kernel(OpKind.pad)
def pad(attrs: PadAttrs, src: np.ndarray) -> tuple[np.ndarray]:
    """Axis by axis: element i goes to before + i (interior + 1), if that is inside."""
    dst = src
    for axis in range(src.ndim):
        before, after = attrs.before[axis], attrs.after[axis]
        interior = attrs.interior[axis]
        count = dst.shape[axis]
        size = before + after + count + max(count - 1, 0) * interior
        shape = (*dst.shape[:axis], size, *dst.shape[axis + 1 :])
        padded = np.full(shape, attrs.value).astype(src.dtype)
        source, target = np.moveaxis(dst, axis, 0), np.moveaxis(padded, axis, 0)
        for i in range(count):
            at = before + i * (interior + 1)
            if 0 <= at < size:
                target[at] = source[i]
        dst = padded
    return (dst,)
