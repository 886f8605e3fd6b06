"""Variables: the values that live from one run to the next, kept in blocks.

A block is one array; the parameters of a model are neighbours in it, so that updating,
saving and comparing them is one call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, ShapeError
from fastconv.graph.ir import Shape, dtype_name
from fastconv.graph.scope import current_trace
from fastconv.operators import Operators


class Block:
    """One flat array with the values of several variables, one after the other."""

    moves = 0  # how often variables have moved to a new block

    def __init__(self, size: int, dtype: str) -> None:
        self.array = np.zeros(size, dtype)


class Variable(Operators):
    """A named array with a value that functions may read and assign.

    Parameters
    ----------
    value: initial value, any array.
    name: for messages and files.
    trainable: whether `Model` trains it.
    dtype: default float32 for floating values, else the value's own.

    Attributes
    ----------
    learning_rate_multiplier: what optimisers multiply the learning rate with, for this
        variable; default 1, and 0 leaves it as it is.
    version: how often `assign` has changed it outside a function.
    assigned: how often it has changed any variable.

    >>> import fastconv as fc
    >>> total = fc.Variable(0.0, name="total")
    >>> add = fc.function(lambda x: total.assign(total + fc.ops.sum(x)))
    >>> add([1.0, 2.0])
    >>> float(total.value)
    3.0
    """

    learning_rate_multiplier = 1.0
    version = 0
    assigned = 0

    def __init__(
        self,
        value: Any,
        name: str = "variable",
        trainable: bool = True,
        dtype: str | None = None,
    ) -> None:
        array = np.asarray(value)
        if dtype is None and array.dtype.kind == "f":
            dtype = "float32"
        self.name = name
        self.trainable = trainable
        self.regularizer: Any = None  # what layers and optimisers do with it
        self.constraint: Any = None
        self.dtype = dtype_name(dtype or array.dtype)
        self.shape: Shape = array.shape
        self.block = Block(prod(array.shape), self.dtype)
        self.offset = 0  # in elements
        self.value[...] = array

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def value(self) -> np.ndarray:
        """The value as a view: writing into it changes the variable."""
        flat = self.block.array[self.offset : self.offset + self.size]
        return flat.reshape(self.shape)

    def numpy(self) -> np.ndarray:
        """A copy of the value."""
        return self.value.copy()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.value, dtype=dtype, copy=True if copy is None else copy)

    def assign(self, value: Any) -> None:
        """Gives the variable a new value, at once or, inside a function, at its end."""
        trace = current_trace()
        if trace is not None:
            trace.assign(self, value)
            return
        array = np.asarray(value)
        if array.shape != self.shape:
            raise ShapeError(
                f"variable {self.name!r}: expected a value of shape {self.shape}, "
                f"received {array.shape}"
            )
        self.value[...] = array
        self.version += 1
        Variable.assigned += 1

    def overlaps(self, other: Variable) -> bool:
        """Whether the two share memory."""
        return (
            self.block is other.block
            and self.offset < other.offset + other.size
            and other.offset < self.offset + self.size
        )

    def __repr__(self) -> str:
        return f"<Variable {self.name!r} {self.dtype}{list(self.shape)}>"


def together(variables: Sequence[Variable]) -> None:
    """Moves variables into one new block per dtype, in order.

    Those that already share a block with others stay where they are.
    """
    for dtype in sorted({v.dtype for v in variables}):
        alone = [
            v for v in dict.fromkeys(variables)
            if v.dtype == dtype and v.block.array.size == v.size
        ]  # fmt: skip
        if len(alone) < 2:
            continue
        block = Block(sum(v.size for v in alone), dtype)
        offset = 0
        for v in alone:
            block.array[offset : offset + v.size] = v.value.reshape(-1)
            v.block, v.offset = block, offset
            offset += v.size
        Block.moves += 1


def span(variables: Sequence[Variable]) -> Variable:
    """One flat variable over neighbours in a block; it shares their memory."""
    first = variables[0]
    flat = object.__new__(Variable)
    flat.name = f"{first.name}...{variables[-1].name}"
    flat.trainable, flat.dtype = first.trainable, first.dtype
    flat.block, flat.offset = first.block, first.offset
    flat.shape = (sum(v.size for v in variables),)
    return flat


def runs(variables: Iterable[Variable]) -> list[list[Variable]]:
    """Groups variables into runs of neighbours, in memory order."""
    unique = list(dict.fromkeys(variables))
    blocks: dict[int, int] = {}
    for v in unique:
        blocks.setdefault(id(v.block), len(blocks))
    groups: list[list[Variable]] = []
    for v in sorted(unique, key=lambda v: (blocks[id(v.block)], v.offset)):
        last = groups[-1][-1] if groups else None
        if last and last.block is v.block and last.offset + last.size == v.offset:
            groups[-1].append(v)
        else:
            groups.append([v])
    return groups


def check_variables(values: Iterable[Any], what: str) -> list[Variable]:
    """The list of ``values``, all of which must be variables."""
    result = list(values)
    for value in result:
        if not isinstance(value, Variable):
            raise ArgumentError(f"{what}: expected variables, received {value!r}")
    return result
