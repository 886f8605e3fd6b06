"""Checks of layers' arguments, with messages that name the layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv.errors import ArgumentError, ShapeError, unknown_name


def who(layer: Any) -> str:
    """The start of a message."""
    return f"layer {layer.name!r} ({type(layer).__name__})"


def is_integer(value: Any) -> bool:
    """Whether ``value`` is an integer, and no boolean."""
    return hasattr(value, "__index__") and not isinstance(value, bool)


def integer(layer: Any, what: str, value: Any, least: int = 1) -> int:
    """``value``, an integer >= ``least``."""
    if not is_integer(value) or value < least:
        raise ArgumentError(
            f"{who(layer)}: expected {what}, an integer >= {least}, received {value!r}"
        )
    return int(value)


def integers(
    layer: Any, what: str, value: Any, count: int, least: int = 1
) -> tuple[int, ...]:
    """``value``, one integer for all axes or one an axis, as a tuple."""
    values = value if isinstance(value, list | tuple) else (value,) * count
    if len(values) != count or not all(is_integer(v) and v >= least for v in values):
        numbers = "one" if count == 1 else f"one, or {count},"
        raise ArgumentError(
            f"{who(layer)}: expected {what}: {numbers} of integers >= {least}, "
            f"received {value!r}"
        )
    return tuple(int(v) for v in values)


def pairs(layer: Any, what: str, value: Any, count: int) -> tuple[tuple[int, int], ...]:
    """``value`` as a pair (before, after) an axis.

    It is a number for all, one number an axis, or one pair an axis; for a single axis
    two numbers are its pair.
    """
    given = value if isinstance(value, list | tuple) else (value,) * count
    if count == 1 and len(given) == 2:
        given = (given,)
    found = [tuple(v) if isinstance(v, list | tuple) else (v, v) for v in given]
    if len(found) != count or not all(
        len(p) == 2 and all(is_integer(v) and v >= 0 for v in p) for p in found
    ):
        raise ArgumentError(
            f"{who(layer)}: expected {what} as an integer >= 0, or for each of {count} "
            f"axes a number or a pair (before, after), received {value!r}"
        )
    return tuple((int(a), int(b)) for a, b in found)


def number(
    layer: Any, what: str, value: Any, least: float, below: float = float("inf")
) -> float:
    """``value``, a number in [least, below)."""
    real = isinstance(value, float) or is_integer(value)
    if not real or not least <= value < below:
        raise ArgumentError(
            f"{who(layer)}: expected {what}, a number in [{least}, {below}), "
            f"received {value!r}"
        )
    return value


def choice(layer: Any, what: str, value: Any, known: Sequence[str]) -> str:
    """``value``, one of ``known``, in lower case."""
    name = value.lower() if isinstance(value, str) else value
    if name not in known:
        raise unknown_name(f"{what} of {who(layer)}", value, list(known))
    return name


def known_size(layer: Any, what: str, size: int | None) -> int:
    """A size of the input that weights depend on."""
    if size is None:
        raise ShapeError(
            f"{who(layer)}: expected {what} to be known when the layer is built, "
            "received None; give the whole shape to Input()"
        )
    if size < 1:
        raise ShapeError(f"{who(layer)}: expected {what} >= 1, received {size}")
    return int(size)


def several(
    layer: Any, inputs: Any, least: int = 1, most: int | None = None
) -> list[Any]:
    """``inputs``, a list of so many tensors."""
    given = list(inputs) if isinstance(inputs, list | tuple) else []
    if len(given) < least or (most is not None and len(given) > most):
        expected = f"{least}" if least == most else f"at least {least}"
        raise ArgumentError(
            f"{who(layer)}: expected a list of {expected} inputs, received "
            f"{len(given) or repr(inputs)[:80]}"
        )
    return given


def padding(layer: Any, value: Any, names: Sequence[str], axes: int) -> Any:
    """``value``, the name of a padding, or numbers as a pair for each axis."""
    if isinstance(value, str):
        return choice(layer, "padding", value, names)
    return pairs(layer, "padding", value, axes)
