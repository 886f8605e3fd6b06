"""Recomputation: cheap results are made again when they are needed late, and not kept.

A result that is read soon after it was made, and again in the backward part, takes
memory all the time between. Made again by the same op it has the same bytes. Chen et
al., "Training Deep Nets with Sublinear Memory Cost", 2016; for dense connections Pleiss
et al., "Memory-Efficient Implementation of DenseNets", 2017.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, count, pairwise
from math import inf

from fastconv._core import OpKind
from fastconv.graph.ir import Graph, Leaf, Node, Tensor, copy_node
from fastconv.graph.passes.memory import joins

_CHEAP = frozenset({
    OpKind.batch_norm, OpKind.batch_norm_inference, OpKind.activation, OpKind.unary,
    OpKind.binary, OpKind.select, OpKind.cast, OpKind.copy, OpKind.concat,
    OpKind.slice, OpKind.pad, OpKind.transpose, OpKind.broadcast, OpKind.dropout,
})  # fmt: skip
_ANY = _CHEAP | {
    OpKind.conv, OpKind.gemm, OpKind.max_pool, OpKind.average_pool, OpKind.lp_pool,
    OpKind.layer_norm, OpKind.local_response_norm, OpKind.softmax, OpKind.reduce,
    OpKind.resize,
}  # fmt: skip
_SMALL = 64  # a tensor that is so many times smaller than the result is kept for it


@dataclass(frozen=True)
class Level:
    """What may be made again.

    kinds: by these ops. price: by moving so many bytes for each byte that is saved.
    depth: for one reader by so many ops that follow each other.
    """

    kinds: frozenset[OpKind]
    price: float
    depth: int


# From what is always done, as it costs next to nothing, to what needs least memory.
LEVELS = (
    Level(_CHEAP, 3.2, 4),  # batch normalisation, concat: each byte read and written
    Level(_CHEAP, inf, 4),
    Level(_ANY, inf, 4),
    Level(_ANY, inf, 8),
    Level(_ANY, inf, 16),
)


def recompute(graph: Graph, level: Level = LEVELS[0], most: int | None = None) -> Graph:
    """The graph in which results that span its peak of memory are made twice.

    most: how many that the first level would not, counted from the graph's beginning.
    """
    choice = _Choice(graph, level)
    cuts = choice.made_again(most)
    return _split(graph, choice.nodes, cuts) if cuts else graph


class _Choice:
    """When tensors are made and read, and which of them are worth making again."""

    def __init__(self, graph: Graph, level: Level) -> None:
        self.level = level
        self.nodes = [n for n in graph.nodes() if not isinstance(n.kind, Leaf)]
        self.reads: dict[Tensor, list[int]] = {}
        self.sharers: dict[Tensor, int] = {}  # ops that may run again and read it
        self.depth: dict[Tensor, int] = {}  # of what is made again
        for i, node in enumerate(self.nodes):
            for t in set(node.inputs):
                self.reads.setdefault(_source(t), []).append(i)
            if node.kind in level.kinds:
                for t in set(_again(node)):
                    self.sharers[t] = self.sharers.get(t, 0) + 1
        self.made = {t: i for i, n in enumerate(self.nodes) for t in n.outputs}
        self.results = {_source(t) for t in graph.results}
        self.last = {t: self.reads.get(t, [i])[-1] for t, i in self.made.items()}
        self.last |= dict.fromkeys(self.results, len(self.nodes))
        self.peak = self._peak()

    def _peak(self) -> int:
        """The step with the most bytes alive."""
        change = [0] * (len(self.nodes) + 2)
        for t, i in self.made.items():
            if t.node.kind != OpKind.reshape and not joins(t.node):
                change[i] += t.nbytes
                change[self.last[t] + 1] -= t.nbytes
        alive = list(accumulate(change))
        return alive.index(max(alive))

    def made_again(self, most: int | None) -> dict[Tensor, int]:
        """The tensors that are worth making again, and the step after which."""
        chosen: dict[Tensor, int] = {}
        dear = 0
        for t in self.made:
            gap = self._gap(t)
            if gap is None or not self.repeats(t) or t in self.results:
                continue
            plan = _Again(self, t, gap[1])
            if plan.moved == inf or plan.moved > self.level.price * plan.saved:
                continue
            if plan.moved > LEVELS[0].price * plan.saved:
                if dear == most:
                    continue
                dear += 1
            plan.accept()
            chosen |= {**plan.cuts, t: gap[0]}
        return chosen

    def repeats(self, t: Tensor) -> bool:
        """Whether the op that made it may run again for it."""
        return t.node.kind in self.level.kinds and t.index == 0

    def _gap(self, t: Tensor) -> tuple[int, int] | None:
        """The two reads between which the peak is, if it is read before and after."""
        for before, after in pairwise(self.reads.get(t, ())):
            if before < self.peak < after:
                return before, after
        return None


class _Again:
    """What it takes to make one tensor again for a reader at a step."""

    def __init__(self, choice: _Choice, tensor: Tensor, step: int) -> None:
        self.choice, self.tensor, self.step = choice, tensor, step
        self.cuts: dict[Tensor, int] = {}  # also made again
        self.depth: dict[Tensor, int] = {}
        self.kept: set[Tensor] = set()  # longer than without
        self.saved: float = tensor.nbytes
        self.moved = self._make(tensor)

    def accept(self) -> None:
        """Notes that this is done."""
        self.choice.depth |= self.depth
        for t in self.kept:
            self.choice.last[t] = self.step

    def _make(self, t: Tensor) -> float:
        """Bytes moved to make a tensor again, with all that this needs."""
        inputs = [_source(u) for u in _again(t.node)]
        moved = t.nbytes + sum(u.nbytes + self._have(u) for u in inputs)
        self.depth[t] = 1 + max(map(self._depth, inputs), default=0)
        return moved if self.depth[t] <= self.choice.level.depth else inf

    def _depth(self, t: Tensor) -> int:
        return self.depth.get(t, 0) or self.choice.depth.get(t, 0)

    def _have(self, t: Tensor) -> float:
        """Bytes moved so that an input is there: none if it is kept."""
        last = self.choice.last
        if isinstance(t.node.kind, Leaf) or self._depth(t) or last[t] >= self.step:
            return 0
        if t.nbytes * _SMALL <= self.tensor.nbytes or not self.choice.repeats(t):
            self.kept.add(t)
            self.saved -= t.nbytes / self.choice.sharers.get(t, 1)
            return 0
        self.cuts[t] = last[t]
        return self._make(t)


def _source(t: Tensor) -> Tensor:
    """The tensor whose memory it is under another shape."""
    while t.node.kind == OpKind.reshape:
        t = t.node.inputs[0]
    return t


def _again(node: Node) -> Sequence[Tensor]:
    """The inputs of the op that makes the first output of ``node`` again."""
    if node.kind == OpKind.batch_norm:
        operands, others = node.inputs[:3], node.inputs[3:]
        return (*operands, node.outputs[1], node.outputs[3], *others)
    if node.kind == OpKind.concat:
        parts: list[Tensor] = []
        for t in node.inputs:
            nested = t.node.kind == OpKind.concat and t.node.attrs == node.attrs
            parts += _again(t.node) if nested else [t]
        return parts
    return node.inputs


def _split(graph: Graph, nodes: Sequence[Node], cuts: dict[Tensor, int]) -> Graph:
    """The graph in which readers after its cut get a tensor that is made again."""
    new: dict[Tensor, Tensor] = {}
    again: dict[Node, tuple[Tensor, ...]] = {}
    numbers = count()

    def at(t: Tensor, i: int) -> Tensor:
        if i > cuts.get(t, i):
            return make(t.node, _again(t.node), i)[t.index]
        if t.node.kind == OpKind.reshape:
            source = at(t.node.inputs[0], i)
            if source is not at(t.node.inputs[0], 0):
                return make(t.node, (source,), i)[0]
        return new.get(t, t)

    def make(node: Node, inputs: Sequence[Tensor], i: int) -> tuple[Tensor, ...]:
        """The outputs of a copy of ``node`` right before step i, made once."""
        if node not in again:
            inputs = [at(t, i) for t in inputs]
            norm = node.kind == OpKind.batch_norm
            specs = [(t.shape, t.dtype) for t in node.outputs[: 1 if norm else None]]
            again[node] = Node(
                OpKind.batch_norm_inference if norm else node.kind,
                node.attrs,
                inputs,
                specs,
                label=node.label,
                order=(*nodes[i - 1].order, -1, next(numbers)),
            ).outputs
        return again[node]

    for i, node in enumerate(nodes):
        inputs = tuple(at(t, i) for t in node.inputs)
        if inputs != node.inputs:
            new.update(zip(node.outputs, copy_node(node, inputs), strict=True))
    return replace(
        graph,
        outputs=tuple(new.get(t, t) for t in graph.outputs),
        updates=tuple((variable, new.get(t, t)) for variable, t in graph.updates),
    )
