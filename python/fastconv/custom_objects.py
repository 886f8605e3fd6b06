"""The user's own functions and classes, by name, while a model is read from a file."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from fastconv.errors import ArgumentError, UnknownNameError, unknown_name

__all__ = ["custom_object", "custom_object_scope", "lookup"]

_local = threading.local()


@contextlib.contextmanager
def custom_object_scope(objects: Mapping[str, Any] | None) -> Iterator[None]:
    """Inside the with block, names of ``objects`` are known wherever names are read.

    Files never hold code: a saved Lambda layer, activation or class of your own is a
    name, and what it stands for is given here (or as ``custom_objects`` to a loader).

    >>> import fastconv as fc
    >>> from fastconv.custom_objects import custom_object_scope
    >>> with custom_object_scope({"double": lambda x: x * 2.0}):
    ...     double = fc.layers.Lambda("double")
    >>> double([[1.0, 2.0]])
    array([[2., 4.]], dtype=float32)
    """
    before = known()
    _local.objects = {**before, **(objects or {})}
    try:
        yield
    finally:
        _local.objects = before


def known() -> dict[str, Any]:
    """The objects of the scopes in force."""
    return getattr(_local, "objects", {})


def custom_object(name: str) -> Any:
    """The object called ``name``.

    Raises
    ------
    UnknownNameError if no scope in force has it.

    >>> from fastconv.custom_objects import custom_object, custom_object_scope
    >>> with custom_object_scope({"three": 3}):
    ...     custom_object("three")
    3
    """
    if name not in known():
        raise UnknownNameError(
            f"{name!r} is not part of fastconv; pass custom_objects={{{name!r}: ...}} "
            "with the function or class that it stands for"
        )
    return known()[name]


def lookup(what: str, identifier: Any, named: Mapping[str, Any]) -> Any:
    """The object for a name, a class, a config (class_name, config), or any function.

    Raises
    ------
    UnknownNameError for an unknown name, ArgumentError for anything else.

    >>> from fastconv.custom_objects import lookup
    >>> lookup("function", "maximum", {"maximum": max}) is max
    True
    """
    config = {}
    if isinstance(identifier, Mapping) and "class_name" in identifier:
        config = dict(identifier.get("config", {}))
        identifier = str(identifier["class_name"])
    if isinstance(identifier, str):
        plain = identifier.rpartition(".")[2]
        own = known()
        found = own.get(identifier, own.get(plain, named.get(identifier)))
        if found is None:
            error = unknown_name(what, identifier, sorted(named))
            hint = f"; for your own pass custom_objects={{{plain!r}: ...}}"
            raise UnknownNameError(f"{error}{hint if '.' in identifier else ''}")
        identifier = found
    if isinstance(identifier, type):
        return identifier(**config)
    if callable(identifier):
        return identifier
    raise ArgumentError(
        f"expected the {what}, its name or a function, received {identifier!r}"
    )
