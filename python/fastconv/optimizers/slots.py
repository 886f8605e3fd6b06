"""The variables that an optimiser keeps beside the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from fastconv.graph.ir import Shape
from fastconv.graph.variable import Block, Variable

__all__ = ["zeros"]


def zeros(like: Sequence[tuple[str, Variable]]) -> list[Variable]:
    """Variables of these names, each with the shape and dtype of another: neighbours.

    Nothing is written: memory that is zero needs no page before it is used.
    """
    sizes: Counter[str] = Counter()
    for _, other in like:
        sizes[other.dtype] += other.size
    blocks = {dtype: Block(size, dtype) for dtype, size in sizes.items()}
    ends: Counter[str] = Counter()
    made = []
    for name, other in like:
        made.append(_place(name, other.shape, blocks[other.dtype], ends[other.dtype]))
        ends[other.dtype] += other.size
    return made


def _place(name: str, shape: Shape, block: Block, offset: int) -> Variable:
    slot = Variable.__new__(Variable)
    slot.name, slot.trainable = name, False
    slot.regularizer = slot.constraint = None
    slot.dtype, slot.shape = block.array.dtype.name, shape
    slot.block, slot.offset = block, offset
    return slot
