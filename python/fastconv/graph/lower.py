"""Lowering: from a graph to a native Plan."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv import _core
from fastconv._core import CallbackAttrs, OpKind
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
from fastconv.graph.passes.verify import verify
from fastconv.graph.variable import Block


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


def lower(graph: Graph, backend: _core.Backend) -> Lowered:
    """The plan of a graph: fused, with a place for every tensor and a kernel a step."""
    graph = verify(anchor(fuse(graph)))
    buffers = Buffers(graph)
    native = _Native(graph, buffers)
    workspaces = native.workspaces(backend)
    layout = plan_memory(graph, native.nodes, buffers.leaves, workspaces)
    native.copy_updates(layout)
    native.place(layout)
    outputs = [native.index[t] for t in graph.outputs]
    plan = _core.Plan(
        backend,
        native.slots,
        native.steps,
        [layout.arena_bytes, *buffers.sizes[1:]],
        [_core.Port(t.node.payload, native.index[t]) for t in graph.inputs],
        [_core.Port(f"output_{i}", slot) for i, slot in enumerate(outputs)],
        native.callbacks,
    )
    return Lowered(plan, graph, native.nodes, layout, buffers, outputs)


class _Native:
    """The slots and steps of a plan, first without places."""

    def __init__(self, graph: Graph, buffers: Buffers) -> None:
        self.graph, self.buffers = graph, buffers
        self.nodes = schedule(graph)
        self.index: dict[Tensor, int] = {}
        self.slots: list[Any] = []
        self.callbacks: list[Any] = []
        unread = unread_outputs(graph)
        made = (t for node in self.nodes for t in node.outputs if t not in unread)
        for tensor in (*buffers.leaves, *made):
            self._add_slot(tensor)
        self.steps = [self._step(node) for node in self.nodes]

    def _add_slot(self, tensor: Tensor) -> None:
        self.index[tensor] = len(self.slots)
        self.slots.append(_core.Slot(DTYPES[tensor.dtype], list(tensor.shape), 0, 0))

    def _step(self, node: Node) -> Any:
        attrs = node.attrs
        if node.kind == OpKind.callback:
            attrs = CallbackAttrs(index=len(self.callbacks))
            self.callbacks.append(weakref.proxy(node.payload))  # the graph keeps it
        inputs = [self.index[t] for t in node.inputs]
        outputs = [self.index.get(t, -1) for t in node.outputs]
        return _core.Step(node.op, attrs, inputs, outputs, node.label)

    def workspaces(self, backend: _core.Backend) -> dict[Node, int]:
        """The bytes that the kernel of each step asks for."""
        return {
            node: _core.choose_kernel(backend, step, self.slots)[1]
            for node, step in zip(self.nodes, self.steps, strict=True)
        }

    def copy_updates(self, layout: Layout) -> None:
        """Adds steps that write the new values that were not made in place."""
        for variable, value in self.graph.updates:
            buffer, _ = self.buffers.blocks[id(variable.block)]
            offset = variable.offset * variable.block.array.itemsize
            if layout.tensors[value].place() == (buffer, offset):
                continue
            spec = (value.shape, value.dtype)
            node = Node(OpKind.copy, None, (value,), [spec], label=variable.name)
            layout.tensors[node.outputs[0]] = Storage(value.nbytes, buffer, offset)
            self._add_slot(node.outputs[0])
            self.nodes.append(node)
            self.steps.append(self._step(node))

    def place(self, layout: Layout) -> None:
        """Gives slots and workspaces their places."""
        for tensor, index in self.index.items():
            slot = self.slots[index]
            slot.buffer, slot.offset = layout.tensors[tensor].place()
        for node, step in zip(self.nodes, self.steps, strict=True):
            if node in layout.workspaces:
                storage = layout.workspaces[node]
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

    return Graph(
        graph.inputs,
        tuple(own(t) for t in graph.outputs),
        tuple((variable, own(t)) for variable, t in graph.updates),
    )
