"""How many elements the weights of a model that is read from a file may have."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from math import prod

from fastconv.errors import FormatError

__all__ = ["spend", "weight_budget"]

_local = threading.local()


@contextlib.contextmanager
def weight_budget(elements: int) -> Iterator[None]:
    """Inside the with block, new weights have at most so many elements together.

    So that a file cannot ask for more memory than its own weights take.
    """
    before = getattr(_local, "left", None)
    _local.left = elements
    try:
        yield
    finally:
        _local.left = before


def spend(layer: str, shape: tuple[int, ...]) -> None:
    """Takes a new weight off the budget, if there is one."""
    left = getattr(_local, "left", None)
    if left is None:
        return
    _local.left = left - prod(shape)
    if _local.left < 0:
        raise FormatError(
            f"layer {layer!r}: expected a weight of at most {left} elements, which is "
            f"what the file holds, received the shape {shape}"
        )
