"""The graph: tensors, the nodes that make them, and the rules that describe each op.

A graph is built by calling ops on tensors. Nodes are never changed after they are made:
passes make new ones. Every shape is known.
"""

from __future__ import annotations

import enum
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from operator import attrgetter
from typing import Any

import numpy as np

from fastconv._core import Dtype, OpKind, op_info, size_of
from fastconv.errors import ArgumentError, DtypeError
from fastconv.graph.scope import label
from fastconv.operators import Operators

Shape = tuple[int, ...]
Spec = tuple[Shape, str]  # shape and dtype of one output

DTYPES: dict[str, Dtype] = {
    ("bool" if name == "boolean" else name): value
    for name, value in Dtype.__members__.items()
}
HALVES = ("bfloat16", "float16")  # stored; sums of them are float32
_ITEM_BYTES = {name: size_of(dtype) for name, dtype in DTYPES.items()}


def dtype_name(dtype: Any) -> str:
    """Name of a dtype given as a string, a NumPy dtype or a Python type."""
    name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
    if name not in DTYPES:
        raise DtypeError(f"expected a dtype of {', '.join(DTYPES)}; received {name!r}")
    return name


def wide(dtype: str) -> str:
    """The dtype of sums of a dtype, and of parameters and statistics beside it."""
    return "float32" if dtype in HALVES else dtype


class Leaf(enum.Enum):
    """What a node without inputs stands for."""

    input = "input"
    variable = "variable"
    constant = "constant"


_counter = itertools.count()


class _Rewriting(threading.local):
    """Where the nodes stand that are made in the place of another one."""

    after: tuple[int, ...] = ()  # its order
    count = 0


_rewriting = _Rewriting()


def _next_order() -> tuple[int, ...]:
    if not _rewriting.after:
        return (next(_counter),)
    _rewriting.count += 1
    return (*_rewriting.after, _rewriting.count)


class Node:
    """One operation: its kind, its attributes, what it reads and what it makes."""

    __slots__ = (
        "attrs", "inputs", "kind", "label", "order", "outputs", "payload", "verified",
    )  # fmt: skip

    def __init__(
        self,
        kind: OpKind | Leaf,
        attrs: Any,
        inputs: Sequence[Tensor],
        specs: Iterable[Spec],
        *,
        label: str = "",
        payload: Any = None,
        order: tuple[int, ...] | None = None,
    ) -> None:
        self.kind = kind
        self.attrs = attrs  # the attribute struct of the family, or None
        self.inputs = tuple(inputs)
        self.label = label  # the layer that made it
        self.payload = payload  # of a leaf: name, Variable or array; the callback
        self.order = order or _next_order()  # above those of all that it reads
        self.outputs = tuple([Tensor(self, i, *spec) for i, spec in enumerate(specs)])
        self.verified = False  # whether passes.verify has seen it

    @property
    def op(self) -> OpKind:
        """The op kind of a node that is not a leaf."""
        assert isinstance(self.kind, OpKind), self
        return self.kind

    @property
    def name(self) -> str:
        """Name of the kind, for people."""
        return self.kind.name

    def __repr__(self) -> str:
        made = ", ".join(f"{t.dtype}{list(t.shape)}" for t in self.outputs)
        return f"<{self.name} {self.label!r} -> {made}>"


