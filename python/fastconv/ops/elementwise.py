"""Ops element by element, with NumPy's broadcasting; casts.

Filled arrays are in elementwise_fill.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv._core import BinaryAttrs, BinaryOp, OpKind, UnaryAttrs, UnaryOp
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Leaf, Node, Rule, Spec, Tensor, dtype_name, emit, register
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor, operand
from fastconv.operators import OPERATORS
from fastconv.ops.shape import Target, free, sum_to, target_spec

FLOATING = ("float64", "float32", "bfloat16", "float16")


def floating(name: str, x: Any) -> Tensor:
    """``x`` as a tensor, which must hold floating-point numbers."""
    x = as_tensor(x)
    if x.dtype not in FLOATING:
        raise DtypeError(
            f"{who(name)}: expected floating-point numbers, received {x.dtype}"
            f"{list(x.shape)}; use fastconv.ops.cast(x, 'float32')"
        )
    return x


def _unary(name: str, kind: UnaryOp, x: Any) -> Tensor:
    return emit(OpKind.unary, UnaryAttrs(op=kind), floating(name, x))[0]


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float | np.number) and not isinstance(x, np.ndarray)


def _operands(name: str, a: Any, b: Any) -> tuple[Tensor, Tensor]:
    """Both operands in one dtype: numbers follow the tensor, integers follow floats."""
    if _is_number(a) and not _is_number(b):
        y, x = _operands(name, b, a)
        return x, y
    a = as_tensor(a)
    if _is_number(b):
        if a.dtype not in FLOATING:
            a = cast(a, "float32" if isinstance(b, float | np.floating) else "int64")
        return a, operand(b, a.dtype)
    b = as_tensor(b)
    kinds = {t.dtype for t in (a, b)}
    floats = kinds & set(FLOATING)
    if len(floats) > 1:
        raise DtypeError(
            f"{who(name)}: expected operands of one dtype, received {a.dtype} and "
            f"{b.dtype}; cast one of them"
        )
    common = floats.pop() if floats else "int64"
    return cast(a, common), cast(b, common)


def _binary(name: str, kind: BinaryOp, a: Any, b: Any) -> Tensor:
    a, b = _operands(name, a, b)
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        raise ShapeError(
            f"{who(name)}: expected shapes that can be broadcast to each other, "
            f"received {a.shape} and {b.shape}"
        ) from None
    return emit(OpKind.binary, BinaryAttrs(op=kind), a, b)[0]


@op
def add(x1: Any, x2: Any) -> Tensor:
    """``x1 + x2``, with NumPy's broadcasting.

    All binary ops take tensors, arrays or numbers of shapes that can be broadcast. A
    number takes the dtype of the other operand; an integer tensor that meets a
    floating-point one is cast to its dtype; among integers the result is int64.

    Raises
    ------
    ShapeError if the shapes do not fit; DtypeError for two different floating dtypes.

    >>> import fastconv as fc
    >>> fc.ops.add([1.0, 2.0], 1)
    array([2., 3.], dtype=float32)
    """
    return _binary("add", BinaryOp.add, x1, x2)


@op
def subtract(x1: Any, x2: Any) -> Tensor:
    """``x1 - x2``; operands as in `add`.

    >>> import fastconv as fc
    >>> fc.ops.subtract([1.0, 2.0], 1)
    array([0., 1.], dtype=float32)
    """
    return _binary("subtract", BinaryOp.subtract, x1, x2)


@op
def multiply(x1: Any, x2: Any) -> Tensor:
    """``x1 * x2``, element by element; operands as in `add`.

    >>> import fastconv as fc
    >>> fc.ops.multiply([1.0, 2.0], 3)
    array([3., 6.], dtype=float32)
    """
    return _binary("multiply", BinaryOp.multiply, x1, x2)


@op
def divide(x1: Any, x2: Any) -> Tensor:
    """``x1 / x2``; operands as in `add`, integers become float32.

    Division by 0 gives infinity or NaN, as IEEE 754 says.

    >>> import fastconv as fc
    >>> fc.ops.divide([1.0, 2.0], 2)
    array([0.5, 1. ], dtype=float32)
    """
    a, b = _operands("divide", x1, x2)
    if a.dtype not in FLOATING:
        a, b = cast(a, "float32"), cast(b, "float32")
    return _binary("divide", BinaryOp.divide, a, b)


@op
def maximum(x1: Any, x2: Any) -> Tensor:
    """The larger of ``x1`` and ``x2``; NaN if one is NaN. Operands as in `add`.

    Among equals the gradient goes to ``x1``.

    >>> import fastconv as fc
    >>> fc.ops.maximum([1.0, 3.0], 2)
    array([2., 3.], dtype=float32)
    """
    return _binary("maximum", BinaryOp.maximum, x1, x2)


@op
def minimum(x1: Any, x2: Any) -> Tensor:
    """The smaller of ``x1`` and ``x2``; NaN if one is NaN. Operands as in `add`.

    Among equals the gradient goes to ``x1``.

    >>> import fastconv as fc
    >>> fc.ops.minimum([1.0, 3.0], 2)
    array([1., 2.], dtype=float32)
    """
    return _binary("minimum", BinaryOp.minimum, x1, x2)


@op
def power(x1: Any, x2: Any) -> Tensor:
    """``x1`` to the power ``x2``; operands as in `add`, integers become float32.

    A negative base with a fractional exponent gives NaN; ``x ** 0`` is 1. With respect
    to the exponent the gradient is ``y log(x1)`` where x1 > 0, else 0.

    >>> import fastconv as fc
    >>> fc.ops.power([2.0, 3.0], 2)
    array([4., 9.], dtype=float32)
    """
    a, b = _operands("power", x1, x2)
    if a.dtype not in FLOATING:
        a, b = cast(a, "float32"), cast(b, "float32")
    if _is_number(x2) and x2 in _POWERS:
        return _POWERS[x2](a)
    return _binary("power", BinaryOp.power, a, b)


@op
def equal(x1: Any, x2: Any) -> Tensor:
    """1 where ``x1 == x2``, else 0, in the dtype of the operands (see `add`).

    NaN equals nothing. There is no gradient.

    >>> import fastconv as fc
    >>> fc.ops.equal([1.0, 2.0], 2)
    array([0., 1.], dtype=float32)
    """
    return _binary("equal", BinaryOp.equal, x1, x2)


@op
def greater(x1: Any, x2: Any) -> Tensor:
    """1 where ``x1 > x2``, else 0, in the dtype of the operands (see `add`).

    >>> import fastconv as fc
    >>> fc.ops.greater([1.0, 3.0], 2)
    array([0., 1.], dtype=float32)
    """
    return _binary("greater", BinaryOp.greater, x1, x2)


@op
def greater_equal(x1: Any, x2: Any) -> Tensor:
    """1 where ``x1 >= x2``, else 0, in the dtype of the operands (see `add`).

    >>> import fastconv as fc
    >>> fc.ops.greater_equal([1.0, 2.0], 2)
    array([0., 1.], dtype=float32)
    """
    return _binary("greater_equal", BinaryOp.greater_equal, x1, x2)


@op
def less(x1: Any, x2: Any) -> Tensor:
    """1 where ``x1 < x2``, else 0, in the dtype of the operands (see `add`).

    >>> import fastconv as fc
    >>> fc.ops.less([1.0, 2.0], 2)
    array([1., 0.], dtype=float32)
    """
    return _binary("less", BinaryOp.greater, x2, x1)


@op
def less_equal(x1: Any, x2: Any) -> Tensor:
    """1 where ``x1 <= x2``, else 0, in the dtype of the operands (see `add`).

    >>> import fastconv as fc
    >>> fc.ops.less_equal([1.0, 3.0], 2)
    array([1., 0.], dtype=float32)
    """
    return _binary("less_equal", BinaryOp.greater_equal, x2, x1)


@op
def where(condition: Any, x1: Any, x2: Any) -> Tensor:
    """``x1`` where the condition is not 0, else ``x2``.

    All three broadcast. A value that is not chosen has no part in the result, nor in
    the gradient, also if it is NaN or infinite.

    >>> import fastconv as fc
    >>> fc.ops.where([1.0, 0.0], [1.0, 2.0], 5.0)
    array([1., 5.], dtype=float32)
    """
    a, b = _operands("where", x1, x2)
    chosen = as_tensor(condition)
    if chosen.dtype != a.dtype:
        chosen = OPERATORS["cast"](chosen, a.dtype)
    try:
        shape = np.broadcast_shapes(chosen.shape, a.shape, b.shape)
    except ValueError:
        raise ShapeError(
            f"{who('where')}: expected shapes that broadcast, received {chosen.shape}, "
            f"{a.shape} and {b.shape}"
        ) from None
    operands = (OPERATORS["broadcast_to"](t, shape) for t in (chosen, a, b))
    return emit(OpKind.select, None, *operands)[0]


def _select_shape(_attrs: None, condition: Tensor, a: Tensor, b: Tensor) -> list[Spec]:
    return [(a.shape, a.dtype)]


def _select_gradient(node: Node, dy: Tensor) -> list[Tensor | None]:
    condition = node.inputs[0]
    return [None, where(condition, dy, 0.0), where(condition, 0.0, dy)]


@op
def clip(x: Any, x_min: Any, x_max: Any) -> Tensor:
    """``min(max(x, x_min), x_max)``; NaN stays. The gradient passes at the limits too.

    Raises
    ------
    ArgumentError if both limits are numbers and x_min > x_max.

    >>> import fastconv as fc
    >>> fc.ops.clip([-1.0, 0.5, 2.0], 0, 1)
    array([0. , 0.5, 1. ], dtype=float32)
    """
    if _is_number(x_min) and _is_number(x_max) and x_min > x_max:
        raise ArgumentError(
            f"{who('clip')}: expected x_min <= x_max, received {x_min} and {x_max}"
        )
    return minimum(maximum(x, x_min), x_max)


@op
def negative(x: Any) -> Tensor:
    """``-x``; integers become int64.

    >>> import fastconv as fc
    >>> fc.ops.negative([1.0, -2.0])
    array([-1.,  2.], dtype=float32)
    """
    x = as_tensor(x)
    if x.dtype not in FLOATING:
        return subtract(0, x)
    return _unary("negative", UnaryOp.negative, x)


@op
def abs(x: Any) -> Tensor:  # noqa: A001
    """``|x|``; integers become int64. The gradient at 0 is 0.

    >>> import fastconv as fc
    >>> fc.ops.abs([1.0, -2.0])
    array([1., 2.], dtype=float32)
    """
    x = as_tensor(x)
    if x.dtype not in FLOATING:
        return maximum(x, negative(x))
    return _unary("abs", UnaryOp.absolute, x)


@op
def exp(x: Any) -> Tensor:
    """``e^x``. DtypeError for integers, as in all ops below.

    >>> import fastconv as fc
    >>> fc.ops.exp([0.0])
    array([1.], dtype=float32)
    """
    return _unary("exp", UnaryOp.exp, x)


@op
def log(x: Any) -> Tensor:
    """Natural logarithm; -inf at 0, NaN below.

    >>> import fastconv as fc
    >>> fc.ops.log([1.0])
    array([0.], dtype=float32)
    """
    return _unary("log", UnaryOp.log, x)


@op
def sqrt(x: Any) -> Tensor:
    """Square root; NaN below 0.

    >>> import fastconv as fc
    >>> fc.ops.sqrt([4.0])
    array([2.], dtype=float32)
    """
    return _unary("sqrt", UnaryOp.sqrt, x)


@op
def rsqrt(x: Any) -> Tensor:
    """``1 / sqrt(x)``.

    >>> import fastconv as fc
    >>> fc.ops.rsqrt([4.0])
    array([0.5], dtype=float32)
    """
    return _unary("rsqrt", UnaryOp.rsqrt, x)


@op
def square(x: Any) -> Tensor:
    """``x * x``; integers become int64.

    >>> import fastconv as fc
    >>> fc.ops.square([3.0])
    array([9.], dtype=float32)
    """
    x = as_tensor(x)
    if x.dtype not in FLOATING:
        return multiply(x, x)
    return _unary("square", UnaryOp.square, x)


@op
def reciprocal(x: Any) -> Tensor:
    """``1 / x``.

    >>> import fastconv as fc
    >>> fc.ops.reciprocal([4.0])
    array([0.25], dtype=float32)
    """
    return _unary("reciprocal", UnaryOp.reciprocal, x)


@op
def sign(x: Any) -> Tensor:
    """-1, 0 or 1; NaN stays. No gradient; see `sign_ste` for the straight-through one.

    >>> import fastconv as fc
    >>> fc.ops.sign([-3.0, 0.0, 2.0])
    array([-1.,  0.,  1.], dtype=float32)
    """
    return _unary("sign", UnaryOp.sign, x)


@op
def floor(x: Any) -> Tensor:
    """The largest whole number that is not above ``x``. No gradient.

    >>> import fastconv as fc
    >>> fc.ops.floor([-0.5, 1.5])
    array([-1.,  1.], dtype=float32)
    """
    return _unary("floor", UnaryOp.floor, x)


@op
def round(x: Any) -> Tensor:  # noqa: A001
    """The nearest whole number, halves to the even one. No gradient.

    >>> import fastconv as fc
    >>> fc.ops.round([0.5, 1.5])
    array([0., 2.], dtype=float32)
    """
    return _unary("round", UnaryOp.round, x)


@op
def sin(x: Any) -> Tensor:
    """Sine of ``x`` in radians.

    >>> import fastconv as fc
    >>> fc.ops.sin([0.0])
    array([0.], dtype=float32)
    """
    return _unary("sin", UnaryOp.sin, x)


@op
def cos(x: Any) -> Tensor:
    """Cosine of ``x`` in radians.

    >>> import fastconv as fc
    >>> fc.ops.cos([0.0])
    array([1.], dtype=float32)
    """
    return _unary("cos", UnaryOp.cos, x)


@op
def erf(x: Any) -> Tensor:
    """Error function ``2 / sqrt(pi)`` times the integral of ``exp(-t^2)`` from 0 to x.

    >>> import fastconv as fc
    >>> fc.ops.erf([0.0])
    array([0.], dtype=float32)
    """
    return _unary("erf", UnaryOp.erf, x)


@op
def is_finite(x: Any) -> Tensor:
    """1 where ``x`` is neither infinite nor NaN, else 0. No gradient.

    >>> import fastconv as fc
    >>> fc.ops.is_finite([1.0, float("nan")])
    array([1., 0.], dtype=float32)
    """
    return _unary("is_finite", UnaryOp.is_finite, x)


@op
def cast(x: Any, dtype: Any) -> Tensor:
    """``x`` in another dtype.

    Floating-point numbers become integers by dropping the fraction; they saturate at
    the ends of the range, and NaN becomes 0. To bool: whether x is not 0.

    Raises
    ------
    DtypeError for an unknown dtype.

    >>> import fastconv as fc
    >>> fc.ops.cast([1.9, -300.0], "uint8")
    array([1, 0], dtype=uint8)
    """
    x = as_tensor(x)
    name = dtype_name(dtype)
    return x if name == x.dtype else emit(OpKind.cast, Target(x.shape, name), x)[0]


_POWERS: dict[float, Callable[[Tensor], Tensor]] = {
    1: lambda x: x, 2: square, 0.5: sqrt, -1: reciprocal, -0.5: rsqrt,
}  # fmt: skip

# What each unary op hands back, from dy, x and y; ops that are not here are flat.
_SLOPES: dict[UnaryOp, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    UnaryOp.negative: lambda dy, x, y: -dy,
    UnaryOp.absolute: lambda dy, x, y: dy * sign(x),
    UnaryOp.exp: lambda dy, x, y: dy * y,
    UnaryOp.log: lambda dy, x, y: dy / x,
    UnaryOp.sqrt: lambda dy, x, y: dy * 0.5 / y,
    UnaryOp.rsqrt: lambda dy, x, y: dy * -0.5 * y * square(y),
    UnaryOp.square: lambda dy, x, y: x * (dy * 2.0),
    UnaryOp.reciprocal: lambda dy, x, y: -(dy * square(y)),
    UnaryOp.sin: lambda dy, x, y: dy * cos(x),
    UnaryOp.cos: lambda dy, x, y: -(dy * sin(x)),
    UnaryOp.erf: lambda dy, x, y: dy * (2.0 / math.sqrt(math.pi)) * exp(-square(x)),
}


def _unary_gradient(node: Node, dy: Tensor) -> list[Tensor | None]:
    slope = _SLOPES.get(node.attrs.op)
    if slope is None:
        return [None]
    x = node.inputs[0]
    if dy.node.kind == OpKind.broadcast:  # of a sum: the product spreads it anyway
        dy = dy.node.inputs[0]
    return [OPERATORS["broadcast_to"](slope(dy, x, node.outputs[0]), x.shape)]


def _power_slopes(dy: Tensor, a: Tensor, b: Tensor, y: Tensor) -> list[Tensor | None]:
    """At exponent 0 the slope is 0 even where a is 0, hence the shifted exponent."""
    da = dy * b * power(a, b - 1.0 + equal(b, 0))
    if b.node.kind is Leaf.constant:
        return [da, None]
    positive = greater(a, 0)
    return [da, dy * y * positive * log(a * positive + (1.0 - positive))]


def _binary_slopes(node: Node, dy: Tensor) -> list[Tensor | None]:
    (a, b), kind = node.inputs, node.attrs.op
    if kind == BinaryOp.add:
        return [dy, dy]
    if kind == BinaryOp.subtract:
        return [dy, -dy]
    if kind == BinaryOp.multiply:
        return [dy * b, dy * a]
    if kind == BinaryOp.divide:
        da = dy / b
        return [da, -(da * node.outputs[0])]
    if kind in (BinaryOp.maximum, BinaryOp.minimum):
        first = greater_equal(a, b) if kind == BinaryOp.maximum else less_equal(a, b)
        return [dy * first, dy * (1.0 - first)]
    if kind == BinaryOp.power:
        return _power_slopes(dy, a, b, node.outputs[0])
    return [None, None]


def _binary_gradient(node: Node, dy: Tensor) -> list[Tensor | None]:
    return [
        None
        if slope is None or x.node.kind is Leaf.constant
        else sum_to(slope, x.shape)
        for x, slope in zip(node.inputs, _binary_slopes(node, dy), strict=True)
    ]


def _cast_gradient(node: Node, dy: Tensor) -> list[Tensor | None]:
    x = node.inputs[0]
    both = x.dtype in FLOATING and dy.dtype in FLOATING
    return [cast(dy, x.dtype) if both else None]


def _same_spec(attrs: Any, x: Tensor) -> list[Spec]:
    return [(x.shape, x.dtype)]


def _binary_shape(attrs: BinaryAttrs, a: Tensor, b: Tensor) -> list[Spec]:
    return [(np.broadcast_shapes(a.shape, b.shape), a.dtype)]


register(OpKind.unary, Rule(_same_spec, _unary_gradient))
register(OpKind.binary, Rule(_binary_shape, _binary_gradient))
register(OpKind.select, Rule(_select_shape, _select_gradient))
register(OpKind.cast, Rule(target_spec, _cast_gradient, free))
OPERATORS.update(
    add=add, subtract=subtract, multiply=multiply, divide=divide, power=power,
    negative=negative, abs=abs, greater=greater, greater_equal=greater_equal, less=less,
    less_equal=less_equal, rsqrt=rsqrt, equal=equal, maximum=maximum, minimum=minimum,
    square=square, cast=cast,
)  # fmt: skip
