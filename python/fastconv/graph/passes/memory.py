"""The memory planner: a place for every tensor, before anything runs.

Tensors that may share memory (reshape, ops that work in place, the inputs of a concat
along the outermost axis) share one storage. Storages of the arena get offsets so that
those alive at the same time do not overlap: largest first, each at the lowest free
offset. A part of a concat takes no memory before it is written: the block of all
gradients fills while activations die.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from fastconv._core import OpKind, lowest_offsets, op_info
from fastconv.graph.ir import Graph, Leaf, Node, Tensor
from fastconv.graph.variable import Variable

ALIGNMENT = 64


@dataclass(eq=False)
class Storage:
    """A stretch of memory: a part of ``parent``, or a root in a buffer."""

    size: int
    buffer: int = 0  # 0 is the arena
    offset: int = 0  # in the parent, else in the buffer
    parent: Storage | None = None
    first: int = 0  # step that writes it first
    last: int = -1  # step that reads it last
    # Offset, size and first step of each part, if they are written at different times.
    pieces: list[tuple[int, int, int]] = field(default_factory=list)

    def root(self) -> Storage:
        """The storage that holds this one."""
        return self if self.parent is None else self.parent.root()

    def place(self) -> tuple[int, int]:
        """Buffer and offset."""
        if self.parent is None:
            return self.buffer, self.offset
        buffer, offset = self.parent.place()
        return buffer, offset + self.offset


@dataclass
class Layout:
    """Where everything lies: the result of planning."""

    tensors: dict[Tensor, Storage] = field(default_factory=dict)
    workspaces: dict[Node, Storage] = field(default_factory=dict)
    arena_bytes: int = 0


def schedule(graph: Graph) -> list[Node]:
    """The steps in order: all ops; those that only make new values of variables last.

    So an optimiser can write over parameters that everything else has read.
    """
    updated = {value for _, value in graph.updates}
    readers = graph.consumers()
    ops = [node for node in graph.nodes() if not isinstance(node.kind, Leaf)]

    def only_updates(node: Node) -> bool:
        made = [t for t in node.outputs if t in updated]
        return bool(made) and not any(readers.get(t) for t in node.outputs)

    return sorted(ops, key=only_updates)


def plan_memory(
    graph: Graph,
    steps: Sequence[Node],
    leaves: Mapping[Tensor, tuple[int, int]],
    workspaces: Mapping[Node, int],
    unit: int = 1,
) -> Layout:
    """Places all tensors.

    leaves: buffer and offset in bytes of every input, variable and constant.
    workspaces: bytes that each step asks for.
    unit: no tensor begins at less than a multiple of so many bytes.
    """
    layout, unread = Layout(), unread_outputs(graph)
    for tensor, (buffer, offset) in leaves.items():
        layout.tensors[tensor] = Storage(tensor.nbytes, buffer, offset)
    last = last_reads(graph, steps)
    users = _variable_readers(steps)
    targets = {value: variable for variable, value in graph.updates}
    for i, node in enumerate(steps):
        if joins(node):
            _join(layout, node, i, unit)
        for tensor in node.outputs:
            if tensor in unread:
                continue
            if tensor not in layout.tensors:
                storage = _shared(layout, node, tensor, i, last, users, targets)
                layout.tensors[tensor] = storage or Storage(tensor.nbytes, first=i)
            _extend(layout.tensors[tensor], i, last[tensor])
        if workspaces.get(node):
            layout.workspaces[node] = Storage(workspaces[node], first=i, last=i)
    storages = (*layout.tensors.values(), *layout.workspaces.values())
    roots = {storage.root() for storage in storages}
    layout.arena_bytes = assign_offsets([s for s in roots if s.buffer == 0])
    return layout


def joins(node: Node) -> bool:
    """Whether the inputs of a concat follow each other in its result as they are."""
    if node.kind != OpKind.concat:
        return False
    return prod(node.outputs[0].shape[: node.attrs.axis]) == 1


def unread_outputs(graph: Graph) -> set[Tensor]:
    """The outputs that nobody reads and that their ops can leave out."""
    nodes = graph.nodes()
    read = set(graph.results).union(*(node.inputs for node in nodes))
    return {
        t for node in nodes if not isinstance(node.kind, Leaf)
        for t in node.outputs
        if t not in read and op_info(node.op).optional_outputs >> t.index & 1
    }  # fmt: skip


def last_reads(graph: Graph, steps: Sequence[Node]) -> dict[Tensor, int]:
    """The last step that reads each tensor (also under another shape)."""
    last: dict[Tensor, int] = dict.fromkeys(graph.results, len(steps))
    for i in range(len(steps) - 1, -1, -1):
        node = steps[i]
        for tensor in node.outputs:
            last.setdefault(tensor, i)
        until = last[node.outputs[0]] if node.kind == OpKind.reshape else i
        for tensor in node.inputs:
            last[tensor] = max(last.get(tensor, -1), until)
    return last


def assign_offsets(storages: list[Storage]) -> int:
    """Offsets in the arena; returns its size."""
    ordered = sorted(storages, key=lambda s: (-s.size, s.first, s.last))
    pieces = [s.pieces or [(0, s.size, s.first)] for s in ordered]
    offsets = lowest_offsets(pieces, [s.last for s in ordered], ALIGNMENT)
    for storage, offset in zip(ordered, offsets, strict=True):
        storage.offset = offset
    end = max((s.offset + s.size for s in ordered), default=0)
    return -(-end // ALIGNMENT) * ALIGNMENT


def _extend(storage: Storage, first: int, last: int) -> None:
    root = storage.root()
    root.first = min(root.first, first)
    root.last = max(root.last, last)


def _shared(
    layout: Layout,
    node: Node,
    tensor: Tensor,
    step: int,
    last: Mapping[Tensor, int],
    users: Mapping[Tensor, list[int]],
    targets: Mapping[Tensor, Variable],
) -> Storage | None:
    """The storage of an input that this output may take over, if there is one."""
    first = op_info(node.op).inplace[min(tensor.index, 1)]
    if first < 0:
        return None
    source = node.inputs[first + max(0, tensor.index - 1)]
    storage = layout.tensors[source]
    if node.kind == OpKind.reshape:
        return storage
    if source.nbytes != tensor.nbytes or node.inputs.count(source) > 1:
        return None
    if storage.root().buffer != 0:
        return storage if _updates(source, tensor, step, users, targets) else None
    dies = storage.root().last <= step and last[source] == step
    others = any(
        layout.tensors[t].root() is storage.root()
        for t in node.inputs
        if t is not source
    )
    return storage if dies and not others else None


def _updates(
    source: Tensor,
    tensor: Tensor,
    step: int,
    users: Mapping[Tensor, list[int]],
    targets: Mapping[Tensor, Variable],
) -> bool:
    """Whether ``tensor`` is the new value of variable ``source``, read before only."""
    target = targets.get(tensor)
    if target is None or source.node.kind is not Leaf.variable:
        return False
    variable = source.node.payload
    same = variable.block is target.block and variable.offset == target.offset
    return (
        same
        and all(
            max(steps) < step
            for read, steps in users.items()
            if read is not source and read.node.payload.overlaps(variable)
        )
        and max(users[source]) <= step
    )


def _variable_readers(steps: Sequence[Node]) -> dict[Tensor, list[int]]:
    """The steps that read each variable, also under another shape."""
    users: dict[Tensor, list[int]] = {}
    origin: dict[Tensor, Tensor] = {}
    for i, node in enumerate(steps):
        for tensor in node.inputs:
            leaf = origin.get(tensor, tensor)
            if leaf.node.kind is Leaf.variable:
                users.setdefault(leaf, []).append(i)
                if node.kind == OpKind.reshape:
                    origin[node.outputs[0]] = leaf
    return users


def _join(layout: Layout, node: Node, step: int, unit: int) -> None:
    """Makes the inputs of an outermost concat parts of its result where possible."""
    result = node.outputs[0]
    whole = Storage(result.nbytes, first=layout.tensors[node.inputs[0]].root().first)
    layout.tensors[result] = whole
    offset, times = 0, Counter(node.inputs)
    for tensor in node.inputs:
        root = layout.tensors[tensor].root()
        pieces = [(0, tensor.nbytes, step)]
        if (
            root.buffer == 0
            and root.size == tensor.nbytes > 0
            and root is not whole
            and times[tensor] == 1
            and offset % unit == 0
        ):
            root.parent, root.offset = whole, offset
            _extend(whole, root.first, root.last)
            pieces = root.pieces or [(0, root.size, root.first)]
        whole.pieces += [(offset + o, n, first) for o, n, first in pieces if n]
        offset += tensor.nbytes
