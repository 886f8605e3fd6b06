"""Scaling of images, sequences and volumes: one axis after the other.

What a filter means is a table of weights for each axis, of `fastconv.resampling`;
kernels only weigh and sum. The gradient is the same operation with the table
transposed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv._core import OpKind, ResizeAttrs
from fastconv.errors import ArgumentError, ShapeError, unknown_name
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Spec, Tensor, emit, register
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor, constant
from fastconv.ops.elementwise import cast
from fastconv.resampling import INTERPOLATIONS, Table, scaling_table

__all__ = ["INTERPOLATIONS", "resize"]


@op
def resize(
    x: Any, size: Any, interpolation: str = "bilinear", antialias: bool = False
) -> Tensor:
    """Scales the spatial axes to ``size``; pixel centres lie at halves, as in Keras.

    Formula, for each spatial axis of ``n`` pixels that becomes one of ``m``::

        y[i] = sum over j of w[i, j] x[j],   w[i, j] = k((j - c[i]) / f) / (their sum)
        c[i] = (i + 1/2) n / m - 1/2,   f = max(n / m, 1) if antialias else 1

    with the triangle for "bilinear", Keys's cubic (a = -1/2) for "bicubic", and
    windowed sinc of radius 3 or 5 for "lanczos3" and "lanczos5"; pixels beyond the
    border take no part. "nearest" is ``x[floor((i + 1/2) n / m)]``, "area" the mean of
    the source over ``[i n / m, (i + 1) n / m)``; ``antialias`` does not change them.

    Parameters
    ----------
    x: (N, ..., C) or (..., C) with as many spatial axes as ``size`` has numbers;
        integers become float32.
    size: the new sizes, 1 to 3 of them: (height, width) for images.
    interpolation: "nearest", "bilinear" (default), "bicubic", "area", "lanczos3" or
        "lanczos5".
    antialias: widen the filter where the image shrinks, so that every pixel counts;
        default False.

    Returns
    -------
    Tensor of the shape of ``x`` with its spatial axes of ``size``.

    Raises
    ------
    ArgumentError for sizes that are not 1 to 3 integers >= 1; ShapeError for an ``x``
    of too few axes, or without pixels; UnknownNameError for another interpolation.

    Turkowski, "Filters for common resampling tasks", Graphics Gems I (1990).

    >>> import fastconv as fc
    >>> fc.ops.resize([[[0.0], [4.0]]], (4,))[0, :, 0]
    array([0., 1., 3., 4.], dtype=float32)
    """
    x, sizes = as_tensor(x), _sizes(size)
    if interpolation not in INTERPOLATIONS:
        raise unknown_name("interpolation", interpolation, list(INTERPOLATIONS))
    first = x.ndim - 1 - len(sizes)
    if first < 0 or min(x.shape[first:-1]) < 1:
        raise ShapeError(
            f"{who('resize')}: expected {len(sizes)} spatial axes of 1 pixel or more "
            f"and channels, received shape {x.shape}"
        )
    x = x if "float" in x.dtype else cast(x, "float32")
    # What shrinks most goes first, so that the rest has less to do.
    for axis in sorted(
        range(first, x.ndim - 1), key=lambda a: sizes[a - first] / x.shape[a]
    ):
        n, m = x.shape[axis], sizes[axis - first]
        if n != m:
            x = _along(x, axis, scaling_table(n, m, interpolation, bool(antialias)))
    return x


def _sizes(size: Any) -> tuple[int, ...]:
    given = size if isinstance(size, list | tuple) else (size,)
    good = all(hasattr(n, "__index__") and not isinstance(n, bool) for n in given)
    if not good or not 1 <= len(given) <= 3 or min(given) < 1:
        raise ArgumentError(
            f"{who('resize')}: expected size, 1 to 3 integers >= 1, received {size!r}"
        )
    return tuple(int(n) for n in given)


def _along(x: Tensor, axis: int, table: Table) -> Tensor:
    ranges = constant(table.ranges, "int32")
    weights = constant(table.weights, x.dtype)
    return emit(OpKind.resize, ResizeAttrs(axis=axis), x, ranges, weights)[0]


def _transposed(table: Table, n: int) -> Table:
    """How the ``n`` elements of the source are made of those of the result."""
    used = np.arange(table.weights.shape[1]) < table.ranges[:, 1:]
    row, tap = np.nonzero(used)
    column = table.ranges[row, 0] + tap
    first = np.full(n, len(table.ranges))
    np.minimum.at(first, column, row)
    last = np.full(n, -1)
    np.maximum.at(last, column, row)
    count = np.maximum(last - first + 1, 0)
    weights = np.zeros((n, max(int(count.max()), 1)), table.weights.dtype)
    weights[column, row - first[column]] = table.weights[row, tap]
    first = np.where(count > 0, first, 0)
    return Table(np.stack([first, count], axis=1).astype(np.int32), weights)


def _shape(
    attrs: ResizeAttrs, src: Tensor, ranges: Tensor, _weights: Tensor
) -> list[Spec]:
    shape = list(src.shape)
    shape[attrs.axis] = ranges.shape[0]
    return [(tuple(shape), src.dtype)]


def _gradient(node: Node, ddst: Tensor) -> list[Tensor | None]:
    src, ranges, weights = node.inputs
    table = Table(ranges.node.payload, weights.node.payload)  # constants, always
    axis = node.attrs.axis
    return [_along(ddst, axis, _transposed(table, src.shape[axis])), None, None]


register(OpKind.resize, Rule(_shape, _gradient))
