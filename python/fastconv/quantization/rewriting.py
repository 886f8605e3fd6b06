"""The graph on bytes of a graph on floats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv._core import (
    ActivationAttrs,
    OpKind,
    QuantizedConvAttrs,
    QuantizedPoolAttrs,
    Requantization,
    WindowGeometry,
)
from fastconv.graph.ir import Graph, Node, Tensor, emit
from fastconv.graph.scope import scope
from fastconv.graph.trace import constant
from fastconv.ops.quantized import Scale, quantization, requantization
from fastconv.ops.shape import Target
from fastconv.quantization.choosing import CARRIES, CLIPS, PRODUCTS, Choice, added

__all__ = ["rewrite"]


def rewrite(graph: Graph, choice: Choice, scales: Mapping[Tensor, Scale]) -> Graph:
    """The graph with the ops of ``choice`` on bytes, of these scales."""
    return _Rewriting(choice, scales).run(graph)


class _Rewriting:
    def __init__(self, choice: Choice, scales: Mapping[Tensor, Scale]) -> None:
        self.choice, self.scales = choice, scales
        self.floats: dict[Tensor, Tensor] = {}
        self.bytes: dict[Tensor, Tensor] = {}

    def run(self, graph: Graph) -> Graph:
        """The new graph."""
        for node in graph.nodes():
            if node in self.choice.sums:
                continue  # its clip adds
            with scope(node.label):
                if node in self.choice.nodes:
                    self._integers(node)
                else:
                    made = _again(node, [self.real(t) for t in node.inputs])
                    self.floats.update(zip(node.outputs, made, strict=True))
        return Graph(
            tuple(self.floats.get(t, t) for t in graph.inputs),
            tuple(self.real(t) for t in graph.outputs),
        )

    # Tensors --------------------------------------------------------------------------

    def real(self, tensor: Tensor) -> Tensor:
        """A tensor in float32."""
        if tensor not in self.floats:
            attrs, source = quantization(self.scales[tensor]), self.bytes[tensor]
            self.floats[tensor] = emit(OpKind.dequantize, attrs, source)[0]
        return self.floats[tensor]

    def quantized(self, tensor: Tensor) -> Tensor:
        """A tensor in bytes."""
        if tensor not in self.bytes:
            attrs, source = quantization(self.scales[tensor]), self.real(tensor)
            self.bytes[tensor] = emit(OpKind.quantize, attrs, source)[0]
        return self.bytes[tensor]

    def _target(self, tensor: Tensor) -> Scale | None:
        return None if tensor in self.choice.real else self.scales[tensor]

    def _keep(self, old: Tensor, new: Tensor) -> None:
        (self.floats if old in self.choice.real else self.bytes)[old] = new

    # Ops ------------------------------------------------------------------------------

    def _integers(self, node: Node) -> None:
        if node.kind in PRODUCTS:
            self._product(node)
        elif node.kind in CARRIES:
            self._carry(node)
        elif node.kind == OpKind.average_pool:
            self._average(node)
        else:
            self._sum(node)

    def _carry(self, node: Node) -> None:
        attrs = node.attrs
        if isinstance(attrs, Target):
            attrs = replace(attrs, dtype="uint8")
        if node.kind == OpKind.pad:
            attrs = attrs.replace(value=float(self.scales[node.inputs[0]][1]))
        inputs = [self.quantized(t) for t in node.inputs]
        self._keep(node.outputs[0], emit(node.op, attrs, *inputs)[0])

    def _average(self, node: Node) -> None:
        src, dst = node.inputs[0], node.outputs[0]
        attrs = QuantizedPoolAttrs(
            geometry=node.attrs.geometry,
            count_include_pad=node.attrs.count_include_pad,
            to=requantization(self.scales[src], self._target(dst)),
        )
        source = self.quantized(src)
        self._keep(dst, emit(OpKind.quantized_average_pool, attrs, source)[0])

    def _sum(self, node: Node) -> None:
        """An addition, an activation that clips, or both."""
        dst, (src, *others) = node.outputs[0], self.choice.operands(node)
        plain = node.kind == OpKind.binary
        clip = None if plain else CLIPS[node.attrs.activation]
        scale = self.scales[others[0]] if others else None
        attrs = requantization(self.scales[src], self._target(dst), clip, scale)
        operands = [self.quantized(t) for t in (src, *others)]
        self._keep(dst, emit(OpKind.requantize, attrs, *operands)[0])

    def _product(self, node: Node) -> None:
        """A convolution, or what is one with windows of one pixel."""
        src, dst, epilogue = node.inputs[0], node.outputs[0], node.attrs.epilogue
        target, extra = self._target(dst), added(node)
        clip = CLIPS.get(epilogue.activation)
        scale = self.scales[extra[0]] if extra else None
        to = requantization(self.scales[src], target, clip, scale)
        weights, bias = self._weights(node)
        operands = _quantized_weights(weights, bias, self.scales[src][0])
        made = self._conv(node, to, operands, extra)
        if epilogue.activation not in CLIPS:
            attrs = ActivationAttrs(
                activation=epilogue.activation, alpha=epilogue.alpha
            )
            made = emit(OpKind.activation, attrs, made)[0]
        self._keep(dst, made)

    def _conv(
        self, node: Node, to: Requantization, weights: Any, extra: list[Tensor]
    ) -> Tensor:
        geometry, axes = _geometry(node), node.outputs[0].ndim
        operands = [self.quantized(t) for t in (node.inputs[0], *extra)]
        if axes == 2:  # a product of matrices: rows are positions of a line
            operands = [_reshaped(t, (t.shape[0], 1, t.shape[1])) for t in operands]
        attrs = QuantizedConvAttrs(geometry=geometry, to=to)
        constants = [constant(w, w.dtype.name) for w in weights]
        made = emit(
            OpKind.quantized_conv, attrs, operands[0], *constants, *operands[1:]
        )[0]
        return _reshaped(made, node.outputs[0].shape) if axes == 2 else made

    def _weights(self, node: Node) -> tuple[np.ndarray, np.ndarray]:
        """A kernel [T] [R] S C/groups K and a bias, with all that is folded in."""
        operands = [
            t.node.payload.astype(np.float64)
            for t in node.inputs[1:]
            if t not in added(node)
        ]
        if node.kind == OpKind.batch_norm_inference:
            gamma, beta, mean, variance = operands
            factor = gamma / np.sqrt(variance + node.attrs.epsilon)
            ones = (1,) * (node.outputs[0].ndim - 1)
            return factor.reshape(*ones, -1), beta - mean * factor
        kernel, rest = operands[0], operands[1:]
        if node.kind == OpKind.gemm:
            kernel = kernel.T if node.attrs.transpose_b else kernel
            kernel = kernel[None]
        epilogue = node.attrs.epilogue
        if epilogue.scale:
            kernel = kernel * rest.pop(0)
        bias = rest.pop(0) if epilogue.bias else np.zeros(kernel.shape[-1])
        return kernel, bias


def _again(node: Node, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The outputs of a copy of the node, which comes after all that was made."""
    specs = [(t.shape, t.dtype) for t in node.outputs]
    same = {"label": node.label, "payload": node.payload}
    return Node(node.kind, node.attrs, inputs, specs, **same).outputs


