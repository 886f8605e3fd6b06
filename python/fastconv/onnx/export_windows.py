"""Export of convolution, pooling, products and normalisation."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from fastconv._core import OpKind, WindowGeometry
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Node, Tensor
from fastconv.onnx.writer import Writer

__all__ = ["RULES"]


def window_attrs(node: Node) -> dict[str, Any]:
    """Kernel, strides, dilations and pads, one an axis."""
    g, axes = node.attrs.geometry, node.inputs[0].ndim - 2
    sizes = {
        name: list(getattr(g, field)[3 - axes :])
        for name, field in (
            ("kernel_shape", "kernel"), ("strides", "stride"), ("dilations", "dilation")
        )
    }  # fmt: skip
    return {**sizes, "pads": _pads(g, axes)}


def _pads(g: WindowGeometry, axes: int) -> list[int]:
    return [*g.pad_before[3 - axes :], *g.pad_after[3 - axes :]]


def source_of(w: Writer, node: Node, window: dict[str, Any]) -> str:
    """The input, channels first, without what negative pads crop."""
    src, pads = w.first(node.inputs[0]), window["pads"]
    if min(pads) >= 0:
        return src
    half = len(pads) // 2
    crop = [min(n, 0) for n in pads]
    ends = [0, 0, *crop[:half], 0, 0, *crop[half:]]
    window["pads"] = [max(n, 0) for n in pads]
    return w.node("Pad", [src, w.integers(ends)])


def kernel_order(weights: Tensor) -> tuple[int, ...]:
    """The axes of a kernel R S C K in the order K C R S."""
    return (weights.ndim - 1, weights.ndim - 2, *range(weights.ndim - 2))


def _kernel(w: Writer, weights: Tensor) -> str:
    """A kernel R S C K as K C R S; one that is computed is transposed."""
    order = kernel_order(weights)
    if weights in w.arrays:
        return w.constant(w.arrays[weights].transpose(order), w.weight(weights))
    return w.node("Transpose", [w.last(weights)], perm=order)


def _conv(w: Writer, node: Node) -> None:
    window = window_attrs(node)
    operands = [source_of(w, node, window), _kernel(w, node.inputs[1])]
    operands += [w.last(bias) for bias in node.inputs[2:]]
    name = w.node("Conv", operands, group=node.attrs.geometry.groups, **window)
    w.put(node.outputs[0], name, first=True)


def _conv_transpose(w: Writer, node: Node) -> None:
    """Negative padding after, which adds zeros, is output_padding in ONNX."""
    window, g = window_attrs(node), node.attrs.geometry
    window["pads"] = pads = [max(n, 0) for n in window["pads"]]
    axes = len(pads) // 2
    extra = [
        n - (m - 1) * stride - dilation * (k - 1) - 1 + before + after
        for n, m, stride, dilation, k, before, after in zip(
            g.input[3 - axes :], g.output[3 - axes :], window["strides"],
            window["dilations"], window["kernel_shape"], pads[:axes], pads[axes:],
            strict=True,
        )
    ]  # fmt: skip
    most = map(max, window["strides"], window["dilations"])
    too_much = any(a >= b for a, b in zip(extra, most, strict=True))
    if min(g.pad_before) < 0 or too_much:
        raise ArgumentError("a transposed convolution with so much output_padding")
    operands = [w.first(node.inputs[0]), _kernel(w, node.inputs[1])]
    operands += [w.last(bias) for bias in node.inputs[2:]]
    name = w.node(
        "ConvTranspose", operands, group=g.groups, output_padding=extra, **window
    )
    w.put(node.outputs[0], name, first=True)


def pooled(
    w: Writer,
    node: Node,
    kind: str,
    since: int,
    real: Callable[[str], str] = lambda name: name,
    **attrs: Any,
) -> str:
    """The name of a pooling of what ``real`` makes of the input.

    since: the version of the operators that knows dilations.
    """
    g, window = node.attrs.geometry, window_attrs(node)
    if list(g.kernel) == list(g.input) and not any(window["pads"]):
        exponent = {"p": attrs["p"]} if "p" in attrs else {}
        return w.node(f"Global{kind}", [real(w.first(node.inputs[0]))], **exponent)
    if set(window["dilations"]) == {1}:
        del window["dilations"]
    elif w.opset < since:
        raise ArgumentError(f"dilation in {kind} needs opset {since}")
    source = real(source_of(w, node, window))
    return w.node(kind, [source], **window, **attrs)


def _pool(w: Writer, node: Node, kind: str, since: int, **attrs: Any) -> None:
    w.put(node.outputs[0], pooled(w, node, kind, since, **attrs), first=True)


def _max_pool(w: Writer, node: Node) -> None:
    if node.outputs[1] in w.consumers:
        raise ArgumentError("the indices of max pooling")
    _pool(w, node, "MaxPool", 10)


def _average_pool(w: Writer, node: Node) -> None:
    padded = int(node.attrs.count_include_pad)
    _pool(w, node, "AveragePool", 19, count_include_pad=padded)


def _lp_pool(w: Writer, node: Node) -> None:
    if node.attrs.p != int(node.attrs.p):
        raise ArgumentError(f"p={node.attrs.p}, which is no integer")
    _pool(w, node, "LpPool", 18, p=int(node.attrs.p))


def _gemm(w: Writer, node: Node) -> None:
    a, b, *bias = node.inputs
    at, bt = bool(node.attrs.transpose_a), bool(node.attrs.transpose_b)
    if b in w.arrays and b.ndim == 2:
        columns, bt = _matrix(w, a, w.arrays[b] if bt else w.arrays[b].T, b), True
    else:
        columns = w.last(b)
    if a in w.rows and b.ndim == 2 and not at:
        source, dims = w.rows[a]
        name = w.node("MatMul", [source, _turned(w, columns, b, bt)])
        for values in bias:
            name = w.node("Add", [name, w.last(values)])
        w.rows[node.outputs[0]] = name, (*dims[:-1], node.attrs.n)
        return
    if a.ndim == b.ndim == 2:
        operands = [w.last(a), columns, *map(w.last, bias)]
        name = w.node("Gemm", operands, transA=int(at), transB=int(bt))
    else:
        sides = [_turned(w, w.last(a), a, at), _turned(w, columns, b, bt)]
        name = w.node("MatMul", sides)
        for values in bias:
            name = w.node("Add", [name, w.last(values)])
    w.put(node.outputs[0], name)


def _matrix(w: Writer, a: Tensor, array: np.ndarray, b: Tensor) -> str:
    """A constant matrix K C; for rows that count channel by channel, so too."""
    if a in w.flattened:
        *maps, channels = w.flattened[a]
        array = array.reshape(-1, prod(maps), channels)
        array = array.transpose(0, 2, 1).reshape(len(array), -1)
    return w.constant(array, w.weight(b))


def _turned(w: Writer, name: str, operand: Tensor, transposed: bool) -> str:
    if not transposed:
        return name
    lead = range(operand.ndim - 2)
    order = (*lead, operand.ndim - 1, operand.ndim - 2)
    return w.node("Transpose", [name], perm=order)


def _batch_norm(w: Writer, node: Node) -> None:
    src, *statistics = node.inputs
    operands = [w.first(src), *map(w.last, statistics)]
    name = w.node("BatchNormalization", operands, epsilon=node.attrs.epsilon)
    w.put(node.outputs[0], name, first=True)


def _layer_norm(w: Writer, node: Node) -> None:
    if w.opset < 17:
        raise ArgumentError("layer normalisation needs opset 17")
    attrs = {"axis": -node.attrs.axes, "epsilon": node.attrs.epsilon}
    name = w.node("LayerNormalization", [*map(w.last, node.inputs)], **attrs)
    w.put(node.outputs[0], name)


def _local_response_norm(w: Writer, node: Node) -> None:
    attrs = node.attrs
    size = 2 * attrs.depth_radius + 1
    name = w.node(
        "LRN", [w.first(node.inputs[0])], size=size, alpha=attrs.alpha * size,
        beta=attrs.beta, bias=attrs.bias,
    )  # fmt: skip
    w.put(node.outputs[0], name, first=True)


def _resize(w: Writer, node: Node) -> None:
    """One axis: elements that are picked, or a product with the weights."""
    src, ranges, weights = node.inputs
    axis, size = node.attrs.axis, src.shape[node.attrs.axis]
    start, count = w.arrays[ranges].T
    first = w.is_first(src) and 0 < axis < src.ndim - 1
    name = w.first(src) if first else w.last(src)
    at = axis + first
    if (count == 1).all():
        picked = w.node("Gather", [name, w.integers(start)], axis=at)
        w.put(node.outputs[0], picked, first)
        return
    table = np.zeros((len(start), size), src.dtype)
    for row, (begin, taps) in enumerate(zip(start, count, strict=True)):
        table[row, begin : begin + taps] = w.arrays[weights][row, :taps]
    if at == src.ndim - 1:
        made = w.node("MatMul", [name, w.constant(table.T)])
    elif at == src.ndim - 2:
        made = w.node("MatMul", [w.constant(table), name])
    else:
        raise ArgumentError("interpolation along the first of three spatial axes")
    w.put(node.outputs[0], made, first)


RULES = {
    OpKind.conv: _conv,
    OpKind.conv_backward_data: _conv_transpose,
    OpKind.max_pool: _max_pool,
    OpKind.average_pool: _average_pool,
    OpKind.lp_pool: _lp_pool,
    OpKind.gemm: _gemm,
    OpKind.batch_norm_inference: _batch_norm,
    OpKind.layer_norm: _layer_norm,
    OpKind.local_response_norm: _local_response_norm,
    OpKind.resize: _resize,
}
