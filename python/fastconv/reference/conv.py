"""Convolution, one tap of the kernel at a time."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np

from fastconv._core import ConvAttrs, OpKind, WindowGeometry
from fastconv.reference.activation import epilogue
from fastconv.reference.norm import statistics
from fastconv.reference.registry import kernel

Slices = tuple[slice, slice, slice]


def _span(g: WindowGeometry, axis: int, tap: int) -> tuple[slice, slice]:
    """The inputs that a tap meets along an axis, and the outputs that it makes."""
    stride, offset = g.stride[axis], tap * g.dilation[axis] - g.pad_before[axis]
    hits = [
        o for o in range(g.output[axis]) if 0 <= o * stride + offset < g.input[axis]
    ]
    if not hits:
        return slice(0, 0), slice(0, 0)
    first, last = hits[0] * stride + offset, hits[-1] * stride + offset
    return slice(first, last + 1, stride), slice(hits[0], hits[-1] + 1)


def _taps(g: WindowGeometry) -> Iterator[tuple[tuple[int, ...], Slices, Slices]]:
    """Each tap of the kernel with the inputs and the outputs that it connects."""
    for tap in product(*map(range, g.kernel)):
        spans = [_span(g, axis, position) for axis, position in enumerate(tap)]
        (d, o), (h, p), (w, q) = spans
        yield tap, (d, h, w), (o, p, q)


def _src(g: WindowGeometry, array: np.ndarray) -> np.ndarray:
    per_group = g.in_channels // g.groups
    return array.reshape(g.batch, *g.input, g.groups, per_group)


def _dst(g: WindowGeometry, array: np.ndarray) -> np.ndarray:
    per_group = g.out_channels // g.groups
    return array.reshape(g.batch, *g.output, g.groups, per_group)


def _weights(g: WindowGeometry, array: np.ndarray) -> np.ndarray:
    groups = (g.in_channels // g.groups, g.groups, g.out_channels // g.groups)
    return array.reshape(*g.kernel, *groups)


@kernel(OpKind.conv)
def conv(
    attrs: ConvAttrs, src: np.ndarray, weights: np.ndarray, *operands: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Each output adds what each tap sees, times its weights."""
    g = attrs.geometry
    x, w = _src(g, src), _weights(g, weights)
    dst = np.zeros((g.batch, *g.output, g.out_channels), src.dtype)
    y = _dst(g, dst)
    for tap, seen, made in _taps(g):
        y[:, *made] += np.einsum("...gc,cgk->...gk", x[:, *seen], w[tap])
    dst = epilogue(attrs.epilogue, dst, *operands)
    if attrs.statistics:
        return (dst, *statistics(dst, attrs.epsilon))
    return (_max_pool(dst) if attrs.max_pool else dst,)


def _max_pool(map_: np.ndarray) -> np.ndarray:
    n, o, p, q, k = map_.shape
    whole = map_[:, :, : p // 2 * 2, : q // 2 * 2]
    return whole.reshape(n, o, p // 2, 2, q // 2, 2, k).max(axis=(3, 5))


@kernel(OpKind.conv_backward_data)
def conv_backward_data(
    attrs: ConvAttrs, ddst: np.ndarray, weights: np.ndarray, *operands: np.ndarray
) -> tuple[np.ndarray]:
    """Each output hands its gradient to what each tap saw, times its weights."""
    g = attrs.geometry
    dy, w = _dst(g, ddst), _weights(g, weights)
    dsrc = np.zeros((g.batch, *g.input, g.in_channels), ddst.dtype)
    dx = _src(g, dsrc)
    for tap, seen, made in _taps(g):
        dx[:, *seen] += np.einsum("...gk,cgk->...gc", dy[:, *made], w[tap])
    return (epilogue(attrs.epilogue, dsrc, *operands),)


@kernel(OpKind.conv_backward_weights)
def conv_backward_weights(
    attrs: ConvAttrs, src: np.ndarray, ddst: np.ndarray
) -> tuple[np.ndarray]:
    """Each tap's weights get the gradients of all outputs, times what it saw."""
    g = attrs.geometry
    x, dy = _src(g, src), _dst(g, ddst)
    shape = (*g.kernel, g.in_channels // g.groups, g.out_channels)
    dweights = np.zeros(shape, src.dtype)
    dw = _weights(g, dweights)
    for tap, seen, made in _taps(g):
        dw[tap] = np.einsum("nopqgc,nopqgk->cgk", x[:, *seen], dy[:, *made])
    return (dweights,)
