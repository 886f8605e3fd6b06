"""Lowering: from a graph to a native Plan."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastconv import _core
from fastconv._core import CallbackAttrs, OpKind
from fastconv.errors import OutOfMemoryError
from fastconv.execution import tuned
from fastconv.execution.averages import move_together
from fastconv.execution.descent import descend_products
from fastconv.execution.narrow import narrow
from fastconv.execution.pooling import pool_into
from fastconv.execution.statistics import give_statistics
from fastconv.execution.tf32 import in_tf32
from fastconv.graph.ir import DTYPES, Graph, Leaf, Node, Tensor
from fastconv.graph.passes.fuse import fuse
from fastconv.graph.passes.memory import (
    ALIGNMENT,
    Layout,
    Storage,
    plan_memory,
    schedule,
    unread_outputs,
)
from fastconv.graph.passes.recompute import LEVELS, recompute
from fastconv.graph.passes.verify import verify
from fastconv.graph.variable import Block

DEVICE_UNIT = 16  # bytes that kernels of GPUs move at a time


@dataclass(frozen=True)
class Lowered:
    """A native plan, and what it was made of.

    steps: the node behind each step of the plan. outputs: the slots of the results.
    """

    plan: _core.Plan
    graph: Graph
    steps: Sequence[Node]
    layout: Layout
    buffers: Buffers
    outputs: Sequence[int]


def lower(
    graph: Graph, backend: _core.Backend, limit: int | None = None
) -> Lowered:
    """The plan of a graph: fused, with a place for every tensor and a kernel a step.

    limit: bytes of all buffers together; as little as needed is recomputed for it.

    Raises
    ------
    OutOfMemoryError if no recomputation gets below the limit.
    """
    graph = move_together(verify(anchor(fuse(graph))))
    graph = pool_into(narrow(in_tf32(graph), backend), backend)
    graph = descend_products(give_statistics(graph, backend), backend)
    draft = _first(graph, backend, limit)
    if limit is not None and draft.bytes > limit:
        draft = _within(graph, backend, limit)
    return draft.finish()


def _first(graph: Graph, backend: _core.Backend, limit: int | None) -> _Draft:
    """A draft that recomputes what is cheap, on GPUs only if not all can be kept.

    For a CPU it pays: what is made again comes from a cache.
    """
    free = backend.available_bytes
    if free is not None:
        draft = _Draft(graph, backend)
        if draft.bytes <= (free if limit is None else min(free, limit)):
            return draft
    return _Draft(recompute(graph), backend)


def _within(graph: Graph, backend: _core.Backend, limit: int) -> _Draft:
    """A draft of at most ``limit`` bytes that recomputes little more than needed."""
    sizes = []
    for level in LEVELS[1:]:
        draft = _Draft(recompute(graph, level), backend)
        sizes.append(draft.bytes)
        few, many = -1, len(draft.nodes)
        while sizes[-1] <= limit and many - few > 1:
            most = (few + many) // 2
            fewer = _Draft(recompute(graph, level, most), backend)
            if fewer.bytes <= limit:
                draft, many = fewer, most
            else:
                few = most
        if draft.bytes <= limit:
            return draft
    raise OutOfMemoryError(
        f"needs {min(sizes):,} bytes, with everything recomputed that can be, and the "
        f"memory_limit is {limit:,}"
    )


class _Draft:
    """The slots and steps of a plan, and their places: all but the native plan."""

    def __init__(self, graph: Graph, backend: _core.Backend) -> None:
        self.graph, self.backend = verify(graph), backend
        self.buffers = Buffers(graph)
        self.nodes = schedule(graph)
        self.index: dict[Tensor, int] = {}
        self.slots: list[Any] = []
        self.callbacks: list[Any] = []
        unread = unread_outputs(graph)
        made = (t for node in self.nodes for t in node.outputs if t not in unread)
        for tensor in (*self.buffers.leaves, *made):
            self._add_slot(tensor)
        self.steps = [self._step(node) for node in self.nodes]
        tuned.apply(backend, self.nodes, self.steps)
        asked = _core.workspaces(backend, self.steps, self.slots)
        workspaces = dict(zip(self.nodes, asked, strict=True))
        unit = 1 if backend.available_bytes is None else DEVICE_UNIT
        leaves = self.buffers.leaves
        self.layout = plan_memory(graph, self.nodes, leaves, workspaces, unit)

    @property
    def bytes(self) -> int:
        """Of the arena and all other buffers."""
        return self.layout.arena_bytes + sum(self.buffers.sizes)

    def finish(self) -> Lowered:
        """Makes the native plan."""
        self._copy_updates()
        self._place()
        outputs = [self.index[t] for t in self.graph.outputs]
        plan = _core.Plan(
            self.backend,
            self.slots,
            self.steps,
            [self.layout.arena_bytes, *self.buffers.sizes[1:]],
            [_core.Port(t.node.payload, self.index[t]) for t in self.graph.inputs],
            [_core.Port(f"output_{i}", slot) for i, slot in enumerate(outputs)],
            self.callbacks,
        )
        return Lowered(
            plan, self.graph, self.nodes, self.layout, self.buffers, outputs
        )

    def _add_slot(self, tensor: Tensor) -> None:
        self.index[tensor] = len(self.slots)
        fixed = tensor.node.kind is Leaf.constant
        self.slots.append(
            _core.Slot(DTYPES[tensor.dtype], list(tensor.shape), 0, 0, fixed)
        )

    def _step(self, node: Node) -> Any:
        attrs = node.attrs
        if node.kind == OpKind.callback:
            attrs = CallbackAttrs(index=len(self.callbacks))
            self.callbacks.append(weakref.proxy(node.payload))  # the graph keeps it
        inputs = [self.index[t] for t in node.inputs]
        outputs = [self.index.get(t, -1) for t in node.outputs]
        return _core.Step(node.op, attrs, inputs, outputs, node.label)

    def _copy_updates(self) -> None:
        """Adds steps that write the new values that were not made in place."""
        places = self.layout.tensors
        for variable, value in self.graph.updates:
            buffer, _ = self.buffers.blocks[id(variable.block)]
            offset = variable.offset * variable.block.array.itemsize
            if places[value].place() == (buffer, offset):
                continue
            spec = (value.shape, value.dtype)
            node = Node(OpKind.copy, None, (value,), [spec], label=variable.name)
            places[node.outputs[0]] = Storage(value.nbytes, buffer, offset)
            self._add_slot(node.outputs[0])
            self.nodes.append(node)
            self.steps.append(self._step(node))

    def _place(self) -> None:
        """Gives slots and workspaces their places."""
        for tensor, index in self.index.items():
            slot = self.slots[index]
            slot.buffer, slot.offset = self.layout.tensors[tensor].place()
        for node, step in zip(self.nodes, self.steps, strict=True):
            if node in self.layout.workspaces:
                storage = self.layout.workspaces[node]
                step.workspace_offset = storage.offset
                step.workspace_bytes = storage.size


class Buffers:
    """The buffers besides the arena: inputs, blocks of variables, constants."""

    def __init__(self, graph: Graph) -> None:
        self.sizes = [0, *(t.nbytes for t in graph.inputs)]
        self.leaves = {t: (1 + i, 0) for i, t in enumerate(graph.inputs)}
        self.blocks: dict[int, tuple[int, Block]] = {}
        nodes = [node for node in graph.nodes() if isinstance(node.kind, Leaf)]
        for node in nodes:
            if node.kind is Leaf.variable:
                v = node.payload
                self.leaves[node.outputs[0]] = (
                    self._block(v.block), v.offset * v.block.array.itemsize
                )  # fmt: skip
        for variable, _ in graph.updates:
            self._block(variable.block)
        variables = [n.payload for n in nodes if n.kind is Leaf.variable]
        variables += [variable for variable, _ in graph.updates]
        self.homes = [(v, v.block) for v in variables]
        self._constants([node for node in nodes if node.kind is Leaf.constant])

    def _block(self, block: Block) -> int:
        if id(block) not in self.blocks:
            self.blocks[id(block)] = (len(self.sizes), block)
            self.sizes.append(block.array.nbytes)
        return self.blocks[id(block)][0]

    def _constants(self, nodes: list[Node]) -> None:
        offset = 0
        self.constant_index = len(self.sizes)
        for node in nodes:
            self.leaves[node.outputs[0]] = (self.constant_index, offset)
            offset += -(-node.payload.nbytes // ALIGNMENT) * ALIGNMENT
        self.constants = np.zeros(offset, np.uint8)
        self.sizes.append(offset)
        for node in nodes:
            start = self.leaves[node.outputs[0]][1]
            raw = np.ascontiguousarray(node.payload).reshape(-1).view(np.uint8)
            self.constants[start : start + raw.size] = raw


def anchor(graph: Graph) -> Graph:
    """Copies results that are only another name of an input, variable or constant.

    So that updating a variable does not change a result that was its old value.
    """

    def own(tensor: Tensor) -> Tensor:
        source = tensor
        while source.node.kind == OpKind.reshape:
            source = source.node.inputs[0]
        if not isinstance(source.node.kind, Leaf):
            return tensor
        spec = (tensor.shape, tensor.dtype)
        return Node(OpKind.copy, None, (tensor,), [spec]).outputs[0]

    outputs = tuple(own(t) for t in graph.outputs)
    updates = tuple((variable, own(t)) for variable, t in graph.updates)
    if (outputs, updates) == (graph.outputs, graph.updates):
        return graph
    return replace(graph, outputs=outputs, updates=updates)
