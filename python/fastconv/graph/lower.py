"""Lowering: from a graph to a native Plan, ready to run."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv import _core
from fastconv._core import CallbackAttrs, OpKind
from fastconv.errors import ArgumentError, DataError
from fastconv.graph.ir import DTYPES, RULES, Graph, Leaf, Node, Tensor
from fastconv.graph.passes.fuse import fuse
from fastconv.graph.passes.memory import (
    ALIGNMENT,
    Layout,
    plan_memory,
    schedule,
    unread_outputs,
)
from fastconv.graph.passes.verify import verify
from fastconv.graph.variable import Block


@dataclass(frozen=True)
class StepReport:
    """One line of `explain`: what runs, and what it costs."""

    layer: str
    op: str
    kernel: str
    declined: tuple[str, ...]
    shape: tuple[int, ...]
    bytes: int
    workspace: int
    flops: int


class Executable:
    """A lowered graph: called with arrays for the inputs, it gives the outputs."""

    def __init__(
        self, graph: Graph, backend: _core.Backend, arena: _core.Arena
    ) -> None:
        self.arena = arena
        self._turns = _TURNS.setdefault(arena, _Turns())
        self.graph = verify(anchor(fuse(graph)))
        self._steps = schedule(self.graph)
        self._unread = unread_outputs(self.graph)
        self._buffers = _Buffers(self.graph)
        self._lower(backend)
        self._bind_state()

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs the plan. Arrays must be C-contiguous and of the inputs' dtypes."""
        with self._bound(arrays):
            self.plan.run(self.arena)
            return [self.plan.fetch(slot, self.arena) for slot in self._outputs]

    @property
    def arena_bytes(self) -> int:
        """Size of the arena: all that the plan needs besides inputs and variables."""
        return int(self.plan.buffer_bytes[0])

    def report(self) -> list[StepReport]:
        """What each step is and costs."""
        lines = []
        for node, (kernel, workspace, declined) in zip(
            self._run_steps, self.plan.explain(), strict=True
        ):
            operands = (*node.inputs, *node.outputs)
            moved = sum(t.nbytes for t in operands if t not in self._unread)
            shape, flops = node.outputs[0].shape, RULES[node.op].cost(node)
            what = (node.label, node.name, kernel, tuple(declined))
            lines.append(StepReport(*what, shape, moved, workspace, flops))
        return lines

    def profile(self, arrays: Sequence[np.ndarray]) -> list[int]:
        """Nanoseconds of each step of one run (which counts: variables are updated)."""
        with self._bound(arrays):
            return list(self.plan.profile(self.arena))

    def save(self, path: str) -> None:
        """Writes the plan with its variables and constants to a file; see plan.h."""
        self._bind_state()
        stored = range(1 + len(self.graph.inputs), len(self._buffers.sizes))
        self.plan.save(path, list(stored))

    @property
    def outdated(self) -> bool:
        """Whether a variable has moved to another block since (see `together`)."""
        return any(v.block is not block for v, block in self._buffers.homes)

    @contextlib.contextmanager
    def _bound(self, arrays: Sequence[np.ndarray]) -> Iterator[None]:
        """Gives the plan the arena and the inputs, which it does not keep."""
        with self._turns.take():
            self._bind_state()
            try:
                for i, array in enumerate(arrays):
                    self.plan.bind(1 + i, array)
                yield
            finally:
                self.plan.unbind(1, 1 + len(self.graph.inputs))

    def _bind_state(self) -> None:
        for index, block in self._buffers.blocks.values():
            self.plan.bind(index, block.array)

    def _lower(self, backend: _core.Backend) -> None:
        slots: dict[Tensor, int] = {}
        native_slots: list[Any] = []
        callbacks: list[Any] = []
        tensors = [*self._buffers.leaves, *(t for n in self._steps for t in n.outputs)]
        for tensor in tensors:
            if tensor in self._unread:
                continue
            slots[tensor] = len(native_slots)
            native_slots.append(
                _core.Slot(DTYPES[tensor.dtype], list(tensor.shape), 0, 0)
            )
        steps = []
        workspaces: dict[Node, int] = {}
        for node in self._steps:
            attrs = node.attrs
            if node.kind == OpKind.callback:
                attrs = CallbackAttrs(index=len(callbacks))
                callbacks.append(weakref.proxy(node.payload))  # the graph keeps it
            inputs = [slots[t] for t in node.inputs]
            outputs = [slots.get(t, -1) for t in node.outputs]
            step = _core.Step(node.op, attrs, inputs, outputs, node.label)
            _, workspaces[node], _ = _core.choose_kernel(backend, step, native_slots)
            steps.append(step)
        layout = plan_memory(self.graph, self._steps, self._buffers.leaves, workspaces)
        self.layout = layout
        self._place(layout, native_slots, slots, steps)
        copies = self._final_copies(layout, native_slots, slots)
        self._run_steps = [*self._steps, *(node for node, _ in copies)]
        sizes = [layout.arena_bytes, *self._buffers.sizes[1:]]
        self.plan = _core.Plan(
            backend,
            native_slots,
            [*steps, *(step for _, step in copies)],
            sizes,
            [_core.Port(t.node.payload, slots[t]) for t in self.graph.inputs],
            [
                _core.Port(f"output_{i}", slots[t])
                for i, t in enumerate(self.graph.outputs)
            ],
            callbacks,
        )
        self._outputs = [slots[t] for t in self.graph.outputs]
        if self._buffers.constants.size:
            self.plan.bind(self._buffers.constant_index, self._buffers.constants)

    def _place(
        self,
        layout: Layout,
        native: list[Any],
        slots: dict[Tensor, int],
        steps: list[Any],
    ) -> None:
        for tensor, index in slots.items():
            native[index].buffer, native[index].offset = layout.tensors[tensor].place()
        for node, step in zip(self._steps, steps, strict=True):
            if node in layout.workspaces:
                storage = layout.workspaces[node]
                step.workspace_offset = storage.offset
                step.workspace_bytes = storage.size

    def _final_copies(
        self, layout: Layout, native: list[Any], slots: dict[Tensor, int]
    ) -> list[tuple[Node, Any]]:
        """Steps that write the new values that were not made in place."""
        copies = []
        for variable, value in self.graph.updates:
            buffer, _ = self._buffers.blocks[id(variable.block)]
            offset = variable.offset * variable.block.array.itemsize
            if layout.tensors[value].place() == (buffer, offset):
                continue
            target = _core.Slot(DTYPES[value.dtype], list(value.shape), buffer, offset)
            native.append(target)
            node = Node(OpKind.copy, None, (value,), [(value.shape, value.dtype)])
            step = _core.Step(
                OpKind.copy, None, [slots[value]], [len(native) - 1], variable.name
            )
            copies.append((node, step))
        return copies


