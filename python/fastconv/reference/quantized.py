"""Quantised arrays: sums in 64-bit integers, cut to 32, and float32 after them."""

from __future__ import annotations

import numpy as np

from fastconv._core import (
    ConvAttrs,
    OpKind,
    PoolAttrs,
    Quantization,
    QuantizedConvAttrs,
    QuantizedPoolAttrs,
    Requantization,
)
from fastconv.reference.conv import conv
from fastconv.reference.pool import average_pool
from fastconv.reference.registry import kernel

Arrays = tuple[np.ndarray, ...]


def _above(q: np.ndarray, of: Quantization) -> np.ndarray:
    return q.astype(np.float32) - np.float32(of.zero_point)


def _ratio(of: Quantization, to: Quantization) -> np.float32:
    return np.float32(of.scale) / np.float32(to.scale)


@kernel(OpKind.quantize)
def quantize(attrs: Quantization, src: np.ndarray) -> Arrays:
    """Round half to even, as np.rint does."""
    steps = src.astype(np.float32) / np.float32(attrs.scale)
    q = np.clip(np.rint(steps) + attrs.zero_point, 0, 255)
    return (np.where(np.isnan(q), 0, q).astype(np.uint8),)


@kernel(OpKind.dequantize)
def dequantize(attrs: Quantization, src: np.ndarray) -> Arrays:
    """Scale (q - zero_point)."""
    return (_above(src, attrs) * np.float32(attrs.scale),)


def _finish(to: Requantization, x: np.ndarray, added: Arrays) -> Arrays:
    """What becomes of x, a float32 in steps of the result."""
    for a in added:
        x = x + _above(a, to.add) * _ratio(to.add, to.dst)
    x = np.clip(x, np.float32(to.low), np.float32(to.high))
    return (x,) if to.real else ((np.rint(x) + to.dst.zero_point).astype(np.uint8),)


@kernel(OpKind.requantize)
def requantize(attrs: Requantization, src: np.ndarray, *added: np.ndarray) -> Arrays:
    """One or two arrays at another scale."""
    steps = _above(src, attrs.src) * _ratio(attrs.src, attrs.dst)
    return _finish(attrs, steps, added)


@kernel(OpKind.quantized_conv)
def quantized_conv(
    attrs: QuantizedConvAttrs,
    src: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray,
    scales: np.ndarray,
    *added: np.ndarray,
) -> Arrays:
    """A convolution of integers."""
    to, above = attrs.to, src.astype(np.int64) - attrs.to.src.zero_point
    plain = ConvAttrs(geometry=attrs.geometry)
    (sums,) = conv(plain, above, weights.astype(np.int64))
    sums = (sums + bias).astype(np.int32).astype(np.float32)
    shaped = tuple(a.reshape(sums.shape) for a in added)
    multiplier = scales.astype(np.float32) * _ratio(to.src, to.dst)
    return _finish(to, sums * multiplier, shaped)


@kernel(OpKind.quantized_average_pool)
def quantized_average_pool(attrs: QuantizedPoolAttrs, src: np.ndarray) -> Arrays:
    """The mean of integers, divided in float32."""
    plain = PoolAttrs(
        geometry=attrs.geometry, count_include_pad=attrs.count_include_pad
    )
    (mean,) = average_pool(plain, _above(src, attrs.to.src))
    return _finish(attrs.to, mean * _ratio(attrs.to.src, attrs.to.dst), ())
