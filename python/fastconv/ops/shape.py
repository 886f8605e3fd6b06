"""Ops that only move data: reshape, transpose, broadcast; what all of them share.

Slices, padding and concatenation are in shape_slice.py.
"""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from fastconv._core import (
    MAX_RANK,
    OpKind,
    TransposeAttrs,
)
from fastconv.errors import ArgumentError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Shape, Spec, Tensor, emit, register
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor
from fastconv.operators import OPERATORS


@dataclass(frozen=True)
class Target:
    """Attributes of an op whose result no struct describes: its shape and dtype too."""

    shape: Shape
    dtype: str
    native: Any = None

    def to_bytes(self) -> bytes:
        """What the kernel reads."""
        return b"" if self.native is None else self.native.to_bytes()


def normal_axis(name: str, axis: Any, ndim: int) -> int:
    """``axis`` counted from the front."""
    if isinstance(axis, bool) or not isinstance(axis, int | np.integer):
        raise ArgumentError(f"{who(name)}: expected an axis number, received {axis!r}")
    if not -ndim <= axis < ndim:
        raise ArgumentError(
            f"{who(name)}: expected an axis from {-ndim} to {ndim - 1} for a tensor of "
            f"{ndim} axes, received {axis}"
        )
    return int(axis) % ndim


