"""Tracing: notes what a function does while it runs with symbolic tensors."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.graph.ir import DTYPES, Graph, Leaf, Node, Shape, Tensor, dtype_name
from fastconv.graph.scope import current_trace, tracing
from fastconv.graph.variable import Block, Variable
from fastconv.operators import OPERATORS

Place = tuple[Block, int, Shape]  # where a variable is, and how it is seen


class Trace:
    """The inputs, variable reads and assignments of one traced function."""

    def __init__(self) -> None:
        self.inputs: list[Tensor] = []
        self.parties: dict[Any, None] = {}
        self.mixed: dict[str, str] = {}  # see Graph
        self._reads: dict[Place, Tensor] = {}
        self._numbers: dict[tuple[str, type, str], Tensor] = {}
        self._assigned: dict[Block, _Assigned] = {}

    def active(self) -> AbstractContextManager[Trace]:
        """Makes this the current trace inside a with block."""
        return tracing(self)

    def involve(self, party: Any) -> None:
        """Names an object with a part in each run of the plan.

        ``party.plan_key()``, hashable, chooses the plan: another key, another trace;
        ``party.before_run()`` and ``party.after_run()``, if it has them, are called
        around each run.
        """
        self.parties[party] = None

    def input(self, shape: tuple[int, ...], dtype: str, name: str) -> Tensor:
        """A new input of the function."""
        node = Node(Leaf.input, None, (), [(shape, dtype)], payload=name)
        self.inputs.append(node.outputs[0])
        return node.outputs[0]

    def number(self, value: Any, dtype: str) -> Tensor:
        """The constant of a number, the same one each time."""
        key = (dtype, type(value), repr(value))  # -0.0 is not 0.0
        if key not in self._numbers:
            self._numbers[key] = constant(value, dtype)
        return self._numbers[key]

    def read(self, variable: Variable) -> Tensor:
        """The value of a variable, as assigned so far."""
        place = _place(variable)
        found = self._assigned.get(variable.block, _NOTHING).find(variable)
        if found:
            other, value = found
            return _part(value, variable.offset - other.offset, variable)
        if place in self._reads:
            return self._reads[place]
        spec = (variable.shape, variable.dtype)
        node = Node(
            Leaf.variable, None, (), [spec], label=variable.name, payload=variable
        )
        self._reads[place] = node.outputs[0]
        return node.outputs[0]

    def assign(self, variable: Variable, value: Any) -> None:
        """Gives a variable its new value."""
        tensor = as_tensor(value, dtype=variable.dtype)
        if tensor.shape != variable.shape or tensor.dtype != variable.dtype:
            raise ShapeError(
                f"variable {variable.name!r}: expected a value {variable.dtype}"
                f"{list(variable.shape)}, received {tensor.dtype}{list(tensor.shape)}"
            )
        assigned = self._assigned.setdefault(variable.block, _Assigned())
        found = assigned.find(variable)
        if found and _place(found[0]) != _place(variable):
            raise ArgumentError(
                f"variable {variable.name!r} was already assigned in this function "
                f"as part of {found[0].name!r}; assign the same variables each time"
            )
        assigned.add(variable, tensor)

    def graph(self, outputs: list[Tensor]) -> Graph:
        """What was traced, as a graph."""
        graph = Graph(
            tuple(self.inputs),
            tuple(outputs),
            tuple(pair for block in self._assigned.values() for pair in block.values()),
            dict(self.mixed),
        )
        for node in graph.nodes():
            if node.kind is Leaf.input and node.outputs[0] not in self.inputs:
                raise ArgumentError(
                    f"a function uses {node.payload!r} of another traced function; "
                    "give it as an argument, or keep the value in a Variable"
                )
        return graph


class _Assigned(dict[Place, tuple[Variable, Tensor]]):
    """The new values of variables of one block; none overlaps another."""

    begin, end = 0, 0  # of all together

    def find(self, variable: Variable) -> tuple[Variable, Tensor] | None:
        """What was assigned there, to the variable or to one that overlaps it."""
        if variable.offset >= self.end or variable.offset + variable.size <= self.begin:
            return None
        overlapping = (pair for pair in self.values() if pair[0].overlaps(variable))
        return self.get(_place(variable)) or next(overlapping, None)

    def add(self, variable: Variable, value: Tensor) -> None:
        begin, end = variable.offset, variable.offset + variable.size
        self.begin = min(begin, self.begin) if self else begin
        self.end = max(end, self.end)
        self[_place(variable)] = (variable, value)


_NOTHING = _Assigned()


def _place(variable: Variable) -> Place:
    return variable.block, variable.offset, variable.shape


def _part(value: Tensor, offset: int, variable: Variable) -> Tensor:
    if offset == 0 and value.shape == variable.shape:
        return value
    if offset < 0 or offset + variable.size > value.size:
        raise ArgumentError(
            f"variable {variable.name!r} was assigned in part in this function, so it "
            "cannot be read as a whole; read it before"
        )
    flat = OPERATORS["reshape"](value, (value.size,))
    return OPERATORS["reshape"](flat[offset : offset + variable.size], variable.shape)


def constant(value: Any, dtype: str | None = None) -> Tensor:
    """A tensor with a fixed value; Python and float64 numbers become float32."""
    array = np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise DtypeError(
            f"expected numbers, received {type(value).__name__} {value!r:.80}"
        )
    if dtype is None:
        known = array.dtype.name in DTYPES
        dtype = array.dtype.name if known else "int64"
        dtype = "float32" if array.dtype.kind == "f" else dtype
    if dtype == "bfloat16":  # which NumPy does not know
        return OPERATORS["cast"](constant(array), dtype)
    array = array.astype(dtype_name(dtype))
    node = Node(Leaf.constant, None, (), [(array.shape, dtype)], payload=array)
    return node.outputs[0]


def operand(number: Any, dtype: str) -> Tensor:
    """A number beside a tensor of that dtype; uses share it, as none can name it."""
    trace = current_trace()
    return constant(number, dtype) if trace is None else trace.number(number, dtype)


def as_tensor(value: Any, dtype: str | None = None) -> Tensor:
    """A tensor from a tensor, a variable (its value now), an array or a number.

    dtype: of a number or array; a tensor keeps its own.
    """
    if isinstance(value, Tensor):
        return value
    if isinstance(value, Variable):
        trace = current_trace()
        if trace is None:
            return constant(value.value, value.dtype)
        return trace.read(value)
    return constant(value, dtype)


def is_symbolic(value: Any) -> bool:
    """Whether ``value`` is, or holds, a symbolic tensor."""
    if isinstance(value, list | tuple):
        return any(map(is_symbolic, value))
    if isinstance(value, dict):
        return any(map(is_symbolic, value.values()))
    return isinstance(value, Tensor)
