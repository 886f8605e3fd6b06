"""Import of what works element by element, of reductions, and of what moves data."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from fastconv import ops
from fastconv.layers import Dropout, Flatten
from fastconv.onnx.forms import to_first, to_last
from fastconv.onnx.known import BATCHES
from fastconv.onnx.values import Builder, NodeView, Value

__all__ = ["RULES"]

_COPIES = 4096  # parts that one node may make


# Element by element -------------------------------------------------------------------


def _unary(function: Callable[[Any, dict[str, Any]], Any]) -> Callable:
    """A rule from a function of a tensor and attributes."""

    def rule(b: Builder, node: NodeView) -> Value:
        x = node.tensor()
        return b.like(x, function(b.chosen(x)[0], node.attrs))

    return rule


def _named(op: str, **given: Any) -> Callable:
    """A rule for the op of a name; given: its argument -> attribute and default."""
    return _unary(
        lambda x, attrs: getattr(ops, op)(
            x, **{key: attrs.get(*source) for key, source in given.items()}
        )
    )


def _binary(op: str) -> Callable:
    return lambda b, node: b.elementwise(node, op, node.tensor(0), node.tensor(1))


def _variadic(op: str) -> Callable:
    def rule(b: Builder, node: NodeView) -> Value:
        total, *rest = (node.tensor(i) for i in range(len(node.inputs)))
        for value in rest:
            total = b.elementwise(node, op, total, value)
        return total

    return rule


def _mean(b: Builder, node: NodeView) -> Value:
    total = _variadic("add")(b, node)
    return b.like(total, b.chosen(total)[0] * (1.0 / len(node.inputs)))


def _where(b: Builder, node: NodeView) -> Value:
    return b.elementwise(node, "where", *(node.tensor(i) for i in range(3)))


def _clip(b: Builder, node: NodeView) -> Value:
    x = node.tensor()
    low, high = node.number(1, "min"), node.number(2, "max")
    low = -np.inf if low is None else low
    high = np.inf if high is None else high
    tensor = b.chosen(x)[0]
    if (low, high) == (0.0, 6.0):
        return b.like(x, ops.relu6(tensor))
    if low > np.finfo(np.float32).min:
        tensor = ops.maximum(tensor, low)
    if high < np.finfo(np.float32).max:
        tensor = ops.minimum(tensor, high)
    return b.like(x, tensor)


def _hard_sigmoid(x: Any, attrs: dict[str, Any]) -> Any:
    alpha, beta = attrs.get("alpha", 0.2), attrs.get("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
        return ops.hard_sigmoid(x)
    return ops.clip(x * alpha + beta, 0.0, 1.0)


def _selu(x: Any, attrs: dict[str, Any]) -> Any:
    alpha, gamma = attrs.get("alpha", 1.6732632), attrs.get("gamma", 1.050701)
    return ops.elu(x, float(alpha)) * float(gamma)


def _celu(x: Any, attrs: dict[str, Any]) -> Any:
    alpha = attrs.get("alpha", 1.0)
    return ops.elu(x * (1.0 / alpha)) * alpha


def _prelu(b: Builder, node: NodeView) -> Value:
    """The formula is ``max(x, 0) + slope min(x, 0)``."""
    x = node.tensor()
    tensor = b.chosen(x)[0]
    below = b.like(x, ops.minimum(tensor, 0.0))
    scaled = b.elementwise(node, "multiply", below, node.tensor(1))
    return b.elementwise(node, "add", b.like(x, ops.relu(tensor)), scaled)


def _softmax(op: str) -> Callable:
    def rule(b: Builder, node: NodeView) -> Value:
        """Before version 13 all axes from ``axis`` on are one."""
        x = node.tensor()
        old = b.opset < 13
        axis = node.axis(node.attrs.get("axis", 1 if old else -1), x.rank)
        if old and prod(n or 1 for n in x.shape[axis + 1 :]) != 1:
            raise node.error("softmax over several axes is not supported")
        tensor, order = b.chosen(x)
        return b.like(x, getattr(ops, op)(tensor, axis=order.index(axis)))

    return rule


def _cast(b: Builder, node: NodeView) -> Value:
    x = node.tensor()
    tensor, dtype = b.chosen(x)[0], node.dtype()
    if dtype == "bool":  # comparisons give numbers here, and every op takes them
        return b.like(x, ops.not_equal(tensor, 0.0))
    return b.like(x, ops.cast(tensor, dtype))


def _cast_like(b: Builder, node: NodeView) -> Value:
    x, other = node.tensor(0), node.tensor(1)
    dtype = other.array.dtype.name if other.known is not None else b.plain(other).dtype
    return b.like(x, ops.cast(b.chosen(x)[0], dtype))


def _same(b: Builder, node: NodeView) -> Value:
    return node.tensor()


def _dropout(b: Builder, node: NodeView) -> Value:
    x, rate = node.tensor(), node.number(1, "ratio", 0.5)
    if any(node.outputs[1:]):
        raise node.error("the mask of Dropout is not supported")
    layer = Dropout(rate)
    if x.rows is not None:
        return Value(rows=(layer(x.rows[0]), x.rows[1]))
    return b.like(x, layer(b.chosen(x)[0]))


# Reductions ---------------------------------------------------------------------------


def _reduce(function: Callable[..., Any]) -> Callable:
    def rule(b: Builder, node: NodeView) -> Value:
        x = node.tensor()
        given = node.integers(1, "axes")
        if not given and node.attrs.get("noop_with_empty_axes", 0):
            return x
        axes = sorted(node.axis(a, x.rank) for a in given or range(x.rank))
        if node.attrs.get("keepdims", 1):
            tensor, order = b.chosen(x)
            places = tuple(order.index(a) for a in axes)
            return b.like(x, function(tensor, places, True))
        return _without(b, x, axes, function)

    return rule


def _without(b: Builder, x: Value, axes: list[int], function: Any) -> Value:
    """In the form of the source, if what is left of the axes is a form, too."""
    tensor, order = b.chosen(x)
    left = [i for i in order if i not in axes]
    stays = left != sorted(left)
    if stays and (0 in axes or 1 in axes):
        tensor, order, stays = b.plain(x), tuple(range(x.rank)), False
    made = function(tensor, tuple(order.index(a) for a in axes), False)
    return Value(last=made) if stays else Value(plain=made)


def _l1(x: Any, axis: Any, keepdims: bool) -> Any:
    return ops.sum(ops.abs(x), axis, keepdims)


def _sum_square(x: Any, axis: Any, keepdims: bool) -> Any:
    return ops.sum(ops.square(x), axis, keepdims)


def _l2(x: Any, axis: Any, keepdims: bool) -> Any:
    return ops.sqrt(_sum_square(x, axis, keepdims))


def _arg(op: str) -> Callable:
    def rule(b: Builder, node: NodeView) -> Value:
        x = node.tensor()
        axis = node.axis(node.attrs.get("axis", 0), x.rank)
        keep = bool(node.attrs.get("keepdims", 1))
        if node.attrs.get("select_last_index", 0):
            raise node.error("select_last_index is not supported")
        return Value(plain=getattr(ops, op)(b.plain(x), axis, keep))

    return rule


# Shapes -------------------------------------------------------------------------------


def _shape(b: Builder, node: NodeView) -> Value:
    """The sizes as a known value, a pair for two sizes of the batch."""
    x = node.tensor()
    if None in x.shape[1:]:
        raise node.error("it needs an input of known size; give load an input_shape")
    begin, end = node.attrs.get("start", 0), node.attrs.get("end", x.rank)
    small, large = (
        np.array([batch if n is None else n for n in x.shape][begin:end], np.int64)
        for batch in BATCHES
    )
    return Value((small, large))


def _reshape(b: Builder, node: NodeView) -> Value:
    x = node.tensor(0)
    target = node.input(1)
    if target is None and "shape" in node.attrs:
        array = np.array(node.attrs["shape"])
        target = Value((array, array))
    if target is None or target.known is None:
        raise node.error("expected a constant shape")
    return _shaped(b, node, x, _sizes(b, node, x, target.known))


def _sizes(b: Builder, node: NodeView, x: Value, target: Any) -> list[int | None]:
    """The new sizes; None for the one that follows the batch, or is still open."""
    sizes: list[int | None] = []
    zero = node.attrs.get("allowzero", 0)
    pairs = [[int(n) for n in t] for t in target]
    for i, (small, large) in enumerate(zip(*pairs, strict=True)):
        if small != large:
            sizes.append(None)
        elif small == 0 and not zero and i < x.rank:
            sizes.append(x.shape[i])
        else:
            sizes.append(small)
    if sizes and sizes[0] == b.batch and x.shape[:1] == (None,):
        sizes[0] = None  # the batch that the file was written with
    if None in sizes and -1 in sizes:
        if None in x.shape[1:] or sizes.count(None) > 1:
            raise node.error(f"sizes {sizes} of an input of shape {x.shape}")
        rest = prod(n for n in sizes if n is not None and n != -1)
        per_sample = prod(n for n in x.shape if n is not None)
        sizes[sizes.index(-1)] = per_sample // max(rest, 1)
    return sizes


def _shaped(b: Builder, node: NodeView, x: Value, sizes: list[int | None]) -> Value:
    """The same elements in other sizes, of which one may be open (None, or -1)."""
    open_ = [-1 if n is None else n for n in sizes]
    if open_.count(-1) > 1:
        raise node.error(f"more than one open size in {sizes}")
    line = sum(n != 1 for n in x.shape[1:]) < 2 and None not in x.shape[1:]
    if open_[:1] == [-1] and len(open_) == 2 and x.rank > 2 and x.on_last():
        rows = Flatten(data_format="channels_last")(x.last)
        if rows.shape[1] == open_[1]:
            maps = tuple(x.last.shape[1:])
            return Value(plain=rows) if line else Value(rows=(rows, maps))
    tensor = x.last if line and x.on_last() else b.plain(x)
    return Value(plain=ops.reshape(tensor, tuple(open_)))


def _flatten(b: Builder, node: NodeView) -> Value:
    x, axis = node.tensor(), node.attrs.get("axis", 1)
    if axis not in (1, 1 - x.rank) or None in x.shape[1:]:
        raise node.error(f"axis {axis} of an input of shape {x.shape}; expected axis 1")
    return _shaped(b, node, x, [None, prod(n or 1 for n in x.shape[1:])])


def _squeeze(b: Builder, node: NodeView) -> Value:
    x, axes = node.tensor(), node.integers(1, "axes")
    ones = [i for i, n in enumerate(x.shape) if n == 1]
    away = {node.axis(a, x.rank) for a in (ones if axes is None else axes)}
    return _shaped(b, node, x, [n for i, n in enumerate(x.shape) if i not in away])


def _unsqueeze(b: Builder, node: NodeView) -> Value:
    x, axes = node.tensor(), node.integers(1, "axes", ())
    rank = x.rank + len(axes)
    new, rest = {node.axis(a, rank) for a in axes}, iter(x.shape)
    return _shaped(b, node, x, [1 if i in new else next(rest) for i in range(rank)])


def _transpose(b: Builder, node: NodeView) -> Value:
    """One between the two forms is a change of name."""
    x = node.tensor()
    order = tuple(node.attrs.get("perm", reversed(range(x.rank))))
    if x.on_last() and order == to_last(x.rank):
        return Value(plain=x.last)
    if x.plain is not None and x.rank > 2 and order == to_first(x.rank):
        return Value(last=x.plain)
    return Value(plain=ops.transpose(b.plain(x), order))


def _expand(b: Builder, node: NodeView) -> Value:
    """Repeated along axes of size 1; the batch stays."""
    x, target = node.tensor(), node.tensor(1)
    if target.known is None:
        raise node.error("expected a constant shape")
    pairs = zip(*target.known, strict=True)
    sizes = [1 if large != small else int(small) for small, large in pairs]
    lead = len(sizes) - x.rank
    if lead > 0:
        raise node.error("new axes in front of the batch are not supported")
    counts = [1] * -lead + sizes
    tensor, order = b.chosen(x)
    for place, axis in enumerate(order):
        if counts[axis] > 1 and tensor.shape[place] == 1:
            tensor = ops.repeat(tensor, counts[axis], place)
    return b.like(x, tensor)


def _tile(b: Builder, node: NodeView) -> Value:
    x, counts = node.tensor(), node.integers(1)
    if prod(counts) > _COPIES:
        raise node.error(f"{prod(counts)} copies; expected at most {_COPIES}")
    tensor, order = b.chosen(x)
    return b.like(x, ops.tile(tensor, [counts[axis] for axis in order]))


# Parts --------------------------------------------------------------------------------


def _concat(b: Builder, node: NodeView) -> Value:
    values = [node.tensor(i) for i in range(len(node.inputs))]
    if any(v.known is not None for v in values):
        raise node.error("constants beside tensors are not supported")
    rank, last = values[0].rank, any(v.on_last() for v in values)
    axis = node.axis(node.attrs["axis"], rank)
    tensors = [b.last(v) if last else b.plain(v) for v in values]
    if last:
        return Value(last=ops.concatenate(tensors, to_last(rank).index(axis)))
    return Value(plain=ops.concatenate(tensors, axis))


def _slice(b: Builder, node: NodeView) -> Value:
    x = node.tensor()
    starts, ends = node.integers(1, "starts"), node.integers(2, "ends")
    axes = node.integers(3, "axes", range(len(starts)))
    steps = node.integers(4, "steps", [1] * len(starts))
    tensor, order = b.chosen(x)
    key: list[Any] = [slice(None)] * x.rank
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        stop = None if step < 0 and end < -(1 << 30) else end
        key[order.index(node.axis(axis, x.rank))] = slice(start, stop, step)
    return b.like(x, tensor[tuple(key)])


def _split(b: Builder, node: NodeView) -> list[Value]:
    x = node.tensor()
    axis = node.axis(node.attrs.get("axis", 0), x.rank)
    size, parts = x.shape[axis], len(node.outputs)
    if size is None:
        raise node.error("a split of the batch")
    sizes = node.integers(1, "split")
    if sizes is None:
        part = -(-size // parts)
        sizes = [part] * (parts - 1) + [size - part * (parts - 1)]
    tensor, order = b.chosen(x)
    cuts = [int(n) for n in np.cumsum(sizes)[:-1]]
    made = ops.split(tensor, cuts, order.index(axis))
    return [b.like(x, part) for part in made]


def _gather(b: Builder, node: NodeView) -> Value:
    x, index = node.tensor(), node.array(1)
    axis = node.axis(node.attrs.get("axis", 0), x.rank)
    if index is None or index.ndim > 1 or axis == 0:
        raise node.error("expected constant indices on one axis, not the batch's")
    tensor, order = b.chosen(x)
    place, size = order.index(axis), x.shape[axis]
    if index.ndim == 0:
        key: list[Any] = [slice(None)] * x.rank
        key[axis] = int(index)
        return Value(plain=b.plain(x)[tuple(key)])
    if size is not None and 0 < place < x.rank - 1 and _is_nearest(index, size):
        sizes = [*tensor.shape[1:-1]]
        sizes[place - 1] = len(index)
        return b.like(x, ops.resize(tensor, tuple(sizes), "nearest"))
    if len(index) > _COPIES:
        raise node.error(f"{len(index)} indices; expected at most {_COPIES}")
    lead = (slice(None),) * place
    parts = [tensor[(*lead, slice(i, i + 1 or None))] for i in index.tolist()]
    return b.like(x, ops.concatenate(parts, place))


def _is_nearest(index: np.ndarray, size: int) -> bool:
    """Whether the indices are those of `ops.resize` with the nearest pixel."""
    m = len(index)
    return np.array_equal(index, (2 * np.arange(m) + 1) * size // (2 * m))


def _pad(b: Builder, node: NodeView) -> Value:
    x, mode = node.tensor(), node.attrs.get("mode", "constant")
    pads = node.integers(1, "pads")
    value = node.number(2, "value", 0.0)
    axes = node.integers(3, default=range(x.rank))
    if pads is None or len(pads) != 2 * len(axes) or mode == "wrap":
        raise node.error("expected two constant pads an axis, and another mode")
    given = {
        node.axis(a, x.rank): (pads[i], pads[i + len(axes)]) for i, a in enumerate(axes)
    }
    tensor, order = b.chosen(x)
    pairs = [given.get(axis, (0, 0)) for axis in order]
    crop = [slice(-min(a, 0), min(z, 0) or None) for a, z in pairs]
    if any(n < 0 for pair in pairs for n in pair):
        tensor = tensor[tuple(crop)]
    widths = [(max(a, 0), max(z, 0)) for a, z in pairs]
    if any(n for pair in widths for n in pair):
        tensor = ops.pad(tensor, widths, mode, float(value))
    return b.like(x, tensor)


_SIMPLE = {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Softplus": "softplus",
    "Softsign": "softsign", "Neg": "negative", "Abs": "abs", "Exp": "exp",
    "Log": "log", "Sqrt": "sqrt", "Reciprocal": "reciprocal", "Floor": "floor",
    "Ceil": "ceil", "Round": "round", "Sign": "sign", "Sin": "sin", "Cos": "cos",
    "Erf": "erf", "Not": "logical_not", "IsNaN": "isnan", "Swish": "swish",
}  # fmt: skip
_PAIRS = {
    "Add": "add", "Sub": "subtract", "Mul": "multiply", "Div": "divide",
    "Pow": "power", "Equal": "equal", "Greater": "greater", "Less": "less",
    "GreaterOrEqual": "greater_equal", "LessOrEqual": "less_equal",
    "And": "logical_and", "Or": "logical_or", "Xor": "logical_xor",
}  # fmt: skip
RULES: dict[str, Callable[[Builder, NodeView], Any]] = {
    **{op: _named(name) for op, name in _SIMPLE.items()},
    **{op: _binary(name) for op, name in _PAIRS.items()},
    "LeakyRelu": _named("leaky_relu", negative_slope=("alpha", 0.01)),
    "Elu": _named("elu", alpha=("alpha", 1.0)),
    "Selu": _unary(_selu),
    "Celu": _unary(_celu),
    "HardSigmoid": _unary(_hard_sigmoid),
    "HardSwish": _unary(lambda x, attrs: x * ops.hard_sigmoid(x)),
    "Mish": _unary(lambda x, attrs: x * ops.tanh(ops.softplus(x))),
    "Gelu": _unary(
        lambda x, attrs: ops.gelu(x, attrs.get("approximate", "none") == "tanh")
    ),
    "PRelu": _prelu, "Clip": _clip, "Softmax": _softmax("softmax"),
    "LogSoftmax": _softmax("log_softmax"), "Min": _variadic("minimum"),
    "Max": _variadic("maximum"), "Sum": _variadic("add"), "Mean": _mean,
    "Where": _where, "Cast": _cast, "CastLike": _cast_like, "Identity": _same,
    "Dropout": _dropout, "ReduceMean": _reduce(ops.mean),
    "ReduceSum": _reduce(ops.sum), "ReduceMax": _reduce(ops.max),
    "ReduceMin": _reduce(ops.min), "ReduceL1": _reduce(_l1),
    "ReduceL2": _reduce(_l2), "ReduceSumSquare": _reduce(_sum_square),
    "ReduceLogSumExp": _reduce(ops.logsumexp), "ArgMax": _arg("argmax"),
    "ArgMin": _arg("argmin"), "Shape": _shape, "Reshape": _reshape,
    "Flatten": _flatten, "Squeeze": _squeeze, "Unsqueeze": _unsqueeze,
    "Transpose": _transpose, "Expand": _expand, "Tile": _tile, "Concat": _concat,
    "Slice": _slice, "Split": _split, "Gather": _gather, "Pad": _pad,
}  # fmt: skip
