"""Pooling, one output position at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from math import prod
from typing import Any

import numpy as np

from fastconv._core import OpKind, PoolAttrs, WindowGeometry
from fastconv.reference.registry import kernel

Arrays = tuple[np.ndarray, ...]


def _taps(g: WindowGeometry, axis: int, out: int) -> list[int]:
    """Input indices under the window of ``out``, those in the padding left out."""
    origin = out * g.stride[axis] - g.pad_before[axis]
    taps = (origin + k * g.dilation[axis] for k in range(g.kernel[axis]))
    return [i for i in taps if 0 <= i < g.input[axis]]


def _windows(g: WindowGeometry) -> Iterator[tuple[Any, np.ndarray]]:
    """Index of each output position, and the flat input positions under it."""
    for out in product(*map(range, g.output)):
        d, h, w = (_taps(g, axis, i) for axis, i in enumerate(out))
        grid = product(d, h, w)
        flat = [(i * g.input[1] + j) * g.input[2] + k for i, j, k in grid]
        yield (slice(None), *out), np.array(flat, np.int64)


def _flat(src: np.ndarray) -> np.ndarray:
    """As N, positions, C."""
    return src.reshape(src.shape[0], prod(src.shape[1:-1]), src.shape[-1])


def _empty_output(g: WindowGeometry, dtype: Any) -> np.ndarray:
    return np.zeros((g.batch, *g.output, g.in_channels), dtype)


@kernel(OpKind.max_pool)
def max_pool(attrs: PoolAttrs, src: np.ndarray) -> Arrays:
    """Maximum and its position; NumPy's argmax takes the first NaN, too."""
    g = attrs.geometry
    maps = _flat(src)
    dst, indices = _empty_output(g, src.dtype), _empty_output(g, np.int32)
    for out, positions in _windows(g):
        values = maps[:, positions]
        best = np.argmax(values, axis=1)
        dst[out] = np.take_along_axis(values, best[:, None], axis=1)[:, 0]
        indices[out] = positions[best]
    return dst, indices


@kernel(OpKind.max_pool_backward)
def max_pool_backward(
    attrs: PoolAttrs, ddst: np.ndarray, indices: np.ndarray
) -> Arrays:
    """Each output's gradient goes to the position that it chose."""
    g = attrs.geometry
    n, c = np.ogrid[: g.batch, : g.in_channels]
    dsrc = np.zeros((g.batch, prod(g.input), g.in_channels), ddst.dtype)
    gradients, chosen = _flat(ddst), _flat(indices)
    for i in range(gradients.shape[1]):
        np.add.at(dsrc, (n, chosen[:, i], c), gradients[:, i])
    return (dsrc,)


def _divisor(attrs: PoolAttrs, positions: np.ndarray) -> int:
    whole = prod(attrs.geometry.kernel)
    return whole if attrs.count_include_pad else max(1, len(positions))


@kernel(OpKind.average_pool)
def average_pool(attrs: PoolAttrs, src: np.ndarray) -> Arrays:
    """Mean over the window, with or without the padding."""
    g = attrs.geometry
    maps, dst = _flat(src), _empty_output(g, src.dtype)
    for out, positions in _windows(g):
        dst[out] = maps[:, positions].sum(axis=1) / _divisor(attrs, positions)
    return (dst,)


@kernel(OpKind.average_pool_backward)
def average_pool_backward(attrs: PoolAttrs, ddst: np.ndarray) -> Arrays:
    """Each position gets its share of the gradient of each window over it."""
    g = attrs.geometry
    gradients = ddst.reshape(g.batch, *g.output, g.in_channels)
    dsrc = np.zeros((g.batch, prod(g.input), g.in_channels), ddst.dtype)
    for out, positions in _windows(g):
        share = gradients[out] / _divisor(attrs, positions)
        dsrc[:, positions] += share[:, None]
    return (dsrc,)


@kernel(OpKind.lp_pool)
def lp_pool(attrs: PoolAttrs, src: np.ndarray) -> Arrays:
    """(sum |x|^p)^(1/p); padding counts as 0."""
    g = attrs.geometry
    maps, dst = _flat(src), _empty_output(g, src.dtype)
    for out, positions in _windows(g):
        x = np.abs(maps[:, positions])
        largest = x.max(axis=1, initial=0)  # taken out, lest powers overflow
        ratio = np.divide(
            x, largest[:, None], out=np.ones_like(x), where=x != largest[:, None]
        )
        dst[out] = largest * (ratio**attrs.p).sum(axis=1) ** (1 / attrs.p)
    return (dst,)


@kernel(OpKind.lp_pool_backward)
def lp_pool_backward(
    attrs: PoolAttrs, ddst: np.ndarray, src: np.ndarray, dst: np.ndarray
) -> Arrays:
    """Gives ddst sign(x) (|x| / dst)^(p-1), and 0 where x or dst is 0."""
    g = attrs.geometry
    maps = _flat(src)
    shape = (g.batch, *g.output, g.in_channels)
    gradients, norms = ddst.reshape(shape), dst.reshape(shape)
    dsrc = np.zeros_like(maps)
    for out, positions in _windows(g):
        x, norm = maps[:, positions], norms[out][:, None]
        slope = np.sign(x) * (np.abs(x) / norm) ** (attrs.p - 1)
        share = gradients[out][:, None] * slope
        dsrc[:, positions] += np.where((norm == 0) | (x == 0), 0, share)
    return (dsrc,)
