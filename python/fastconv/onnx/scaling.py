"""Import of Resize: its many modes as one matrix an axis, or as our own resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import ops
from fastconv.onnx.known import LARGEST

__all__ = ["scaled"]

_LINES = {"nearest": "nearest", "linear": "bilinear", "bilinear": "bilinear"}


def scaled(x: Any, new: list[int], factors: list[float], node: Any, old: bool) -> Any:
    """``x`` (N ... C) with spatial axes of ``new`` sizes.

    old: a version without modes, which has "asymmetric" coordinates and "floor".
    """
    mode = node.attrs.get("mode", "nearest")
    if node.attrs.get("antialias", 0) or mode not in (*_LINES, "cubic"):
        raise node.error(f"mode {mode!r}, or antialias, is not supported")
    if max(*x.shape[1:-1], *new) ** 2 > LARGEST or min(new) < 1:
        raise node.error(f"sizes {new} of {x.shape[1:-1]}")
    matrices = [
        _matrix(n, m, factor, mode, node, old)
        for n, m, factor in zip(x.shape[1:-1], new, factors, strict=True)
    ]
    if mode in _LINES:
        name = _LINES[mode]
        same = [
            np.allclose(_own(n, m, name), matrix, atol=1e-6)
            for n, m, matrix in zip(x.shape[1:-1], new, matrices, strict=True)
        ]
        if all(same):
            return ops.resize(x, tuple(new), name)
    for axis, matrix in enumerate(matrices, 1):
        if not np.array_equal(matrix, np.eye(*matrix.shape)):
            moved = ops.matmul(ops.swapaxes(x, axis, -1), matrix.T)
            x = ops.swapaxes(moved, axis, -1)
    return x


def _own(n: int, m: int, interpolation: str) -> np.ndarray:
    """The matrix of `ops.resize`."""
    return ops.resize(np.eye(n, dtype=np.float32)[None], (m,), interpolation)[0]


def _matrix(
    n: int, m: int, factor: float, mode: str, node: Any, old: bool
) -> np.ndarray:
    """How ``m`` elements are made of ``n``; ONNX's operator Resize, version 19."""
    how = node.attrs.get("coordinate_transformation_mode", "half_pixel")
    x = _coordinates(n, m, factor, "asymmetric" if old else how, node)
    if mode == "nearest":
        rounding = "floor" if old else node.attrs.get("nearest_mode", "")
        pixel = _nearest(x, rounding)[:, None]
        weights = np.ones_like(pixel, float)
    else:
        first = np.floor(x).astype(int)
        t = (x - first)[:, None]
        if mode == "cubic":
            a = node.attrs.get("cubic_coeff_a", -0.75)
            pixel = first[:, None] + np.arange(-1, 3)
            weights = _cubic(np.abs(pixel - x[:, None]), a)
        else:
            pixel, weights = first[:, None] + np.arange(2), np.hstack([1 - t, t])
    if node.attrs.get("exclude_outside", 0):
        weights = np.where((pixel >= 0) & (pixel < n), weights, 0.0)
        weights /= weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((m, n))
    rows = np.broadcast_to(np.arange(m)[:, None], pixel.shape)
    np.add.at(matrix, (rows, np.clip(pixel, 0, n - 1)), weights)
    return matrix.astype(np.float32)


def _coordinates(n: int, m: int, factor: float, how: str, node: Any) -> np.ndarray:
    i = np.arange(m)
    if how == "align_corners":
        return i * (n - 1) / max(m - 1, 1)
    if how == "asymmetric":
        return i / factor
    if how == "half_pixel" or (how == "pytorch_half_pixel" and m > 1):
        return (i + 0.5) / factor - 0.5
    if how == "pytorch_half_pixel":
        return np.zeros(m)
    if how == "half_pixel_symmetric":
        shift = n / 2 * (1 - m / (factor * n))
        return shift + (i + 0.5) / factor - 0.5
    raise node.error(f"coordinate_transformation_mode {how!r} is not supported")


def _nearest(x: np.ndarray, rounding: str) -> np.ndarray:
    if rounding == "floor":
        return np.floor(x).astype(int)
    if rounding == "ceil":
        return np.ceil(x).astype(int)
    if rounding == "round_prefer_ceil":
        return np.floor(x + 0.5).astype(int)
    return np.ceil(x - 0.5).astype(int)


def _cubic(d: np.ndarray, a: float) -> np.ndarray:
    """Keys's cubic at a distance."""
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
