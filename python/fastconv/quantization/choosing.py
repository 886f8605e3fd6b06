"""Which ops of a graph run on bytes, and which tensors share one scale."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod

from fastconv._core import Activation, BinaryOp, OpKind
from fastconv.graph.ir import Graph, Leaf, Node, Tensor, private
from fastconv.ops.quantized import MOST_PRODUCTS

__all__ = ["Choice", "choose"]

CLIPS = {
    Activation.identity: None, Activation.relu: "relu", Activation.relu6: "relu6"
}  # fmt: skip
CARRIES = (
    OpKind.concat, OpKind.max_pool, OpKind.pad, OpKind.reshape, OpKind.slice,
    OpKind.transpose,
)  # fmt: skip
PRODUCTS = (OpKind.conv, OpKind.gemm, OpKind.batch_norm_inference)


@dataclass
class Choice:
    """What `choose` found.

    nodes: that run on bytes.
    sums: a sum that only a clip on bytes reads -> that clip, which does both.
    real: outputs of such nodes that are wanted as float32 only.
    together: for each tensor that shares its scale with others, one of them.
    """

    nodes: set[Node] = field(default_factory=set)
    sums: dict[Node, Node] = field(default_factory=dict)
    real: set[Tensor] = field(default_factory=set)
    together: dict[Tensor, Tensor] = field(default_factory=dict)

    def leader(self, tensor: Tensor) -> Tensor:
        """The tensor that stands for all that share a scale."""
        while tensor in self.together:
            tensor = self.together[tensor]
        return tensor

    def operands(self, node: Node) -> list[Tensor]:
        """The inputs of a node on bytes that are bytes too."""
        if node.kind in PRODUCTS:
            return [node.inputs[0], *added(node)]
        source = node.inputs[0].node
        return list(source.inputs if self.sums.get(source) is node else node.inputs)

    def observed(self) -> list[Tensor]:
        """The tensors whose ranges must be known, in their order."""
        read = (self.operands(node) for node in self.nodes)
        found = {t for tensors in read for t in tensors}
        found |= {n.outputs[0] for n in self.nodes if n.outputs[0] not in self.real}
        return sorted(found, key=lambda t: (t.node.order, t.index))


def choose(graph: Graph) -> Choice:
    """Products with constant weights, and what stands between them."""
    choice, there = Choice(), set[Tensor]()  # there: tensors that come as bytes
    consumers = graph.consumers()
    nodes = [n for n in graph.nodes() if not isinstance(n.kind, Leaf)]
    for node in nodes:
        if _runs(node, there, consumers):
            choice.nodes.add(node)
            if clips(node):
                there.add(node.outputs[0])
    for node in reversed(nodes):
        if node not in choice.nodes:
            continue
        read = any(n in choice.nodes for n in consumers.get(node.outputs[0], ()))
        if not read and not _is_product(node, there):
            choice.nodes.remove(node)
        elif not read or not clips(node):
            choice.real.add(node.outputs[0])
    _clip_sums(graph, choice)
    for node in nodes:
        if node in choice.nodes and node.kind in CARRIES:
            _unite(choice, (*node.inputs, node.outputs[0]))
    return choice


def _clip_sums(graph: Graph, choice: Choice) -> None:
    alone = private(graph)
    for node in list(choice.nodes):
        if node.kind == OpKind.activation:
            (src,) = node.inputs
            summed = src.node
            if summed.kind == OpKind.binary and src in alone and summed in choice.nodes:
                choice.nodes.remove(summed)
                choice.sums[summed] = node


def added(node: Node) -> list[Tensor]:
    """The tensor that the epilogue of a product adds."""
    epilogue = node.attrs.epilogue
    return [node.inputs[-1 - epilogue.derivative]] if epilogue.add else []


def clips(node: Node) -> bool:
    """Whether the result can be written as bytes: no activation, or a clip."""
    if node.kind in PRODUCTS:
        return node.attrs.epilogue.activation in CLIPS
    return True


def _unite(choice: Choice, tensors: Iterable[Tensor]) -> None:
    first, *others = {choice.leader(t): None for t in tensors}
    for other in others:
        choice.together[other] = first


def _runs(node: Node, there: set[Tensor], consumers: dict[Tensor, list[Node]]) -> bool:
    if _is_product(node, there):
        return True
    if not all(t in there for t in node.inputs):
        return False
    if node.kind == OpKind.binary:
        a, b = node.inputs
        return node.attrs.op == BinaryOp.add and a.shape == b.shape
    if node.kind == OpKind.activation:
        return node.attrs.activation in CLIPS
    if node.kind == OpKind.max_pool:
        return not consumers.get(node.outputs[1])
    if node.kind == OpKind.pad:
        return bool(node.attrs.value == 0)
    return node.kind in CARRIES or node.kind == OpKind.average_pool


def _is_product(node: Node, there: set[Tensor]) -> bool:
    if node.kind not in PRODUCTS or node.attrs.epilogue.derivative:
        return False
    src, *weights = node.inputs
    weights = weights[: len(weights) - node.attrs.epilogue.add]
    if not all(w.node.kind is Leaf.constant for w in weights):
        return False
    if node.kind == OpKind.batch_norm_inference:  # it is not worth bytes of its own
        return src in there and 3 <= src.ndim <= 5
    if node.kind == OpKind.gemm:
        attrs = node.attrs
        plain = src.ndim == weights[0].ndim == 2 and not attrs.transpose_a
        return plain and attrs.k <= MOST_PRODUCTS
    return prod(weights[0].shape[:-1]) <= MOST_PRODUCTS
