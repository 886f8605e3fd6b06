"""Reductions over axes: sum, mean, max, min, variance."""

from __future__ import annotations

from math import prod
from typing import Any

from fastconv._core import OpKind, ReduceAttrs, ReduceOp
from fastconv.errors import ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Shape, Spec, Tensor, emit, register, wide
from fastconv.graph.scope import who
from fastconv.operators import OPERATORS
from fastconv.ops.elementwise import equal, floating, square
from fastconv.ops.shape import broadcast_to, normal_axes, reshape


def _reduce(name: str, kind: ReduceOp, x: Any, axis: Any, keepdims: bool) -> Tensor:
    x = floating(name, x)
    axes = normal_axes(name, axis, x.ndim)
    if kind != ReduceOp.sum and prod(x.shape[i] for i in axes) == 0:
        raise ShapeError(
            f"{who(name)}: expected at least 1 element along axes {axes}, received "
            f"shape {x.shape}"
        )
    attrs = ReduceAttrs(op=kind, axes=sum_bits(axes))
    y = emit(OpKind.reduce, attrs, x)[0] if axes else x
    return reshape(y, kept_shape(x.shape, axes)) if keepdims else y


def sum_bits(axes: tuple[int, ...]) -> int:
    """The axes as a mask: bit i for axis i."""
    mask = 0
    for i in axes:
        mask |= 1 << i
    return mask


def kept_shape(shape: Shape, axes: tuple[int, ...]) -> Shape:
    """``shape`` with size 1 along ``axes``."""
    return tuple(1 if i in axes else s for i, s in enumerate(shape))


@op
def sum(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:  # noqa: A001
    """Sum over axes; 0 of nothing. The same bytes for every number of threads.

    Parameters
    ----------
    x: floating-point tensor of any shape.
    axis: a number or several; default all.
    keepdims: whether reduced axes stay, with size 1.

    Raises
    ------
    DtypeError for integers; ArgumentError for an axis that is not there.

    >>> import fastconv as fc
    >>> fc.ops.sum([[1.0, 2.0], [3.0, 4.0]], axis=0)
    array([4., 6.], dtype=float32)
    """
    return _reduce("sum", ReduceOp.sum, x, axis, keepdims)


@op
def mean(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Arithmetic mean over axes; arguments as in `sum`.

    Raises
    ------
    ShapeError if there is nothing to average.

    >>> import fastconv as fc
    >>> fc.ops.mean([[1.0, 2.0], [3.0, 4.0]], axis=-1, keepdims=True)
    array([[1.5],
           [3.5]], dtype=float32)
    """
    return _reduce("mean", ReduceOp.mean, x, axis, keepdims)


@op
def max(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:  # noqa: A001
    """Maximum over axes; NaN if one is NaN. Arguments as in `sum`.

    The gradient is shared equally among equal maxima.

    Raises
    ------
    ShapeError if there is nothing to compare.

    >>> import fastconv as fc
    >>> fc.ops.max([1.0, 3.0, 2.0])
    array(3., dtype=float32)
    """
    return _reduce("max", ReduceOp.max, x, axis, keepdims)


@op
def min(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:  # noqa: A001
    """Minimum over axes; NaN if one is NaN. Arguments as in `sum`.

    The gradient is shared equally among equal minima.

    Raises
    ------
    ShapeError if there is nothing to compare.

    >>> import fastconv as fc
    >>> fc.ops.min([1.0, 3.0, 2.0])
    array(1., dtype=float32)
    """
    return _reduce("min", ReduceOp.min, x, axis, keepdims)


@op
def variance(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Biased variance ``mean((x - mean(x))^2)``; arguments as in `sum`.

    Computed in two passes, so that a large mean costs no digits.

    >>> import fastconv as fc
    >>> fc.ops.variance([1.0, 3.0])
    array(1., dtype=float32)
    """
    x = floating("variance", x)
    return mean(square(x - mean(x, axis, True)), axis, keepdims)


def _axes(node: Node) -> tuple[int, ...]:
    return tuple(i for i in range(node.inputs[0].ndim) if node.attrs.axes >> i & 1)


def _shape(attrs: ReduceAttrs, x: Tensor) -> list[Spec]:
    kept = tuple(s for i, s in enumerate(x.shape) if not attrs.axes >> i & 1)
    return [(kept, wide(x.dtype))]


def _gradient(node: Node, dy: Tensor) -> list[Tensor]:
    x, kind, axes = node.inputs[0], node.attrs.op, _axes(node)
    kept = kept_shape(x.shape, axes)
    spread = reshape(OPERATORS["cast"](dy, x.dtype), kept)
    if kind == ReduceOp.sum:
        return [broadcast_to(spread, x.shape)]
    if kind == ReduceOp.mean:
        return [broadcast_to(spread * (1.0 / prod(x.shape[i] for i in axes)), x.shape)]
    hit = equal(x, reshape(OPERATORS["cast"](node.outputs[0], x.dtype), kept))
    count = OPERATORS["cast"](sum(hit, axes, True), x.dtype)
    return [hit * (spread / count)]


def _cost(node: Node) -> int:
    return node.inputs[0].size


register(OpKind.reduce, Rule(_shape, _gradient, _cost))
OPERATORS.update(sum=sum, mean=mean, max=max, min=min)
