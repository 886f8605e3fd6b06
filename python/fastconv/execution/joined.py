"""Batch normalisations that read and write where a concat would only copy.

A dense connection normalises what was joined before again and again, each time with a
few channels more. A concat that normalisations alone read is never made: they take its
parts, forward and backward, and mean and variance of a part are taken once for all of
them. Where the gradient of what was normalised is added to that from elsewhere, often
the first channels of a wider gradient, the backward normalisation adds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from fastconv import _core
from fastconv._core import BatchNormAttrs, BinaryOp, OpKind
from fastconv.execution.narrow import accepted
from fastconv.graph.ir import Graph, Leaf, Node, Tensor, private, wide
from fastconv.graph.passes.verify import verify
from fastconv.graph.scope import label, scope
from fastconv.graph.trace import constant
from fastconv.operators import OPERATORS

Parts = tuple[Tensor, ...]
SOURCE: dict[OpKind | Leaf, int] = {  # the input that may come in parts
    OpKind.batch_norm: 0,
    OpKind.batch_norm_inference: 0,
    OpKind.batch_norm_backward: 1,
}


def join_norms(graph: Graph, backend: _core.Backend) -> Graph:
    """The graph with such normalisations, if the backend has kernels for them."""
    if SOURCE.keys().isdisjoint(graph.kinds):
        return graph
    parts, sums = _unmade(graph), _sums(graph)
    moments = _Moments()
    new: dict[Tensor, Tensor] = {}

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node.kind == OpKind.binary:
            same = [new[t] for t in node.inputs if sums.get(t.node) is node]
            return (same[0],) if same and same[0].node in added else None
        if node.kind not in SOURCE:
            return None
        source = node.inputs[SOURCE[node.kind]]
        own = tuple(new[t] for t in parts.get(source, ()))
        if node.kind == OpKind.batch_norm:
            return moments.normalised(node, inputs, own, backend) if own else None
        more = [new[_whole(node, sums[node])]] if node in sums else []
        if not own and not more:
            return None
        made = _in_parts(node, inputs, own, more)
        if not accepted(made[0].node, backend):
            return None
        added.update(t.node for t in made if more)
        return made

    added: set[Node] = set()
    return verify(graph.rewrite(visit, new))


def _unmade(graph: Graph) -> dict[Tensor, Parts]:
    """The parts of each concat along channels that normalisations alone read.

    Also through another such concat.
    """
    readers, results = graph.consumers(), set(graph.results)
    concats = [node for node in graph.nodes() if _joins_channels(node)]
    parts: dict[Tensor, Parts] = {}
    for node in reversed(concats):
        [whole] = node.outputs
        if whole in results:
            continue
        if all(_takes_parts(reader, whole, parts) for reader in readers[whole]):
            parts[whole] = node.inputs
    for node in concats:
        [whole] = node.outputs
        if whole in parts:
            parts[whole] = tuple(p for t in node.inputs for p in parts.get(t, (t,)))
    return parts


def _joins_channels(node: Node) -> bool:
    last = node.outputs[0].ndim - 1
    return (
        node.kind == OpKind.concat
        and node.attrs.axis == last > 0
        and all(t.shape[-1] for t in node.inputs)
    )


def _takes_parts(reader: Node, whole: Tensor, parts: Mapping[Tensor, Parts]) -> bool:
    if reader.kind == OpKind.concat:
        return reader.outputs[0] in parts
    at = SOURCE.get(reader.kind)
    return at is not None and [
        i for i, t in enumerate(reader.inputs) if t is whole
    ] == [at]


def _sums(graph: Graph) -> dict[Node, Node]:
    """The additions that alone read the gradient a backward normalisation makes."""
    alone, readers = private(graph), graph.consumers()
    sums: dict[Node, Node] = {}
    for node in graph.nodes():
        dsrc = node.outputs[0]
        if node.kind != OpKind.batch_norm_backward or dsrc not in alone:
            continue
        [reader] = readers[dsrc]
        if reader.kind == OpKind.binary and reader.attrs.op == BinaryOp.add:
            other = _other(reader, dsrc)
            alike = (other.shape, other.dtype) == (dsrc.shape, dsrc.dtype)
            if alike and other.node.order < node.order and other.node not in sums:
                sums[node] = reader
    return sums


def _other(add: Node, one: Tensor) -> Tensor:
    a, b = add.inputs
    return a if b is one else b


def _whole(node: Node, add: Node) -> Tensor:
    """What is added to a gradient, or that of which it is the first channels."""
    other = _other(add, node.outputs[0])
    cut = other.node
    if cut.kind != OpKind.slice:
        return other
    [src], box = cut.inputs, cut.attrs.native
    first = not any(box.start[: src.ndim]) and set(box.step[: src.ndim]) == {1}
    return src if first and src.shape[:-1] == other.shape[:-1] else other


def _in_parts(
    node: Node, inputs: Parts, parts: Parts, more: Sequence[Tensor]
) -> tuple[Tensor, ...]:
    """The outputs of a normalisation with the parts of its source, if there are any."""
    operands = list(inputs)
    if parts:
        operands[SOURCE[node.kind]] = parts[0]
    specs = [(t.shape, t.dtype) for t in node.outputs]
    operands += [*parts[1:], *more]
    return Node(node.kind, node.attrs, operands, specs, label=node.label).outputs


class _Moments:
    """Mean, 1 / deviation and variance of parts, each made once."""

    def __init__(self) -> None:
        self._made: dict[tuple[Parts, float], Parts] = {}

    def normalised(
        self, norm: Node, inputs: Parts, parts: Parts, backend: _core.Backend
    ) -> tuple[Tensor, ...] | None:
        """The outputs of a batch normalisation of parts, if there is a kernel."""
        with scope(norm.label):
            mean, rstd, variance = self._of(parts, norm.attrs.epsilon)
        _, gamma, beta, *added = inputs
        operands = (parts[0], gamma, beta, mean, variance, *added, *parts[1:])
        spec = (norm.outputs[0].shape, norm.outputs[0].dtype)
        kind = OpKind.batch_norm_inference
        made = Node(kind, norm.attrs, operands, [spec], label=norm.label)
        if not accepted(made, backend):
            return None
        return (*made.outputs, mean, rstd, variance)

    def _of(self, parts: Parts, epsilon: float) -> Parts:
        """Of all parts, by those of all but the last if somebody had them before."""
        if (parts, epsilon) not in self._made:
            front, last = parts[:-1], parts[-1:]
            if not front:
                made = _moments(parts[0], epsilon)
            else:
                cut = (front, last) if (front, epsilon) in self._made else zip(parts)
                pieces = [self._of(piece, epsilon) for piece in cut]
                join = OPERATORS["concatenate"]
                made = tuple(
                    join(list(column), 0) for column in zip(*pieces, strict=True)
                )
            self._made[parts, epsilon] = made
        return self._made[parts, epsilon]


def _moments(part: Tensor, epsilon: float) -> Parts:
    """Of one part: a batch normalisation whose result nobody reads."""
    channels, dtype = part.shape[-1:], wide(part.dtype)
    operands = (part, *(constant(np.full(channels, x), dtype) for x in (1.0, 0.0)))
    specs = [(part.shape, part.dtype), *[(channels, dtype)] * 3]
    attrs = BatchNormAttrs(epsilon=epsilon)
    return Node(OpKind.batch_norm, attrs, operands, specs, label=label()).outputs[1:]
