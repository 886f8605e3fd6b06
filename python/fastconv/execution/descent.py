"""Gradient descent that makes the gradients of large weights itself.

The gradient of a dense layer's weights is a product. Where an update with momentum is
all that reads it, the kernel of the update makes a few of its rows at a time and uses
them at once. They are never stored, which saves as much memory as the weights take, and
the time to write and read it where that is no cache. What clips, decays or accumulates
gradients reads them, too, and they are stored as before.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

from fastconv import _core
from fastconv._core import OpKind
from fastconv.execution.narrow import accepted
from fastconv.graph.ir import Graph, Leaf, Node, Shape, Tensor, private
from fastconv.graph.passes.verify import verify
from fastconv.graph.scope import scope
from fastconv.graph.variable import Variable
from fastconv.operators import OPERATORS

LARGE = 1 << 18  # elements of weights for which steps of their own pay


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
    return verify(replace(graph, updates=tuple(updates.items())))


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
