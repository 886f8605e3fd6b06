"""Export of quantised arrays: numbers between QuantizeLinear and DequantizeLinear.

This is the form ("QDQ") in which engines find products of integers: each takes the
real numbers of its operands, and what follows rounds them to bytes again.
"""

from __future__ import annotations

import numpy as np

from fastconv._core import OpKind, Quantization, Requantization
from fastconv.graph.ir import Node, Tensor
from fastconv.onnx.export_windows import kernel_order, pooled, source_of, window_attrs
from fastconv.onnx.writer import Writer

__all__ = ["RULES"]

_TOP = 255


def _real(w: Writer, name: str, of: Quantization) -> str:
    """The numbers of bytes."""
    return w.node("DequantizeLinear", [name, *_constants(w, of)])


def _constants(w: Writer, of: Quantization) -> list[str]:
    return [w.constant(np.float32(of.scale)), w.constant(np.uint8(of.zero_point))]


def _fixed(w: Writer, array: np.ndarray, scales: np.ndarray) -> str:
    """The numbers of weights or biases, with a scale for each of the first axis."""
    operands = [w.constant(array), w.constant(scales)]
    return w.node("DequantizeLinear", operands, axis=0)


def _finish(
    w: Writer, node: Node, name: str, added: list[Tensor], first: bool
) -> None:
    """What becomes of real numbers: a sum, a clip, bytes."""
    to: Requantization = node.attrs if node.kind == OpKind.requantize else node.attrs.to
    for tensor in added:
        a = w.first(tensor) if first else w.last(tensor)
        name = w.node("Add", [name, _real(w, a, to.add)])
    low, high = -to.dst.zero_point, _TOP - to.dst.zero_point
    if to.high < high:
        limits = [w.constant(np.float32(v * to.dst.scale)) for v in (to.low, to.high)]
        name = w.node("Clip", [name, *limits])
    elif to.low == 0 and (to.real or low < 0):
        name = w.node("Relu", [name])
    if not to.real:
        name = w.node("QuantizeLinear", [name, *_constants(w, to.dst)])
    w.put(node.outputs[0], name, first)


def _quantize(w: Writer, node: Node) -> None:
    src = node.inputs[0]
    operands = [w.either(src), *_constants(w, node.attrs)]
    w.put(node.outputs[0], w.node("QuantizeLinear", operands), w.is_first(src))


def _dequantize(w: Writer, node: Node) -> None:
    src = node.inputs[0]
    w.put(node.outputs[0], _real(w, w.either(src), node.attrs), w.is_first(src))


def _requantize(w: Writer, node: Node) -> None:
    src, *added = node.inputs
    first = w.is_first(src)
    _finish(w, node, _real(w, w.either(src), node.attrs.src), added, first)


def _conv(w: Writer, node: Node) -> None:
    _, weights, bias, scales, *added = node.inputs
    window, to = window_attrs(node), node.attrs.to
    factors = w.arrays[scales]
    kernel = w.arrays[weights].transpose(kernel_order(weights))
    operands = [
        _real(w, source_of(w, node, window), to.src),
        _fixed(w, kernel, factors),
        _fixed(w, w.arrays[bias], factors * np.float32(to.src.scale)),
    ]
    name = w.node("Conv", operands, group=node.attrs.geometry.groups, **window)
    _finish(w, node, name, added, True)


def _average_pool(w: Writer, node: Node) -> None:
    padded = int(node.attrs.count_include_pad)
    name = pooled(
        w, node, "AveragePool", 19,
        lambda name: _real(w, name, node.attrs.to.src), count_include_pad=padded,
    )  # fmt: skip
    _finish(w, node, name, [], True)


RULES = {
    OpKind.quantize: _quantize,
    OpKind.dequantize: _dequantize,
    OpKind.requantize: _requantize,
    OpKind.quantized_conv: _conv,
    OpKind.quantized_average_pool: _average_pool,
}
