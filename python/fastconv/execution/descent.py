"""Gradient descent that makes the gradients of large weights itself.

The gradient of a dense layer's weights is a product. Where an update with momentum is
all that reads it, the kernel of the update makes a few of its rows at a time and uses
them at once. They are never stored, which saves as much memory as the weights take, and
the time to write and read it where that is no cache. What clips, decays or accumulates
gradients reads them, too, and they are stored as before.

The gradient of the layer's input is a product with the old weights. If nothing can fail
after it, the update takes its place and makes it, too: weights are then read once.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

from fastconv import _core
from fastconv._core import Epilogue, OpKind
from fastconv.execution.narrow import accepted
from fastconv.graph.ir import Graph, Leaf, Node, Shape, Tensor, private
from fastconv.graph.passes.verify import verify
from fastconv.graph.scope import scope
from fastconv.graph.variable import Variable
from fastconv.operators import OPERATORS

LARGE = 1 << 18  # elements of weights for which steps of their own pay
_CAN_FAIL = frozenset({
    OpKind.callback, OpKind.cross_entropy, OpKind.softmax_cross_entropy,
})  # fmt: skip


def descend_products(graph: Graph, backend: _core.Backend) -> Graph:
    """The graph with such updates, if the backend has a kernel for them."""
    alone = private(graph)
    targets = {value: variable for variable, value in graph.updates}
    updates = dict(graph.updates)
    for node in graph.nodes():
        if node.kind != OpKind.sgd or not _only_updates(graph, node, targets):
            continue
        parts = _parts(node, alone)
        made = _updated(node, parts)
        steps = [new.node for new in made.values() if new.index == 0]
        fused = [step for step in steps if len(step.inputs) == 5]
        if fused and all(accepted(step, backend) for step in fused):
            for old in node.outputs:
                del updates[targets[old]]
            updates |= made
    graph = verify(replace(graph, updates=tuple(updates.items())))
    return verify(_with_data(graph, backend))


def _with_data(graph: Graph, backend: _core.Backend) -> Graph:
    """The graph with updates in the place of the product for their layer's input."""
    products = {
        reader: node for node in graph.nodes()
        if node.kind == OpKind.sgd and len(node.inputs) == 5
        for reader in graph.consumers()[node.inputs[4]] if _is_data(reader, node)
    }  # fmt: skip
    failing = (node.order for node in graph.nodes() if node.kind in _CAN_FAIL)
    safe = max(failing, default=())
    new: dict[Tensor, Tensor] = {}
    made: dict[Node, Sequence[Tensor]] = {}

    def visit(node: Node, _: tuple[Tensor, ...]) -> Sequence[Tensor] | None:
        step = products.get(node)
        if step is None or node.order < safe:
            return made.get(node)
        states = {t for t in step.inputs if t.node.kind is Leaf.variable}
        if not states.union(new).issuperset(step.inputs):  # one is made later
            return None
        operands = [
            _read(t.node.payload) if t in states else new[t] for t in step.inputs
        ]
        specs = [(t.shape, t.dtype) for t in (*step.outputs, *node.outputs)]
        attrs = step.attrs.replace(data=1)
        both = Node(step.kind, attrs, operands, specs, label=node.label)
        if not accepted(both, backend):
            return None
        made[step] = both.outputs[:2]
        return both.outputs[2:]

    return graph.rewrite(visit, new)


def _is_data(node: Node, step: Node) -> bool:
    """Whether it makes the gradient of the input of the layer that a step updates."""
    if node.kind != OpKind.gemm or node.inputs[0] is not step.inputs[4]:
        return False
    weights, cut = node.inputs[1].node, step.inputs[0].node.payload
    return (
        weights.kind is Leaf.variable
        and weights.payload.block is cut.block
        and (weights.payload.offset, weights.payload.shape) == (cut.offset, cut.shape)
        and bool(node.attrs.transpose_b and not node.attrs.transpose_a)
        and node.attrs.epilogue == Epilogue()
        and node.outputs[0].dtype == cut.dtype
    )


def _only_updates(graph: Graph, node: Node, targets: Mapping[Tensor, Variable]) -> bool:
    """Whether it moves weights with a velocity, and nobody else reads what it makes."""
    states = (node.inputs[0], *node.inputs[3:])
    return len(states) == 2 and all(
        old.node.kind is Leaf.variable
        and targets.get(new) is old.node.payload
        and new not in graph.consumers()
        and new not in graph.outputs
        for old, new in zip(states, node.outputs, strict=True)
    )


def _parts(node: Node, alone: set[Tensor]) -> list[Tensor]:
    """The gradient in parts: large products as matrices, and vectors of the rest."""
    gradient = node.inputs[1]
    joined = gradient.node.kind == OpKind.concat and gradient in alone
    parts: list[Tensor] = []
    rest: list[Tensor] = []
    for piece in gradient.node.inputs if joined else (gradient,):
        product = piece.node.inputs[0] if piece.node.kind == OpKind.reshape else piece
        if alone.issuperset((piece, product)) and _is_large(product):
            parts += [*_joined(node, rest), product]
            rest = []
        else:
            rest.append(piece)
    return [*parts, *_joined(node, rest)]


def _is_large(product: Tensor) -> bool:
    node = product.node
    if node.kind != OpKind.gemm or product.size < LARGE or product.ndim != 2:
        return False
    sums = node.attrs.transpose_a and not node.attrs.transpose_b
    return bool(sums) and all(t.dtype == product.dtype for t in node.inputs)


def _joined(node: Node, pieces: list[Tensor]) -> list[Tensor]:
    if len(pieces) < 2:
        return pieces
    with scope(node.label):
        return [OPERATORS["concatenate"](pieces, 0)]


def _updated(node: Node, parts: list[Tensor]) -> dict[Variable, Tensor]:
    """New values of weights and velocities, part by part."""
    states = [t.node.payload for t in (node.inputs[0], *node.inputs[3:])]
    updates: dict[Variable, Tensor] = {}
    first = 0
    for part in parts:
        cut = [_cut(state, first, part.shape) for state in states]
        weights, velocity = (_read(v) for v in cut)
        a, *b = part.node.inputs if part.node.kind == OpKind.gemm else [part]
        operands = (weights, a, node.inputs[2], velocity, *b)
        specs = [(v.shape, v.dtype) for v in cut]
        made = Node(node.kind, node.attrs, operands, specs, label=node.label)
        updates |= zip(cut, made.outputs, strict=True)
        first += part.size
    return updates


def _read(variable: Variable) -> Tensor:
    spec = (variable.shape, variable.dtype)
    label = variable.name
    leaf = Node(Leaf.variable, None, (), [spec], label=label, payload=variable)
    return leaf.outputs[0]


def _cut(variable: Variable, first: int, shape: Shape) -> Variable:
    """A variable over elements of a flat one, from ``first`` on: the same memory."""
    part = copy.copy(variable)
    part.offset, part.shape = variable.offset + first, shape
    return part
