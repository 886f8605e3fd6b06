"""Unary and binary ops, casts and filled arrays, by NumPy."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv._core import BinaryAttrs, BinaryOp, OpKind, UnaryAttrs, UnaryOp
from fastconv.reference.activation import erf
from fastconv.reference.registry import kernel

UNARY: dict[UnaryOp, Callable[[np.ndarray], np.ndarray]] = {
    UnaryOp.negative: np.negative,
    UnaryOp.absolute: np.abs,
    UnaryOp.exp: np.exp,
    UnaryOp.log: np.log,
    UnaryOp.sqrt: np.sqrt,
    UnaryOp.rsqrt: lambda x: 1 / np.sqrt(x),
    UnaryOp.square: np.square,
    UnaryOp.reciprocal: np.reciprocal,
    UnaryOp.sign: np.sign,
    UnaryOp.floor: np.floor,
    UnaryOp.round: np.round,
    UnaryOp.sin: np.sin,
    UnaryOp.cos: np.cos,
    UnaryOp.erf: erf,
    UnaryOp.is_finite: np.isfinite,
}

BINARY: dict[BinaryOp, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    BinaryOp.add: np.add,
    BinaryOp.subtract: np.subtract,
    BinaryOp.multiply: np.multiply,
    BinaryOp.divide: np.divide,
    BinaryOp.maximum: np.maximum,
    BinaryOp.minimum: np.minimum,
    BinaryOp.power: np.power,
    BinaryOp.equal: np.equal,
    BinaryOp.greater: np.greater,
    BinaryOp.greater_equal: np.greater_equal,
}


@kernel(OpKind.unary)
def unary(attrs: UnaryAttrs, src: np.ndarray) -> tuple[np.ndarray]:
    """f(src), in the dtype of src."""
    return (np.asarray(UNARY[attrs.op](src)).astype(src.dtype),)


@kernel(OpKind.binary)
def binary(attrs: BinaryAttrs, a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray]:
    """f(a, b), in the dtype of the operands; comparisons give 1 and 0."""
    return (np.asarray(BINARY[attrs.op](a, b)).astype(a.dtype),)


def _to_integer(value: float, low: int, high: int) -> int:
    if math.isnan(value):
        return 0
    if value >= high:
        return high
    return low if value <= low else int(value)


@kernel(OpKind.cast)
def cast(attrs: Any, src: np.ndarray) -> tuple[np.ndarray]:
    """Floating to integer saturates, NaN gives 0; all else as NumPy casts."""
    dtype = np.dtype(attrs.dtype)
    if src.dtype.kind != "f" or dtype.kind not in "iu":
        return (src.astype(dtype),)
    info = np.iinfo(dtype)
    ends = int(info.min), int(info.max)
    numbers = [_to_integer(value, *ends) for value in src.reshape(-1).tolist()]
    return (np.array(numbers, dtype).reshape(src.shape),)


@kernel(OpKind.fill)
def fill(attrs: Any) -> tuple[np.ndarray]:
    """One value everywhere."""
    return (np.full(attrs.shape, attrs.native.value).astype(attrs.dtype),)


@kernel(OpKind.select)
def select(
    _attrs: None, condition: np.ndarray, a: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray]:
    """One of two values an element."""
    return (np.where(condition != 0, a, b),)


@kernel(OpKind.copy)
def copy(_attrs: None, src: np.ndarray) -> tuple[np.ndarray]:
    """The same values in memory of their own."""
    return (src.copy(),)
