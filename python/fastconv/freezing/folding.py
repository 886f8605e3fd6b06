"""What a model computes for a batch, with all that no input changes as constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import reference
from fastconv._core import OpKind
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Graph, Leaf, Node, Tensor
from fastconv.graph.passes.fuse import fuse
from fastconv.graph.trace import Trace, constant
from fastconv.layers import context
from fastconv.layers.base import KerasTensor, is_spec
from fastconv.tree import flatten, map_structure

__all__ = ["Folding"]

Place = tuple[int, int]  # of a tensor: the number of its node, and of the output
_BY_CHANCE = (OpKind.random, OpKind.dropout, OpKind.callback)


class Folding:
    """Traces of a model that differ by the batch only.

    model: a built model. shapes: of one sample of each input.
    """

    def __init__(self, model: Any, shapes: Sequence[tuple[int, ...]]) -> None:
        self.model, self.shapes = model, shapes
        small, large = (self._traced(batch) for batch in (2, 3))
        self._values = _values(small, _fixed(small, large, model.name))

    def graph(self, batch: int) -> Graph:
        """The fused graph of a batch."""
        graph = self._traced(batch)
        places = _places(graph)

        def visit(node: Node, _: Any) -> tuple[Tensor, ...] | None:
            known = [self._values.get(places[t]) for t in node.outputs]
            if any(value is None for value in known):
                return None
            pairs = zip(known, node.outputs, strict=True)
            return tuple(constant(value, t.dtype) for value, t in pairs)

        return graph.rewrite(visit)

    def _traced(self, batch: int) -> Graph:
        trace, shapes = Trace(), iter(self.shapes)

        def stand_in(spec: KerasTensor) -> Tensor:
            return trace.input((batch, *next(shapes)), spec.dtype, spec.name)

        with trace.active(), context.training(False):
            x = map_structure(self.model.input_specs, is_spec, stand_in)
            made = self.model.predict_step((self.model._ready(x),))
        return fuse(trace.graph(flatten(made, Tensor)))


def _places(graph: Graph) -> dict[Tensor, Place]:
    nodes = enumerate(graph.nodes())
    return {t: (i, t.index) for i, node in nodes for t in node.outputs}


def _fixed(small: Graph, large: Graph, name: str) -> set[Tensor]:
    """The tensors of the first graph that neither inputs nor the batch change."""
    first, second = small.nodes(), large.nodes()
    if [n.kind for n in first] != [n.kind for n in second]:
        raise ArgumentError(f"model {name!r}: what it computes follows from the batch")
    fixed: set[Tensor] = set()
    for one, other in zip(first, second, strict=True):
        shapes = [t.shape for t in one.outputs] == [t.shape for t in other.outputs]
        if one.kind is Leaf.input or one.kind in _BY_CHANCE or not shapes:
            continue
        if one.kind is Leaf.constant:
            same = np.array_equal(one.payload, other.payload)
        else:
            same = _bytes(one) == _bytes(other)
        if same and all(t in fixed for t in one.inputs):
            fixed.update(one.outputs)
    return fixed


def _bytes(node: Node) -> bytes:
    return node.attrs.to_bytes() if hasattr(node.attrs, "to_bytes") else b""


def _values(graph: Graph, fixed: set[Tensor]) -> dict[Place, np.ndarray]:
    """The fixed tensors that others read."""
    used = {t for n in graph.nodes() for t in n.inputs if n.outputs[0] not in fixed}
    read = [t for t in fixed if t in used or t in graph.outputs]
    places = _places(graph)
    arrays = reference.run(Graph((), tuple(read)), [])
    return {places[t]: array for t, array in zip(read, arrays, strict=True)}
