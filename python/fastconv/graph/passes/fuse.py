"""Fusion: a closed list of flags on existing ops, and one pair of ops that become one.

1. bias_into: a product (conv, its data gradient, gemm), then + bias -> Epilogue.bias
2. batch_norm_into: the same, then batch_norm_inference -> Epilogue.scale and bias
3. fuse_backward: activations and sums that stand before or behind a backward op
4. epilogue_into: a product or batch norm, then + a tensor -> Epilogue.add, then an
   activation -> Epilogue.activation; or activation_backward -> Epilogue.derivative
5. cross_entropy: softmax, then cross-entropy, forward and backward
"""

from __future__ import annotations

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
    for kind, step in (  # what each looks for
        (OpKind.binary, bias_into),
        (OpKind.batch_norm_inference, batch_norm_into),
        (OpKind.batch_norm_backward, batch_norm_backward),
        (OpKind.concat, concat_backward),
        (OpKind.max_pool_backward, max_pool_backward),
        (None, epilogue_into),
        (OpKind.softmax, cross_entropy),
    ):
        if kind is None or kind in graph.kinds:
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


def epilogue_into(graph: Graph) -> Graph:
    """A product or batch norm takes over, one after the other, what only reads it.

    Its node stays where it is, so that it may only read what was made before.
    """
    alone, readers = private(graph), graph.consumers()
    fused: dict[Node, Tensor] = {}  # a reader that is gone, and what has its value
    new: dict[Tensor, Tensor] = {}

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node in fused:
            return (new[fused[node]],)
        if node.kind not in _WITH_EPILOGUE:
            return None
        result, epilogue, operands = node.outputs[0], node.attrs.epilogue, inputs
        for flags in (_added, _activated, _derived):
            if result not in alone or _is_full(epilogue):
                break
            reader = readers[result][0]
            found = flags(node.kind, epilogue, result, reader)
            if found is None or any(t.node.order >= node.order for t in found[1]):
                continue
            fused[reader], [result] = node.outputs[0], reader.outputs
            epilogue = epilogue.replace(**found[0])
            operands = (*operands, *(new[t] for t in found[1]))
        if result is node.outputs[0]:
            return None
        return copy_node(node, operands, node.attrs.replace(epilogue=epilogue))

    return graph.rewrite(visit, new)


def _is_full(epilogue: Epilogue) -> bool:
    """Whether it ends with an activation, behind which there can be nothing."""
    return bool(epilogue.derivative or epilogue.activation != Activation.identity)


def _added(_: OpKind, epilogue: Epilogue, result: Tensor, reader: Node) -> Flags | None:
    """The addition of a tensor of the same shape."""
    if reader.kind != OpKind.binary or reader.attrs.op != BinaryOp.add:
        return None
    a, b = reader.inputs
    if epilogue.add or a.shape != b.shape:
        return None
    return {"add": 1}, (b if a is result else a,)


def _activated(_: OpKind, _e: Epilogue, _r: Tensor, reader: Node) -> Flags | None:
    """An activation."""
    if reader.kind != OpKind.activation:
        return None
    attrs = reader.attrs
    return {"activation": attrs.activation, "alpha": attrs.alpha}, ()


def _derived(kind: OpKind, _: Epilogue, result: Tensor, reader: Node) -> Flags | None:
    """The derivative of an activation, of a product that gives a gradient."""
    if reader.kind != OpKind.activation_backward or kind not in _PRODUCTS:
        return None
    ddst, saved = reader.inputs
    attrs = reader.attrs
    chosen = {"activation": attrs.activation, "alpha": attrs.alpha, "derivative": 1}
    return (chosen, (saved,)) if ddst is result else None


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