def _reshaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    return emit(OpKind.reshape, Target(shape, tensor.dtype), tensor)[0]


def _geometry(node: Node) -> WindowGeometry:
    if node.kind == OpKind.conv:
        return node.attrs.geometry
    src, channels = node.inputs[0], node.outputs[0].shape[-1]
    spatial = (*(1,) * (5 - src.ndim), *src.shape[1:-1])[-3:]
    pixels = spatial if src.ndim > 2 else (1, 1, 1)
    return WindowGeometry(
        batch=src.shape[0],
        in_channels=src.shape[-1],
        out_channels=channels,
        groups=channels if node.kind == OpKind.batch_norm_inference else 1,
        input=pixels,
        output=pixels,
        kernel=(1, 1, 1),
        stride=(1, 1, 1),
        dilation=(1, 1, 1),
        pad_before=(0, 0, 0),
        pad_after=(0, 0, 0),
    )


def _quantized_weights(
    kernel: np.ndarray, bias: np.ndarray, unit: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Kernel, bias in steps of ``unit`` times the scales, and scales, one a filter.

    The scale is max |w| / 127, or what lets the bias fit half of 32 bits.
    Krishnamoorthi, arXiv:1806.08342, sections 2.2 and 3.1.1.
    """
    largest = np.abs(kernel).reshape(-1, kernel.shape[-1]).max(axis=0)
    scale = np.maximum(largest / 127, np.abs(bias) / (unit * 2.0**30))
    scale = np.where(scale > 0, scale, 1.0).astype(np.float32).astype(np.float64)
    return (
        np.clip(np.rint(kernel / scale), -127, 127).astype(np.int8),
        np.rint(bias / (unit * scale)).astype(np.int32),
        scale.astype(np.float32),
    )
