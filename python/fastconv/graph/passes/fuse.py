"""Fusion: a closed list of flags on existing ops, and one pair of ops that become one.

1. bias_into: conv or gemm, then + bias           -> Epilogue.bias
2. batch_norm_into: conv, then batch_norm_inference -> scaled weights and a bias
3. activation_into: conv, gemm or batch norm, then an activation -> Epilogue.activation
4. cross_entropy: softmax, then cross-entropy, forward and backward
"""

from __future__ import annotations

from typing import Any

from fastconv._core import (
    Activation,
    ActivationAttrs,
    BinaryOp,
    Epilogue,
    OpKind,
)
from fastconv.graph.ir import Graph, Node, Tensor, copy_node
from fastconv.graph.passes.verify import verify
from fastconv.operators import OPERATORS

_WITH_EPILOGUE = (OpKind.conv, OpKind.gemm)
_WITH_ACTIVATION = (*_WITH_EPILOGUE, OpKind.batch_norm, OpKind.batch_norm_inference)


def fuse(graph: Graph) -> Graph:
    """The graph with everything on the list fused."""
    for step in (bias_into, batch_norm_into, bias_into, activation_into, cross_entropy):
        graph = verify(step(graph))
    return graph


def private(graph: Graph) -> set[Tensor]:
    """The tensors that exactly one node reads, once, and that are no result."""
    results = set(graph.results)
    return {
        t for t, readers in graph.consumers().items()
        if len(readers) == 1 and t not in results
    }  # fmt: skip


def bias_into(graph: Graph) -> Graph:
    """Conv or gemm followed by the addition of one value a channel."""
    alone = private(graph)

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node.kind != OpKind.binary or node.attrs.op != BinaryOp.add:
            return None
        for i in (0, 1):
            product, bias = inputs[i], inputs[1 - i]
            if (
                product.node.kind in _WITH_EPILOGUE
                and node.inputs[i] in alone
                and bias.shape == product.shape[-1:]
                and product.shape == node.outputs[0].shape
                and product.node.attrs.epilogue == Epilogue()
            ):
                return _with_bias(product.node, bias)
        return None

    return graph.rewrite(visit)


def _with_bias(node: Node, bias: Tensor) -> tuple[Tensor, ...]:
    attrs = node.attrs.replace(epilogue=Epilogue(bias=1))
    specs = [(t.shape, t.dtype) for t in node.outputs]
    operands = (*node.inputs, bias)
    return Node(node.kind, attrs, operands, specs, label=node.label).outputs


def batch_norm_into(graph: Graph) -> Graph:
    """Conv followed by batch normalisation with fixed statistics.

    With s = gamma / sqrt(variance + epsilon): weights become weights * s, and
    beta - mean * s (+ bias * s) is the new bias.
    """
    alone = private(graph)

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node.kind != OpKind.batch_norm_inference:
            return None
        src, gamma, beta, mean, variance = inputs
        conv = src.node
        if conv.kind != OpKind.conv or node.inputs[0] not in alone:
            return None
        if conv.attrs.epilogue.activation != Activation.identity:
            return None
        scale = gamma * OPERATORS["rsqrt"](variance + node.attrs.epsilon)
        shift = beta - mean * scale
        if conv.attrs.epilogue.bias:
            shift = shift + conv.inputs[2] * scale
        weights = conv.inputs[1] * scale
        epilogue = Epilogue(
            bias=1, activation=node.attrs.activation, alpha=node.attrs.alpha
        )
        spec = (src.shape, src.dtype)
        return Node(
            OpKind.conv,
            conv.attrs.replace(epilogue=epilogue),
            (conv.inputs[0], weights, shift),
            [spec],
            label=conv.label,
        ).outputs

    return graph.rewrite(visit)


def activation_into(graph: Graph) -> Graph:
    """An op with an activation flag followed by an activation."""
    alone, readers = private(graph), graph.consumers()
    fused: set[Tensor] = set()

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node.kind == OpKind.activation and node.inputs[0] in fused:
            return inputs
        if node.kind not in _WITH_ACTIVATION or node.outputs[0] not in alone:
            return None
        reader = readers[node.outputs[0]][0]
        if reader.kind != OpKind.activation:
            return None
        attrs = _with_activation(node.attrs, reader.attrs)
        if attrs is None:
            return None
        fused.add(node.outputs[0])
        return copy_node(node, inputs, attrs)

    return graph.rewrite(visit)


def _with_activation(attrs: Any, activation: ActivationAttrs) -> Any:
    """The attributes with an activation, or None if they have one already."""
    epilogue = getattr(attrs, "epilogue", attrs)
    if epilogue.activation != Activation.identity:
        return None
    chosen = epilogue.replace(activation=activation.activation, alpha=activation.alpha)
    return chosen if epilogue is attrs else attrs.replace(epilogue=chosen)


def cross_entropy(graph: Graph) -> Graph:
    """Softmax and the cross-entropy of its result; also the two backward ops.

    Whoever reads the softmax later gets the probabilities of the fused op.
    """
    alone = private(graph)
    new: dict[Tensor, Tensor] = {}

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node.kind == OpKind.cross_entropy and inputs[0].node.kind == OpKind.softmax:
            logits = inputs[0].node.inputs[0]
            loss = node.outputs[0]
            fused = Node(
                OpKind.softmax_cross_entropy,
                node.attrs,
                (logits, inputs[1]),
                [(loss.shape, loss.dtype), (logits.shape, logits.dtype)],
                label=node.label,
            )
            new[node.inputs[0]] = fused.outputs[1]
            return fused.outputs[:1]
        if (
            node.kind == OpKind.softmax_backward
            and inputs[0].node.kind == OpKind.cross_entropy_backward
            and node.inputs[0] in alone
            and inputs[0].node.inputs[1] is inputs[1]
        ):
            back = inputs[0].node
            return Node(
                OpKind.softmax_cross_entropy_backward,
                back.attrs,
                back.inputs,
                [(node.outputs[0].shape, node.outputs[0].dtype)],
                label=back.label,
            ).outputs
        return None

    return graph.rewrite(visit, new)
