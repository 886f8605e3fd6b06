"""A plan with its buffers and its arena, ready to run on arrays."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv import _core
from fastconv.errors import ArgumentError
from fastconv.execution import device_array
from fastconv.execution.device_array import Resident
from fastconv.execution.lower import lower
from fastconv.graph.ir import RULES, Graph, Node
from fastconv.graph.variable import Block

Upcoming = Callable[[], list[np.ndarray]]


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
    tiling: tuple[int, int] = (0, 0)  # tile and splits; 0: as the kernel thinks best

    @property
    def choice(self) -> str:
        """The kernel, with its tile and splits if a table named them."""
        tile, splits = self.tiling
        return f"{self.kernel} {tile}/{splits}" if tile else self.kernel


class Executable:
    """A lowered graph: called with arrays for the inputs, it gives the outputs."""

    def __init__(
        self,
        graph: Graph,
        arena: _core.Arena,
        limit: int | None = None,
    ) -> None:
        self.arena = arena
        backend = arena.backend
        self._turns = _TURNS.setdefault(arena, _Turns())
        self._lowered = lower(graph, backend, limit)
        self.graph, self.plan = self._lowered.graph, self._lowered.plan
        self._buffers = self._lowered.buffers
        if self._buffers.constants.size:
            self.plan.bind(self._buffers.constant_index, self._buffers.constants)
        self._copied = backend.name != "cpu"  # a device may take copies when it binds
        self._bind_variables()

    def __call__(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Runs the plan. Arrays must be C-contiguous and of the inputs' dtypes."""
        with self._turns:
            if self._copied or self._moves != Block.moves:
                self._bind_variables()
            if self._copied and any(isinstance(a, Resident) for a in arrays):
                return self._run_resident(arrays)
            upcoming = _upcoming.get() if self._copied else None
            return self.plan.run(self.arena, arrays, self._lowered.outputs, upcoming)

    def again(self, arrays: tuple[Any, ...]) -> list[np.ndarray] | None:
        """The results, if the arrays are just as the plan takes them; quicker.

        None, and nothing has run, if they are not, or if there is more to do: on a
        device, or for variables that have moved.
        """
        with self._turns:
            if self._copied or self._moves != Block.moves:
                return None
            return self.plan.run_again(self.arena, arrays)

    def _run_resident(self, arrays: Sequence[np.ndarray]) -> list[Any]:
        """With results that stay on the device."""
        self.plan.run(self.arena, arrays, [])
        slots = zip(self._lowered.outputs, self.graph.outputs, strict=True)
        return [
            device_array.result(self.plan, self.arena, slot, (t.shape, t.dtype))
            for slot, t in slots
        ]

    @property
    def arena_bytes(self) -> int:
        """Size of the arena: all that the plan needs besides inputs and variables."""
        return int(self.plan.buffer_bytes[0])

    @property
    def nodes(self) -> Sequence[Node]:
        """The node behind each step."""
        return self._lowered.steps

    def report(self) -> list[StepReport]:
        """What each step is and costs."""
        lines = []
        stored = self._lowered.layout.tensors
        for node, (kernel, workspace, declined, tiling) in zip(
            self._lowered.steps, self.plan.explain(), strict=True
        ):
            operands = (*node.inputs, *node.outputs)
            moved = sum(t.nbytes for t in operands if t in stored)
            shape, flops = node.outputs[0].shape, RULES[node.op].cost(node)
            what = (node.label, node.name, kernel, tuple(declined))
            cost = (shape, moved, workspace, flops)
            lines.append(StepReport(*what, *cost, tiling))
        return lines

    def profile(self, arrays: Sequence[np.ndarray]) -> list[int]:
        """Nanoseconds of each step of one run (which counts: variables are updated)."""
        with self._turns:
            self._bind_variables()
            return self.plan.profile(self.arena, arrays)

    def save(self, path: str) -> None:
        """Writes the plan with its variables and constants to a file; see plan.h."""
        self._bind_variables()
        stored = range(1 + len(self.graph.inputs), len(self._buffers.sizes))
        self.plan.save(path, list(stored))

    @property
    def outdated(self) -> bool:
        """Whether a variable has moved to another block since (see `together`)."""
        return self._moves != Block.moves and any(
            v.block is not block for v, block in self._buffers.homes
        )

    def _bind_variables(self) -> None:
        for index, block in self._buffers.blocks.values():
            array = self.arena.backend.shared(block.array)
            if array is not block.array:
                block.array = array
                Block.moves += 1
            self.plan.bind(index, array)
        self._moves = Block.moves


_upcoming: ContextVar[Upcoming | None] = ContextVar("upcoming", default=None)


@contextmanager
def bringing(upcoming: Upcoming) -> Iterator[None]:
    """While plans run on a GPU in the with block, the arrays of the next run go there.

    upcoming: gives them; called once a run has begun.
    """
    token = _upcoming.set(upcoming)
    try:
        yield
    finally:
        _upcoming.reset(token)


class _Turns:
    """Lets one plan at a time use an arena."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0

    def __enter__(self) -> None:
        """Waits for the arena; a run inside a run of the same thread cannot wait."""
        caller = threading.get_ident()
        if self._owner == caller:
            raise ArgumentError(
                "a host function (fastconv.ops.callback) called a function that shares "
                "memory with the one that runs it; call it outside"
            )
        self._lock.acquire()
        self._owner = caller

    def __exit__(self, *_: object) -> None:
        self._owner = 0
        self._lock.release()


_TURNS: weakref.WeakKeyDictionary[_core.Arena, _Turns] = weakref.WeakKeyDictionary()
