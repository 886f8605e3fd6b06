"""Nested lists, tuples and dicts: their leaves, changed copies, and JSON-like data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["decode", "encode", "flatten", "map_named", "map_structure"]


def flatten(value: Any, kind: type | tuple[type, ...]) -> list[Any]:
    """All objects of ``kind`` (or kinds), in order; nothing inside them.

    >>> flatten({"a": [1, "b"], "c": (2, None)}, int)
    [1, 2]
    """
    found: list[Any] = []
    _collect((value,), kind, found)
    return found


def _collect(values: Iterable[Any], kind: Any, found: list[Any]) -> None:
    for value in values:
        if isinstance(value, kind):
            found.append(value)
        elif isinstance(value, (list, tuple, dict)):
            inside = value.values() if isinstance(value, dict) else value
            _collect(inside, kind, found)


def map_structure(
    value: Any, is_leaf: Callable[[Any], bool], f: Callable[[Any], Any]
) -> Any:
    """A copy with ``f`` of each part for which ``is_leaf``; the rest stays.

    >>> map_structure({"a": (1, "b")}, lambda v: isinstance(v, int), lambda v: -v)
    {'a': (-1, 'b')}
    """
    return map_named(value, "", is_leaf, lambda leaf, _: f(leaf))


def map_named(
    value: Any, name: str, is_leaf: Callable[[Any], bool], f: Callable[[Any, str], Any]
) -> Any:
    """Like `map_structure`, with ``f(leaf, name of the leaf)``.

    >>> map_named([1, {"k": 2}], "x", lambda v: isinstance(v, int), lambda v, n: n)
    ['x[0]', {'k': "x[1]['k']"}]
    """
    if is_leaf(value):
        return f(value, name)
    if isinstance(value, dict):
        return {k: map_named(v, f"{name}[{k!r}]", is_leaf, f) for k, v in value.items()}
    if isinstance(value, list | tuple):
        parts = (map_named(v, f"{name}[{i}]", is_leaf, f) for i, v in enumerate(value))
        return _like(value, parts)
    return value


def _like(value: list[Any] | tuple[Any, ...], parts: Iterable[Any]) -> Any:
    """A list, tuple or named tuple of ``parts``."""
    if hasattr(value, "_fields"):
        return type(value)(*parts)
    return tuple(parts) if isinstance(value, tuple) else list(parts)


def encode(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """JSON-like data: tuples, dicts and the rest as dicts of one key.

    ``leaf`` gives such a dict (or a plain value) for what is no number or string.

    >>> encode((1, {"a": [None]}), repr)
    {'tuple': [1, {'dict': {'a': [None]}}]}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple):
        return {"tuple": [encode(v, leaf) for v in value]}
    if isinstance(value, list):
        return [encode(v, leaf) for v in value]
    if isinstance(value, dict):
        return {"dict": {k: encode(v, leaf) for k, v in value.items()}}
    return leaf(value)


def decode(value: Any, leaf: Callable[[Any], Any]) -> Any:
    """What `encode` encoded; ``leaf`` turns the other dicts into what they stand for.

    >>> decode({"tuple": [1, {"dict": {"a": [None]}}]}, repr)
    (1, {'a': [None]})
    """
    if isinstance(value, list):
        return [decode(v, leaf) for v in value]
    if not isinstance(value, dict):
        return value
    if "tuple" in value:
        return tuple(decode(v, leaf) for v in value["tuple"])
    if "dict" in value:
        return {k: decode(v, leaf) for k, v in value["dict"].items()}
    return leaf(value)
