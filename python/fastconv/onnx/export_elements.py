"""Export of what works element by element, and of what moves data."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from fastconv._core import Activation, BinaryOp, OpKind, ReduceOp, UnaryOp
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Node, Tensor
from fastconv.onnx.forms import permuted, to_first, to_last
from fastconv.onnx.writer import Writer, is_line
from fastconv.weights.onnx import proto

__all__ = ["RULES"]

_ACTIVATIONS = {
    Activation.relu: "Relu", Activation.selu: "Selu", Activation.sigmoid: "Sigmoid",
    Activation.tanh: "Tanh", Activation.softplus: "Softplus",
    Activation.softsign: "Softsign", Activation.sign: "Sign",
    Activation.identity: "Identity",
}  # fmt: skip
_SLOPES = {Activation.leaky_relu: "LeakyRelu", Activation.elu: "Elu"}
_LIMITS = {Activation.relu6: (0.0, 6.0), Activation.hard_tanh: (-1.0, 1.0)}
_UNARY = {
    UnaryOp.negative: "Neg", UnaryOp.absolute: "Abs", UnaryOp.exp: "Exp",
    UnaryOp.log: "Log", UnaryOp.sqrt: "Sqrt", UnaryOp.reciprocal: "Reciprocal",
    UnaryOp.sign: "Sign", UnaryOp.floor: "Floor", UnaryOp.round: "Round",
    UnaryOp.sin: "Sin", UnaryOp.cos: "Cos", UnaryOp.erf: "Erf",
}  # fmt: skip
_BINARY = {
    BinaryOp.add: "Add", BinaryOp.subtract: "Sub", BinaryOp.multiply: "Mul",
    BinaryOp.divide: "Div", BinaryOp.maximum: "Max", BinaryOp.minimum: "Min",
    BinaryOp.power: "Pow", BinaryOp.equal: "Equal", BinaryOp.greater: "Greater",
    BinaryOp.greater_equal: "GreaterOrEqual",
}  # fmt: skip
_COMPARISONS = (BinaryOp.equal, BinaryOp.greater, BinaryOp.greater_equal)
_REDUCE = {
    ReduceOp.sum: "ReduceSum", ReduceOp.mean: "ReduceMean", ReduceOp.max: "ReduceMax",
    ReduceOp.min: "ReduceMin",
}  # fmt: skip
_BOOL = proto.TYPE_NUMBERS["bool"]


# Element by element -------------------------------------------------------------------


def _follows_first(w: Writer, node: Node) -> bool:
    """Whether to compute channels first: an operand is so, and all others can be."""
    rank = node.outputs[0].ndim
    moving = [t for t in node.inputs if t not in w.arrays]
    return all(t.ndim == rank for t in moving) and any(map(w.is_first, moving))


def _elementwise(make: Callable[[Writer, Node, list[str]], str]) -> Callable:
    """A rule from what makes the node of operands in the same form."""

    def rule(w: Writer, node: Node) -> None:
        rank, first = node.outputs[0].ndim, _follows_first(w, node)
        names = [w.operand(t, rank, first) for t in node.inputs]
        w.put(node.outputs[0], make(w, node, names), first)

    return rule


def _activation(w: Writer, node: Node, names: list[str]) -> str:
    kind, alpha, dtype = (
        node.attrs.activation, node.attrs.alpha, node.outputs[0].dtype
    )  # fmt: skip
    (x,) = names
    if kind in _ACTIVATIONS:
        return w.node(_ACTIVATIONS[kind], names)
    if kind in _SLOPES:
        return w.node(_SLOPES[kind], names, alpha=float(alpha))
    if kind in _LIMITS:
        limits = [w.constant(np.array(n, dtype)) for n in _LIMITS[kind]]
        return w.node("Clip", [x, *limits])
    if kind == Activation.hard_sigmoid:
        return w.node("HardSigmoid", names, alpha=1 / 6, beta=0.5)
    if kind == Activation.swish:
        return w.node("Mul", [x, w.node("Sigmoid", names)])
    if kind == Activation.gaussian:
        return w.node("Exp", [w.node("Neg", [w.node("Mul", [x, x])])])
    if kind == Activation.threshold:
        zero = w.constant(np.zeros((), dtype))
        return _cast(w, w.node("GreaterOrEqual", [x, zero]), dtype)
    return _gelu(w, x, dtype, kind == Activation.gelu_tanh)


def _gelu(w: Writer, x: str, dtype: str, tanh: bool) -> str:
    if w.opset >= 20:
        return w.node("Gelu", [x], approximate="tanh" if tanh else "none")

    def number(value: float) -> str:
        return w.constant(np.array(value, dtype))

    if tanh:
        cube = w.node("Mul", [x, w.node("Mul", [x, x])])
        inner = w.node("Add", [x, w.node("Mul", [cube, number(0.044715)])])
        scaled = w.node("Mul", [inner, number(math.sqrt(2 / math.pi))])
        curve = w.node("Tanh", [scaled])
    else:
        curve = w.node("Erf", [w.node("Mul", [x, number(math.sqrt(0.5))])])
    half = w.node("Mul", [x, number(0.5)])
    return w.node("Mul", [half, w.node("Add", [curve, number(1.0)])])


def _cast(w: Writer, name: str, dtype: str) -> str:
    return w.node("Cast", [name], to=proto.TYPE_NUMBERS[dtype])


def _unary(w: Writer, node: Node, names: list[str]) -> str:
    kind = node.attrs.op
    if kind in _UNARY:
        return w.node(_UNARY[kind], names)
    if kind == UnaryOp.square:
        return w.node("Mul", names * 2)
    if kind == UnaryOp.rsqrt:
        return w.node("Reciprocal", [w.node("Sqrt", names)])
    odd = w.node("Or", [w.node("IsNaN", names), w.node("IsInf", names)])
    return _cast(w, w.node("Not", [odd]), node.outputs[0].dtype)


def _binary(w: Writer, node: Node, names: list[str]) -> str:
    name = w.node(_BINARY[node.attrs.op], names)
    if node.attrs.op in _COMPARISONS:
        return _cast(w, name, node.outputs[0].dtype)
    return name


def _select(w: Writer, node: Node, names: list[str]) -> str:
    return w.node("Where", [_cast(w, names[0], "bool"), *names[1:]])


def _to_dtype(w: Writer, node: Node, names: list[str]) -> str:
    return _cast(w, names[0], node.outputs[0].dtype)


def _copy(w: Writer, node: Node, names: list[str]) -> str:
    return w.node("Identity", names)


def _softmax(w: Writer, node: Node) -> None:
    (x,) = node.inputs
    first = w.is_first(x)
    axis = 1 if first else x.ndim - 1
    w.put(node.outputs[0], w.node("Softmax", [w.either(x)], axis=axis), first)


# Data that moves ----------------------------------------------------------------------


def _reduce(w: Writer, node: Node) -> None:
    """In the form of the source, if what is left of the axes is a form, too."""
    x, out = node.inputs[0], node.outputs[0]
    axes = [i for i in range(x.ndim) if node.attrs.axes >> i & 1]
    first = w.is_first(x)
    order = to_first(x.ndim) if first else tuple(range(x.ndim))
    left = [i for i in order if i not in axes]
    stays = left != sorted(left)
    if stays and (0 in axes or x.ndim - 1 in axes):
        order, first, stays = tuple(range(x.ndim)), False, False
    places = [i for i, axis in enumerate(order) if axis in axes]
    name = w.first(x) if first else w.last(x)
    kind = _REDUCE[node.attrs.op]
    if kind == "ReduceSum" or w.opset >= 18:
        name = w.node(kind, [name, w.integers(places)], keepdims=0)
    else:
        name = w.node(kind, [name], axes=places, keepdims=0)
    w.put(out, name, stays)


def _concat(w: Writer, node: Node) -> None:
    rank = node.outputs[0].ndim
    first = any(map(w.is_first, node.inputs))
    order = to_first(rank) if first else tuple(range(rank))
    names = [w.first(t) if first else w.last(t) for t in node.inputs]
    name = w.node("Concat", names, axis=order.index(node.attrs.axis))
    w.put(node.outputs[0], name, first)


def _slice(w: Writer, node: Node) -> None:
    (x,), out, native = node.inputs, node.outputs[0], node.attrs.native
    first = w.is_first(x)
    order = to_first(x.ndim) if first else tuple(range(x.ndim))
    axes, starts, ends, steps = [], [], [], []
    for place, axis in enumerate(order):
        start, step, count = native.start[axis], native.step[axis], out.shape[axis]
        if count == x.shape[axis] and step == 1:
            continue
        end = start + (count - 1) * step + (1 if step > 0 else -1)
        axes.append(place)
        starts.append(start)
        ends.append(end if end >= 0 else -(1 << 31))
        steps.append(step)
    given = [w.integers(v) for v in (starts, ends, axes, steps)]
    w.put(out, w.node("Slice", [w.either(x), *given]), first)


def _pad(w: Writer, node: Node) -> None:
    (x,), attrs = node.inputs, node.attrs
    if any(attrs.interior[: x.ndim]):
        raise ArgumentError("padding between neighbours")
    first = w.is_first(x)
    order = to_first(x.ndim) if first else tuple(range(x.ndim))
    ends = [*(attrs.before[i] for i in order), *(attrs.after[i] for i in order)]
    value = w.constant(np.array(attrs.value, x.dtype))
    name = w.node("Pad", [w.either(x), w.integers(ends), value])
    w.put(node.outputs[0], name, first)


def _reshape(w: Writer, node: Node) -> None:
    """A Flatten before dense layers counts channel by channel, as ONNX files do.

    Rows for a product, of all samples, wait: the product may do without.
    """
    (x,), out = node.inputs, node.outputs[0]
    dims = w.dims[out]
    if x in w.rows and w.rows[x][1] == dims:
        w.put(out, w.rows[x][0])
        return
    if x.ndim > 2 and is_line(x):
        name = w.either(x)
    elif x.ndim > 2 and out.ndim == 2 and x.shape[-1] == out.shape[-1]:
        w.rows[out] = w.last(x), w.dims[x]
        return
    elif _is_flatten(w, x, out):
        w.flattened[out] = x.shape[1:]
        w.put(out, w.node("Flatten", [w.first(x)], axis=1))
        return
    else:
        name = w.last(x)
    w.put(out, w.reshape(name, dims))


def _is_flatten(w: Writer, x: Tensor, out: Tensor) -> bool:
    """Whether maps become rows that only products with constant matrices read."""
    readers = w.consumers.get(out, [])
    return (
        out.ndim == 2
        and w.is_first(x)
        and w.dims[x][0] == w.dims[out][0]
        and bool(readers)
        and all(
            r.kind == OpKind.gemm and r.inputs[0] is out and not r.attrs.transpose_a
            and r.inputs[1] in w.arrays and r.inputs[1].ndim == 2
            for r in readers
        )
    )  # fmt: skip


def _transpose(w: Writer, node: Node) -> None:
    """One between the two forms is a change of name."""
    (x,), out = node.inputs, node.outputs[0]
    order = tuple(node.attrs.permutation[: x.ndim])
    if x.ndim > 2 and order == to_first(x.ndim):
        w.put(out, w.first(x))
    elif x.ndim > 2 and order == to_last(x.ndim):
        w.put(out, w.last(x), first=True)
    else:
        w.put(out, w.node("Transpose", [w.last(x)], perm=order))


def _broadcast(w: Writer, node: Node) -> None:
    (x,), out = node.inputs, node.outputs[0]
    first = w.is_first(x) and x.ndim == out.ndim
    old, new = w.dims[x], w.dims[out]
    if first:
        order = to_first(x.ndim)
        old, new = permuted(old, order), permuted(new, order)
    name = w.first(x) if first else w.last(x)
    w.put(out, w.expand(name, old, new), first)


RULES = {
    OpKind.activation: _elementwise(_activation),
    OpKind.unary: _elementwise(_unary),
    OpKind.binary: _elementwise(_binary),
    OpKind.select: _elementwise(_select),
    OpKind.cast: _elementwise(_to_dtype),
    OpKind.copy: _elementwise(_copy),
    OpKind.softmax: _softmax,
    OpKind.reduce: _reduce,
    OpKind.concat: _concat,
    OpKind.slice: _slice,
    OpKind.pad: _pad,
    OpKind.reshape: _reshape,
    OpKind.transpose: _transpose,
    OpKind.broadcast: _broadcast,
}
