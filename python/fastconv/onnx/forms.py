"""The two orders of axes: channels last, as in fastconv, and first, as in ONNX."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["permuted", "to_first", "to_last"]

T = TypeVar("T")


def to_first(rank: int) -> tuple[int, ...]:
    """The permutation from N ... C to N C ...

    >>> to_first(4)
    (0, 3, 1, 2)
    """
    return (0, rank - 1, *range(1, rank - 1))


def to_last(rank: int) -> tuple[int, ...]:
    """The permutation from N C ... to N ... C.

    >>> to_last(4)
    (0, 2, 3, 1)
    """
    return (0, *range(2, rank), 1)


def permuted(sizes: tuple[T, ...], order: tuple[int, ...]) -> tuple[T, ...]:
    """The sizes in another order.

    >>> permuted((1, 224, 200, 3), to_first(4))
    (1, 3, 224, 200)
    """
    return tuple(sizes[i] for i in order)
