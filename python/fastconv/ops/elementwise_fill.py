"""Arrays filled with a value, and copies that gradients do not pass."""

from __future__ import annotations

from typing import Any

from fastconv._core import FillAttrs, OpKind
from fastconv.errors import ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Spec, Tensor, dtype_name, emit, register
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor
from fastconv.ops.shape import Target, free, sizes_of, target_spec


@op
def stop_gradient(x: Any) -> Tensor:
    """``x``, as a constant for `fastconv.grad`.

    >>> import fastconv as fc
    >>> f = fc.function(lambda x: fc.grad(x * fc.ops.stop_gradient(x), x))
    >>> f([3.0])
    array([3.], dtype=float32)
    """
    return emit(OpKind.copy, None, as_tensor(x))[0]


@op
def full(shape: Any, fill_value: float, dtype: Any = "float32") -> Tensor:
    """An array of ``shape`` that holds ``fill_value`` everywhere.

    >>> import fastconv as fc
    >>> fc.ops.full((2,), 7)
    array([7., 7.], dtype=float32)
    """
    sizes = tuple(sizes_of("full", shape))
    if min(sizes, default=0) < 0:
        raise ShapeError(f"{who('full')}: expected sizes >= 0, received {shape}")
    native = FillAttrs(value=float(fill_value))
    return emit(OpKind.fill, Target(sizes, dtype_name(dtype), native))[0]


@op
def zeros(shape: Any, dtype: Any = "float32") -> Tensor:
    """An array of zeros.

    >>> import fastconv as fc
    >>> fc.ops.zeros((2,))
    array([0., 0.], dtype=float32)
    """
    return full(shape, 0.0, dtype)


@op
def ones(shape: Any, dtype: Any = "float32") -> Tensor:
    """An array of ones.

    >>> import fastconv as fc
    >>> fc.ops.ones((2,))
    array([1., 1.], dtype=float32)
    """
    return full(shape, 1.0, dtype)


@op
def zeros_like(x: Any, dtype: Any = None) -> Tensor:
    """Zeros of the shape of ``x``, and of its dtype unless one is given.

    >>> import fastconv as fc
    >>> fc.ops.zeros_like([5.0])
    array([0.], dtype=float32)
    """
    x = as_tensor(x)
    return full(x.shape, 0.0, dtype or x.dtype)


@op
def ones_like(x: Any, dtype: Any = None) -> Tensor:
    """Ones of the shape of ``x``, and of its dtype unless one is given.

    >>> import fastconv as fc
    >>> fc.ops.ones_like([5.0])
    array([1.], dtype=float32)
    """
    x = as_tensor(x)
    return full(x.shape, 1.0, dtype or x.dtype)


def _same_spec(attrs: None, x: Tensor) -> list[Spec]:
    return [(x.shape, x.dtype)]


def _no_gradient(node: Node, *_dy: Tensor) -> list[Tensor | None]:
    return [None] * len(node.inputs)


register(OpKind.fill, Rule(target_spec, _no_gradient, free))
register(OpKind.copy, Rule(_same_spec, _no_gradient, free))
