"""Statistics of a batch normalisation, made by the convolution before it.

Where the backend has a kernel that takes them while its result is in registers, the
normalisation reads that only once, as `batch_norm_inference` of what it is given.
"""

from __future__ import annotations

from fastconv import _core
from fastconv._core import Activation, Epilogue, OpKind
from fastconv.execution.narrow import accepted
from fastconv.graph.ir import Graph, Node, Spec, Tensor, wide
from fastconv.graph.passes.verify import verify


def give_statistics(graph: Graph, backend: _core.Backend) -> Graph:
    """The graph with batch normalisations that are given what convolutions can make."""
    norms = [n for n in graph.nodes() if n.kind == OpKind.batch_norm]
    epsilons = {n.inputs[0]: n.attrs.epsilon for n in norms if _can(n.inputs[0].node)}
    if not epsilons:
        return graph

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node.kind == OpKind.batch_norm:
            return _given(node, inputs)
        if not node.outputs or node.outputs[0] not in epsilons:
            return None
        made = _with_statistics(node, inputs, epsilons[node.outputs[0]])
        return made.outputs[:1] if accepted(made, backend) else None

    return verify(graph.rewrite(visit))


def _can(node: Node) -> bool:
    """Whether it is a convolution with no more than a bias behind it."""
    if node.kind != OpKind.conv or node.attrs.max_pool:
        return False
    e: Epilogue = node.attrs.epilogue
    plain = e.activation == Activation.identity
    return plain and not (e.scale or e.add or e.derivative)


def _with_statistics(conv: Node, inputs: tuple[Tensor, ...], epsilon: float) -> Node:
    [dst] = conv.outputs
    attrs = conv.attrs.replace(statistics=1, epsilon=epsilon)
    channel: Spec = (dst.shape[-1:], wide(dst.dtype))
    specs = [(dst.shape, dst.dtype), channel, channel, channel]
    return Node(conv.kind, attrs, inputs, specs, label=conv.label)


def _given(norm: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
    """What the normalisation gives, if what made its source also made statistics."""
    src, gamma, beta, *added = inputs
    conv = src.node
    if conv.kind != OpKind.conv or not conv.attrs.statistics:
        return None
    if conv.attrs.epsilon != norm.attrs.epsilon:  # of another one that reads the same
        return None
    _, mean, rstd, variance = conv.outputs
    operands = (src, gamma, beta, mean, variance, *added)
    spec = (norm.outputs[0].shape, norm.outputs[0].dtype)
    kind = OpKind.batch_norm_inference
    [dst] = Node(kind, norm.attrs, operands, [spec], label=norm.label).outputs
    return dst, mean, rstd, variance