def normal_axes(name: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """The axes of ``axis`` (None: all, a number, or several), sorted."""
    if axis is None:
        return tuple(range(ndim))
    given = axis if isinstance(axis, list | tuple) else (axis,)
    axes = sorted(normal_axis(name, a, ndim) for a in given)
    if len(set(axes)) < len(axes):
        raise ArgumentError(f"{who(name)}: expected different axes, received {axis}")
    return tuple(axes)


def _check_rank(name: str, rank: int) -> None:
    if rank > MAX_RANK:
        raise ShapeError(
            f"{who(name)}: expected at most {MAX_RANK} axes, received {rank}"
        )


def fill_out(values: Sequence[int], rest: int) -> list[int]:
    """``values`` as long as the arrays of an attribute struct."""
    return [*map(int, values), *[rest] * (MAX_RANK - len(values))]


def sizes_of(name: str, shape: Any) -> list[int]:
    """The numbers of a shape."""
    given = shape if isinstance(shape, list | tuple) else (shape,)
    try:
        return [int(np.asarray(size).item()) for size in given]
    except (TypeError, ValueError):
        raise ArgumentError(
            f"{who(name)}: expected a shape of whole numbers, received {shape!r:.80}"
        ) from None


@op
def reshape(x: Any, newshape: Any) -> Tensor:
    """The same elements, in row-major order, as an array of another shape.

    Parameters
    ----------
    x: any shape.
    newshape: the new sizes; one may be -1 and is then computed from the others.

    Raises
    ------
    ShapeError if the number of elements differs.

    >>> import fastconv as fc
    >>> fc.ops.reshape([1.0, 2.0, 3.0, 4.0], (2, -1))
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """
    x = as_tensor(x)
    sizes = sizes_of("reshape", newshape)
    _check_rank("reshape", len(sizes))
    known = prod(s for s in sizes if s != -1)
    bad = (
        builtins.sum(s == -1 for s in sizes) > 1 or builtins.min(sizes, default=0) < -1
    )
    if not bad and -1 in sizes:
        bad = known == 0 or x.size % known != 0
        sizes = [x.size // (known or 1) if s == -1 else s for s in sizes]
    if bad or prod(sizes) != x.size:
        raise ShapeError(
            f"{who('reshape')}: expected a shape of {x.size} elements like {x.shape} "
            f"(one size may be -1), received {newshape}"
        )
    shape = tuple(sizes)
    return x if shape == x.shape else emit(OpKind.reshape, Target(shape, x.dtype), x)[0]


@op
def flatten(x: Any) -> Tensor:
    """All axes but the first as one: shape (N, ...) becomes (N, product of the rest).

    Raises
    ------
    ShapeError if ``x`` has no axes.

    >>> import fastconv as fc
    >>> fc.ops.flatten(fc.ops.zeros((2, 3, 4))).shape
    (2, 12)
    """
    x = as_tensor(x)
    if x.ndim == 0:
        raise ShapeError(
            f"{who('flatten')}: expected at least 1 axis, received shape ()"
        )
    return reshape(x, (x.shape[0], prod(x.shape[1:])))


@op
def expand_dims(x: Any, axis: Any) -> Tensor:
    """A new axis of size 1 at position ``axis`` of the result (or at several).

    >>> import fastconv as fc
    >>> fc.ops.expand_dims([1.0, 2.0], -1).shape
    (2, 1)
    """
    x = as_tensor(x)
    count = len(axis) if isinstance(axis, list | tuple) else 1
    axes = normal_axes("expand_dims", axis, x.ndim + count)
    rest = iter(x.shape)
    return reshape(x, [1 if i in axes else next(rest) for i in range(x.ndim + count)])


@op
def squeeze(x: Any, axis: Any = None) -> Tensor:
    """Without the axes ``axis``, which must be of size 1; default: all such axes.

    Raises
    ------
    ShapeError if an axis is of another size.

    >>> import fastconv as fc
    >>> fc.ops.squeeze([[1.0, 2.0]]).shape
    (2,)
    """
    x = as_tensor(x)
    if axis is None:
        return reshape(x, [s for s in x.shape if s != 1])
    axes = normal_axes("squeeze", axis, x.ndim)
    if any(x.shape[i] != 1 for i in axes):
        raise ShapeError(
            f"{who('squeeze')}: expected axes {axes} to be of size 1, received shape "
            f"{x.shape}"
        )
    return reshape(x, [s for i, s in enumerate(x.shape) if i not in axes])


@op
def transpose(x: Any, axes: Any = None) -> Tensor:
    """Permuted axes: axis i of the result is axis ``axes[i]`` of ``x``.

    axes: a permutation; default: the axes in reverse.

    Raises
    ------
    ArgumentError if ``axes`` is no permutation of x's axes.

    >>> import fastconv as fc
    >>> fc.ops.transpose([[1.0, 2.0]])
    array([[1.],
           [2.]], dtype=float32)
    """
    x = as_tensor(x)
    given = tuple(reversed(range(x.ndim))) if axes is None else tuple(axes)
    order = [normal_axis("transpose", a, x.ndim) for a in given]
    if sorted(order) != list(range(x.ndim)):
        raise ArgumentError(
            f"{who('transpose')}: expected a permutation of the {x.ndim} axes of shape "
            f"{x.shape}, received {axes}"
        )
    if order == list(range(x.ndim)):
        return x
    attrs = TransposeAttrs(permutation=fill_out(order, 0))
    return emit(OpKind.transpose, attrs, x)[0]


@op
def permute(x: Any, axes: Any) -> Tensor:
    """`transpose` under its other name.

    >>> import fastconv as fc
    >>> fc.ops.permute(fc.ops.zeros((2, 3)), (1, 0)).shape
    (3, 2)
    """
    return transpose(x, axes)


@op
def moveaxis(x: Any, source: Any, destination: Any) -> Tensor:
    """Axis ``source`` moved to position ``destination`` (numbers, or as many each).

    >>> import fastconv as fc
    >>> fc.ops.moveaxis(fc.ops.zeros((2, 3, 4)), -1, 1).shape
    (2, 4, 3)
    """
    x = as_tensor(x)
    pairs = []
    for axes in (source, destination):
        given = axes if isinstance(axes, list | tuple) else (axes,)
        pairs.append([normal_axis("moveaxis", a, x.ndim) for a in given])
    if any(len(set(a)) < len(a) for a in pairs) or len(pairs[0]) != len(pairs[1]):
        raise ArgumentError(
            f"{who('moveaxis')}: expected as many different sources as destinations, "
            f"received {source} and {destination}"
        )
    order = [i for i in range(x.ndim) if i not in pairs[0]]
    for to, axis in sorted(zip(pairs[1], pairs[0], strict=True)):
        order.insert(to, axis)
    return transpose(x, order)


@op
def broadcast_to(x: Any, shape: Any) -> Tensor:
    """``x`` repeated along new leading axes and along axes of size 1, as in NumPy.

    Raises
    ------
    ShapeError if the shapes do not fit.

    >>> import fastconv as fc
    >>> fc.ops.broadcast_to([1.0, 2.0], (2, 2))
    array([[1., 2.],
           [1., 2.]], dtype=float32)
    """
    x = as_tensor(x)
    sizes = tuple(sizes_of("broadcast_to", shape))
    _check_rank("broadcast_to", len(sizes))
    aligned = (1,) * (len(sizes) - x.ndim) + x.shape
    if len(aligned) != len(sizes) or any(
        a not in (1, s) or s < 0 for a, s in zip(aligned, sizes, strict=True)
    ):
        raise ShapeError(
            f"{who('broadcast_to')}: expected a shape that {x.shape} can be repeated "
            f"to, received {shape}"
        )
    return (
        x if sizes == x.shape else emit(OpKind.broadcast, Target(sizes, x.dtype), x)[0]
    )


def sum_to(dy: Tensor, shape: Shape) -> Tensor:
    """The gradient of an operand that was broadcast: summed over what was repeated."""
    if dy.shape == shape:
        return dy
    lead = dy.ndim - len(shape)
    axes = [
        i
        for i, s in enumerate(dy.shape)
        if i < lead or (shape[i - lead] == 1 and s != 1)
    ]
    return reshape(OPERATORS["sum"](dy, axis=axes) if axes else dy, shape)


def target_spec(attrs: Target, *_inputs: Tensor) -> list[Spec]:
    """The shape rule of an op whose attributes are a Target."""
    return [(attrs.shape, attrs.dtype)]


def _transpose_shape(attrs: TransposeAttrs, x: Tensor) -> list[Spec]:
    return [(tuple(x.shape[i] for i in attrs.permutation[: x.ndim]), x.dtype)]


def _reshape_gradient(node: Node, dy: Tensor) -> list[Tensor]:
    return [reshape(dy, node.inputs[0].shape)]


def _broadcast_gradient(node: Node, dy: Tensor) -> list[Tensor]:
    return [sum_to(dy, node.inputs[0].shape)]


def _transpose_gradient(node: Node, dy: Tensor) -> list[Tensor]:
    order = node.attrs.permutation[: dy.ndim]
    return [transpose(dy, [order.index(i) for i in range(dy.ndim)])]


def free(node: Node) -> int:
    """Moving data is no arithmetic."""
    return 0


register(OpKind.reshape, Rule(target_spec, _reshape_gradient, free))
register(OpKind.broadcast, Rule(target_spec, _broadcast_gradient, free))
register(OpKind.transpose, Rule(_transpose_shape, _transpose_gradient, free))
OPERATORS.update(reshape=reshape, broadcast_to=broadcast_to, transpose=transpose)