class Tensor(Operators):
    """A symbolic array: its shape and dtype are known, its values come when it runs.

    Ops, NumPy-like operators and indexing work on it; see `fastconv.ops`.

    >>> import fastconv as fc
    >>> centre = fc.function(lambda x: x - fc.ops.sum(x) / x.size)
    >>> centre([1.0, 3.0])
    array([-1.,  1.], dtype=float32)
    """

    __slots__ = ("dtype", "index", "node", "shape")

    def __init__(self, node: Node, index: int, shape: Shape, dtype: str) -> None:
        self.node = node
        self.index = index
        self.shape = shape
        self.dtype = dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return self.size * _ITEM_BYTES[self.dtype]

    def __repr__(self) -> str:
        return f"<Tensor {self.dtype}{list(self.shape)} of {self.node.name}>"

    def __len__(self) -> int:
        if not self.shape:
            raise ArgumentError("len() of a tensor with no axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    def __bool__(self) -> bool:
        raise ArgumentError(
            "a symbolic tensor has no truth value while a function is traced; "
            "use fastconv.ops.greater, maximum ... instead of if and while"
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise ArgumentError(
            "a symbolic tensor has no values while a function is traced; use "
            "fastconv.ops, or fastconv.ops.callback to run NumPy code"
        )


@dataclass(frozen=True)
class Rule:
    """What the graph half knows of an op kind.

    shape: (attrs, *input tensors) -> the shape and dtype of each output.
    gradient: (node, *gradients of the outputs, None where there is none) -> the
        gradient of each input, None for an input that has none.
    cost: node -> floating-point operations; by default one an output element.
    """

    shape: Callable[..., Sequence[Spec]]
    gradient: Callable[..., Sequence[Tensor | None]] | None = None
    cost: Callable[[Node], int] = field(default=lambda node: node.outputs[0].size)


RULES: dict[OpKind, Rule] = {}


def register(kind: OpKind, rule: Rule) -> None:
    """Adds the rule of ``kind``; each kind has exactly one."""
    assert kind not in RULES, kind
    RULES[kind] = rule


def emit(
    kind: OpKind, attrs: Any, *inputs: Tensor, payload: Any = None
) -> tuple[Tensor, ...]:
    """Makes the node of an op and returns its outputs. Operands were checked before."""
    specs = RULES[kind].shape(attrs, *inputs)
    return Node(kind, attrs, inputs, specs, label=label(), payload=payload).outputs


@dataclass(frozen=True)
class Graph:
    """What is computed: from ``inputs`` to ``outputs``, and what becomes of variables.

    updates: (variable, its new value); all reads in the graph see the old values.
    mixed: label -> half in which that layer's results may be stored.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    updates: tuple[tuple[Any, Tensor], ...] = ()
    mixed: Mapping[str, str] = field(default_factory=dict)

    @property
    def results(self) -> tuple[Tensor, ...]:
        """Everything that must be computed."""
        return self.outputs + tuple(value for _, value in self.updates)

    def nodes(self) -> Sequence[Node]:
        """All nodes that the results need, each after those that it reads."""
        return self._nodes

    @cached_property
    def _nodes(self) -> tuple[Node, ...]:
        return tuple(sorted(ancestors(self.results), key=attrgetter("order")))

    @cached_property
    def kinds(self) -> frozenset[OpKind | Leaf]:
        """The kinds of all nodes."""
        return frozenset(node.kind for node in self.nodes())

    def consumers(self) -> dict[Tensor, list[Node]]:
        """The nodes that read each tensor (a node that reads it twice stands twice)."""
        return self._consumers

    @cached_property
    def _consumers(self) -> dict[Tensor, list[Node]]:
        readers: dict[Tensor, list[Node]] = {}
        for node in self.nodes():
            for tensor in node.inputs:
                readers.setdefault(tensor, []).append(node)
        return readers

    def rewrite(
        self,
        new_node: Callable[[Node, tuple[Tensor, ...]], Any],
        new: dict[Tensor, Tensor] | None = None,
    ) -> Graph:
        """The graph with each node passed through ``new_node(node, new inputs)``.

        It returns the tensors that take the place of the node's outputs, or None to
        keep the node (copied if its inputs changed). Nodes that it makes get orders
        right after the node's. It may put more into ``new``, old tensor to new one.
        Where all nodes are kept, the result is this graph itself.
        """
        new = {} if new is None else new
        changed = False
        try:
            for node in self.nodes():
                inputs = tuple([new[t] for t in node.inputs])
                _rewriting.after, _rewriting.count = node.order, 0
                outputs = new_node(node, inputs)
                if outputs is None:
                    same = inputs == node.inputs
                    outputs = node.outputs if same else copy_node(node, inputs)
                changed = changed or outputs is not node.outputs
                for old, made in zip(node.outputs, outputs, strict=True):
                    new[old] = made
        finally:
            _rewriting.after = ()
        if not changed:
            return self
        return replace(
            self,
            inputs=tuple(new.get(t, t) for t in self.inputs),
            outputs=tuple(new[t] for t in self.outputs),
            updates=tuple((variable, new[t]) for variable, t in self.updates),
        )

    def __str__(self) -> str:
        names: dict[Tensor, str] = {}
        lines = []
        for i, node in enumerate(self.nodes()):
            for tensor in node.outputs:
                suffix = f".{tensor.index}" if len(node.outputs) > 1 else ""
                names[tensor] = f"%{i}{suffix}"
            read = ", ".join(names[t] for t in node.inputs)
            made = ", ".join(f"{t.dtype}{list(t.shape)}" for t in node.outputs)
            lines.append(f"%{i} = {node.name}({read}) -> {made}  # {node.label}")
        lines.append("return " + ", ".join(names[t] for t in self.outputs))
        return "\n".join(lines)


def copy_node(
    node: Node, inputs: Sequence[Tensor], attrs: Any = None
) -> tuple[Tensor, ...]:
    """The outputs of a copy of ``node`` with other inputs (and attributes)."""
    copy = Node(
        node.kind,
        node.attrs if attrs is None else attrs,
        inputs,
        [(t.shape, t.dtype) for t in node.outputs],
        label=node.label,
        payload=node.payload,
        order=node.order,
    )
    copy.verified = node.verified and attrs is None and _alike(inputs, node.inputs)
    return copy.outputs


def _alike(some: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Whether tensors have the shapes and dtypes of others."""
    return [(t.shape, t.dtype) for t in some] == [(t.shape, t.dtype) for t in others]


def ancestors(tensors: Iterable[Tensor]) -> set[Node]:
    """All nodes that ``tensors`` depend on, their own among them."""
    seen = {t.node for t in tensors}
    stack = list(seen)
    while stack:
        for t in stack.pop().inputs:
            if t.node not in seen:
                seen.add(t.node)
                stack.append(t.node)
    return seen


def private(graph: Graph) -> set[Tensor]:
    """The tensors that exactly one node reads, once, and that are no result."""
    results = set(graph.results)
    return {
        t for t, readers in graph.consumers().items()
        if len(readers) == 1 and t not in results
    }  # fmt: skip


def check_arity(node: Node) -> bool:
    """Whether a node has as many inputs and outputs as its kind allows."""
    if isinstance(node.kind, Leaf):
        return not node.inputs and len(node.outputs) == 1
    info, inputs, outputs = op_info(node.kind), len(node.inputs), len(node.outputs)
    few = inputs < info.min_inputs or outputs < info.min_outputs
    return not (few or inputs > info.max_inputs or outputs > info.max_outputs)