class _Turns:
    """Lets one plan at a time use an arena."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0

    @contextlib.contextmanager
    def take(self) -> Iterator[None]:
        """Waits for the arena; a run inside a run of the same thread cannot wait."""
        if self._owner == threading.get_ident():
            raise ArgumentError(
                "a host function (fastconv.ops.callback) called a function that shares "
                "memory with the one that runs it; call it outside"
            )
        with self._lock:
            self._owner = threading.get_ident()
            try:
                yield
            finally:
                self._owner = 0


_TURNS: weakref.WeakKeyDictionary[_core.Arena, _Turns] = weakref.WeakKeyDictionary()


class _Buffers:
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


_READY = {np.dtype(name) for name in ("float32", "uint8", "int64", "int32", "bool")}


def check_feed(name: str, array: np.ndarray, wide: bool = False) -> np.ndarray:
    """The array as a plan takes it: C-contiguous, aligned, of a dtype that there is.

    wide: keep float64 as it is.
    """
    if array.dtype in _READY and array.flags.c_contiguous and array.flags.aligned:
        return array
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "fiub":
        raise DataError(f"{name}: expected an array of numbers, received {array.dtype}")
    dtype = array.dtype.newbyteorder("=")
    if kind == "f" and size >= 8:
        dtype = np.dtype("float64" if wide else "float32")
    elif dtype.name not in DTYPES:
        dtype = np.dtype("int64")
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])
