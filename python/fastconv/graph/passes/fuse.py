"""Fusion: a closed list of flags on existing ops, and one pair of ops that become one.

1. bias_into: a product (conv, its data gradient, gemm), then + bias -> Epilogue.bias
2. batch_norm_into: the same, then batch_norm_inference -> Epilogue.scale and bias
3. fuse_backward: activations and sums that stand before or behind a backward op
4. add_into: a product or batch norm, then + a tensor -> Epilogue.add
5. activation_into: the same, then an activation -> Epilogue.activation
6. derivative_into: a product, then activation_backward -> Epilogue.derivative
7. cross_entropy: softmax, then cross-entropy, forward and backward
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastconv._core import Activation, BinaryOp, Epilogue, OpKind
from fastconv.graph.ir import Graph, Node, Tensor, copy_node, private
from fastconv.graph.passes.fuse_backward import (
    batch_norm_backward,
    concat_backward,
    max_pool_backward,
)
from fastconv.graph.passes.verify import verify
from fastconv.operators import OPERATORS

_PRODUCTS = (OpKind.conv, OpKind.conv_backward_data, OpKind.gemm)
_WITH_EPILOGUE = (*_PRODUCTS, OpKind.batch_norm, OpKind.batch_norm_inference)


def fuse(graph: Graph) -> Graph:
    """The graph with everything on the list fused."""
    for kind, step in (  # the kind of which each needs a node
        (OpKind.binary, bias_into),
        (OpKind.batch_norm_inference, batch_norm_into),
        (OpKind.batch_norm_backward, batch_norm_backward),
        (OpKind.concat, concat_backward),
        (OpKind.max_pool_backward, max_pool_backward),
        (OpKind.binary, add_into),
        (OpKind.activation, activation_into),
        (OpKind.activation_backward, derivative_into),
        (OpKind.softmax, cross_entropy),
    ):
        if kind in graph.kinds:
            graph = verify(step(graph))
    return graph


def bias_into(graph: Graph) -> Graph:
    """A product followed by the addition of one value a channel."""
    alone = private(graph)

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node.kind != OpKind.binary or node.attrs.op != BinaryOp.add:
            return None
        for i in (0, 1):
            product, bias = inputs[i], inputs[1 - i]
            if (
                product.node.kind in _PRODUCTS
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
    """A product followed by batch normalisation with fixed statistics.

    The scale is s = gamma / sqrt(variance + epsilon), the bias beta - mean s + bias s.
    """
    alone = private(graph)

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node.kind != OpKind.batch_norm_inference or node.inputs[0] not in alone:
            return None
        src, gamma, beta, mean, variance = inputs
        product = src.node
        if product.kind not in _PRODUCTS:
            return None
        a, b, *bias = product.inputs
        if product.attrs.epilogue != Epilogue(bias=len(bias)):
            return None
        scale = gamma * OPERATORS["rsqrt"](variance + node.attrs.epsilon)
        shift = beta - mean * scale
        for old in bias:
            shift = shift + old * scale
        return Node(
            product.kind,
            product.attrs.replace(epilogue=Epilogue(scale=1, bias=1)),
            (a, b, scale, shift),
            [(src.shape, src.dtype)],
            label=product.label,
        ).outputs

    return graph.rewrite(visit)


Flags = tuple[dict[str, Any], tuple[Tensor, ...]]  # of an epilogue, and its operands


def _absorb(
    graph: Graph, kinds: tuple[OpKind, ...], flags: Callable[[Node, Node], Flags | None]
) -> Graph:
    """Nodes of ``kinds`` take over the only reader of their result.

    ``flags(node, reader)`` gives what their epilogue gets for it, or None. The node
    stays where it is, so that it may only read what was made before.
    """
    alone, readers = private(graph), graph.consumers()
    fused: dict[Node, Tensor] = {}  # a reader that is gone, and its value
    new: dict[Tensor, Tensor] = {}

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node in fused:
            return (new[fused[node]],)
        if node.kind not in kinds or node.outputs[0] not in alone:
            return None
        epilogue = node.attrs.epilogue
        reader = readers[node.outputs[0]][0]
        if epilogue.derivative or epilogue.activation != Activation.identity:
            return None
        found = flags(node, reader)
        if found is None or any(t.node.order >= node.order for t in found[1]):
            return None
        fused[reader] = node.outputs[0]
        operands = (*inputs, *(new[t] for t in found[1]))
        attrs = node.attrs.replace(epilogue=epilogue.replace(**found[0]))
        return copy_node(node, operands, attrs)

    return graph.rewrite(visit, new)


def add_into(graph: Graph) -> Graph:
    """An op with an epilogue, then the addition of a tensor of the same shape."""

    def flags(node: Node, reader: Node) -> Flags | None:
        if reader.kind != OpKind.binary or reader.attrs.op != BinaryOp.add:
            return None
        a, b = reader.inputs
        if node.attrs.epilogue.add or a.shape != b.shape:
            return None
        return {"add": 1}, (b if a is node.outputs[0] else a,)

    return _absorb(graph, _WITH_EPILOGUE, flags)


def activation_into(graph: Graph) -> Graph:
    """An op with an epilogue, then an activation."""

    def flags(_node: Node, reader: Node) -> Flags | None:
        if reader.kind != OpKind.activation:
            return None
        attrs = reader.attrs
        return {"activation": attrs.activation, "alpha": attrs.alpha}, ()

    return _absorb(graph, _WITH_EPILOGUE, flags)


def derivative_into(graph: Graph) -> Graph:
    """A product that gives a gradient, then the derivative of an activation."""

    def flags(node: Node, reader: Node) -> Flags | None:
        if reader.kind != OpKind.activation_backward:
            return None
        ddst, saved = reader.inputs
        attrs = reader.attrs
        chosen = {"activation": attrs.activation, "alpha": attrs.alpha, "derivative": 1}
        return (chosen, (saved,)) if ddst is node.outputs[0] else None

    return _absorb(graph, _PRODUCTS, flags)


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
