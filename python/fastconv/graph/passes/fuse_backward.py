"""Fusion of activation_backward with the backward op that follows, or stands before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fastconv._core import (
    BinaryOp,
    Epilogue,
    OpKind,
    activation_saves_output,
)
from fastconv.graph.ir import Graph, Node, Tensor, private


def batch_norm_backward(graph: Graph) -> Graph:
    """Activation_backward, then batch_norm_backward, of a norm [+ add], activation.

    The fused op also gives the gradient of what was added, for whoever else reads it.
    """
    alone, readers = private(graph), graph.consumers()
    fused: dict[Node, tuple[Tensor, ...]] = {}
    new: dict[Tensor, Tensor] = {}

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node in fused:
            return fused[node]
        if node.kind != OpKind.activation_backward:
            return None
        [gradient] = node.outputs
        for back in readers.get(gradient, ()):
            argument = _argument(node)
            if back.kind != OpKind.batch_norm_backward or argument is None:
                continue
            norm = back.inputs[3].node
            add = argument is not norm.outputs[0]
            if not (_adds(argument, norm) if add else gradient in alone):
                continue
            last = node.inputs[1] if add else norm.inputs[2]
            operands = (inputs[0], *(new[t] for t in (*back.inputs[1:], last)))
            made = _norm_with(back, node, add, operands)
            fused[back] = made[:3]
            return made[3:] if add else inputs[:1]
        return None

    return graph.rewrite(visit, new)


def _argument(node: Node) -> Tensor | None:
    """What the activation took whose activation_backward this is."""
    saved = node.inputs[1]
    if not activation_saves_output(node.attrs.activation):
        return saved
    made = saved.node
    same = made.kind == OpKind.activation and made.attrs == node.attrs
    return made.inputs[0] if same else None


def _adds(argument: Tensor, norm: Node) -> bool:
    """Whether it is a normalisation's result plus a tensor of its shape."""
    node, dst = argument.node, norm.outputs[0]
    return (
        node.kind == OpKind.binary
        and node.attrs.op == BinaryOp.add
        and dst in node.inputs
        and all(t.shape == dst.shape for t in node.inputs)
    )


def _norm_with(
    back: Node, activation: Node, add: bool, operands: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    chosen = activation.attrs
    epilogue = Epilogue(add=add, activation=chosen.activation, alpha=chosen.alpha)
    attrs = back.attrs.replace(epilogue=epilogue)
    tensors = (*back.outputs, *activation.outputs[: int(add)])
    specs = [(t.shape, t.dtype) for t in tensors]
    return Node(back.kind, attrs, operands, specs, label=back.label).outputs


def max_pool_backward(graph: Graph) -> Graph:
    """Max_pool_backward, then activation_backward, of an activation before a max pool.

    The derivative is taken before, at the maxima: fewer elements, and what made the
    gradient can take it over. Maxima are values of the activation's result.
    """
    alone = private(graph)
    new: dict[Tensor, Tensor] = {}

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node.kind != OpKind.activation_backward or node.inputs[0] not in alone:
            return None
        back, saved = node.inputs[0].node, node.inputs[1]
        if back.kind != OpKind.max_pool_backward:
            return None
        pool = back.inputs[1].node
        output = activation_saves_output(node.attrs.activation)
        if not output or pool.kind != OpKind.max_pool or pool.inputs[0] is not saved:
            return None
        ddst, indices = (new[t] for t in back.inputs)
        spec = (ddst.shape, ddst.dtype)
        operands = (ddst, new[pool.outputs[0]])
        slope = Node(node.kind, node.attrs, operands, [spec], label=node.label)
        spec = (inputs[0].shape, inputs[0].dtype)
        operands = (slope.outputs[0], indices)
        return Node(back.kind, back.attrs, operands, [spec], label=back.label).outputs

    return graph.rewrite(visit, new)


def concat_backward(graph: Graph) -> Graph:
    """Slices of a gradient, each then activation_backward, of a concat of activations.

    The derivative is taken of the whole, so that what made it can take it over.
    """
    readers, results = graph.consumers(), set(graph.results)
    whole: dict[Tensor, Tensor | None] = {}  # of a gradient: its product with the slope
    gone: set[Node] = set()
    new: dict[Tensor, Tensor] = {}

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node in gone:
            return inputs[:1]
        if node.kind != OpKind.slice:
            return None
        [gradient] = node.inputs
        if gradient not in whole:
            whole[gradient] = None
            backs = _of_parts(readers[gradient], readers, results)
            concat = _concat_of([back.inputs[1] for back in backs], readers, gradient)
            if concat is not None and _in_order(readers[gradient], concat):
                slope = (backs[0].kind, backs[0].attrs, (inputs[0], new[concat]))
                spec = (gradient.shape, gradient.dtype)
                made = Node(*slope, [spec], label=concat.node.label)
                whole[gradient] = made.outputs[0]
                gone.update(backs)
        product = whole[gradient]
        if product is None:
            return None
        spec = (node.outputs[0].shape, node.outputs[0].dtype)
        return Node(node.kind, node.attrs, (product,), [spec], label=node.label).outputs

    return graph.rewrite(visit, new)


def _of_parts(
    slices: Sequence[Node], readers: Mapping[Tensor, list[Node]], results: set[Tensor]
) -> list[Node]:
    """The activation_backward of each slice: all of one activation, or none."""
    backs: list[Node] = []
    for part in slices:
        after = readers.get(part.outputs[0], [])
        if part.outputs[0] in results or len(after) != 1:
            return []
        [back] = after
        derived = back.kind == OpKind.activation_backward
        if not derived or not activation_saves_output(back.attrs.activation):
            return []
        backs.append(back)
    return backs if len({back.attrs for back in backs}) == 1 else []


def _concat_of(
    parts: Sequence[Tensor], readers: Mapping[Tensor, list[Node]], like: Tensor
) -> Tensor | None:
    """The tensor that is all of these in a row, if there is one."""
    for node in readers[parts[0]] if parts else ():
        if node.kind == OpKind.concat and node.inputs == tuple(parts):
            [whole] = node.outputs
            return whole if whole.shape == like.shape else None
    return None


def _in_order(slices: Sequence[Node], concat: Tensor) -> bool:
    """Whether the slices are the parts of the concat, at their places."""
    axis, at = concat.node.attrs.axis, 0
    for part in slices:
        box = part.attrs.native
        if part.kind != OpKind.slice or box.start[axis] != at or box.step[axis] != 1:
            return False
        at += part.outputs[0].shape[axis]
    return True
