"""What was read from a file of weights, before it is known which model it fits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastconv.errors import FormatError

__all__ = ["GROWTH", "Stored", "checked", "widened"]

GROWTH = 100  # how many times larger compressed data may become
_SLACK = 1 << 20  # small arrays of zeros compress better
_RANK = 8


@dataclass
class Stored:
    """Arrays of a file by name, in its order.

    Attributes
    ----------
    source: the file, for messages.
    arrays: name -> array; bfloat16 is float32 already.
    own: whether fastconv wrote it, and a digest was checked.
    order: the weights among the arrays of an own file.
    classes: for Keras's files, name of a layer -> its name by class (conv2d_1).
    metadata: mean, deviation, class names, network, as in `Model.metadata`.
    """

    source: str
    arrays: dict[str, np.ndarray]
    own: bool = False
    order: list[str] = field(default_factory=list)
    classes: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)


def checked(shape: Any, name: str) -> tuple[int, ...]:
    """A shape of a file: at most 8 sizes, none negative."""
    if not isinstance(shape, list | tuple) or len(shape) > _RANK:
        raise FormatError(f"{name!r}: expected a shape of at most {_RANK} sizes")
    for size in shape:
        if type(size) is not int or not 0 <= size < 1 << 48:
            raise FormatError(f"{name!r}: expected sizes >= 0, received {size!r:.40}")
    return tuple(shape)


def grows_too_much(size: int, packed: int) -> bool:
    """Whether ``packed`` bytes that claim to be ``size`` bytes are a bomb."""
    return size > GROWTH * packed + _SLACK


def widened(data: Any) -> np.ndarray:
    """Bytes of bfloat16 values as float32, exactly.

    >>> widened(bytes([0x80, 0x3f]))
    array([1.], dtype=float32)
    """
    bits = np.frombuffer(data, "<u2").astype(np.uint32) << np.uint32(16)
    return bits.view(np.float32)
