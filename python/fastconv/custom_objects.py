"""The user's own functions and classes, by name, while a model is read from a file."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from fastconv.errors import ArgumentError, UnknownNameError, unknown_name

__all__ = [
    "CustomObjectScope",
    "custom_object",
    "custom_object_scope",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "lookup",
    "register_keras_serializable",
]

T = TypeVar("T")
_local = threading.local()
_everywhere: dict[str, Any] = {}  # what `get_custom_objects` gives
_registered: dict[str, Any] = {}  # by "package>name"


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
    before = getattr(_local, "objects", {})
    _local.objects = {**before, **(objects or {})}
    try:
        yield
    finally:
        _local.objects = before


CustomObjectScope = custom_object_scope


def known() -> dict[str, Any]:
    """The objects by plain name: registered, known everywhere, in the open scopes."""
    plain = {name.partition(">")[2]: found for name, found in _registered.items()}
    return {**plain, **_everywhere, **getattr(_local, "objects", {})}


def get_custom_objects() -> dict[str, Any]:
    """The dict of objects that are known everywhere; change it to add some.

    >>> from fastconv.custom_objects import get_custom_objects
    >>> get_custom_objects()["half"] = lambda x: x / 2
    >>> import fastconv as fc
    >>> fc.layers.Activation("half")([3.0])
    array([1.5], dtype=float32)
    >>> del get_custom_objects()["half"]
    """
    return _everywhere


def register_keras_serializable(
    package: str = "Custom", name: str | None = None
) -> Callable[[T], T]:
    """A decorator that makes a class or function known to loaders, by package and name.

    Files name it ``package>name``, whatever module it is defined in.

    Raises
    ------
    ArgumentError for a class without ``get_config``.

    >>> import fastconv as fc
    >>> @fc.saving.register_keras_serializable("course")
    ... def twice(x):
    ...     return x * 2
    >>> fc.layers.Activation("twice")([3.0])
    array([6.], dtype=float32)
    """

    def register(item: T) -> T:
        plain = name or item.__name__  # type: ignore[attr-defined]
        if isinstance(item, type) and not hasattr(item, "get_config"):
            raise ArgumentError(
                f"register_keras_serializable: expected a class with get_config(), "
                f"received {item!r}"
            )
        _registered[f"{package}>{plain}"] = item
        return item

    return register


def get_registered_name(item: Any) -> str:
    """``package>name`` of a registered class or function; else its plain name.

    >>> from fastconv.custom_objects import get_registered_name
    >>> get_registered_name(dict)
    'dict'
    """
    found = (name for name, known in _registered.items() if known is item)
    return next(found, getattr(item, "__name__", type(item).__name__))


def get_registered_object(name: str) -> Any:
    """The class or function registered as ``package>name``; None if there is none.

    >>> from fastconv.custom_objects import get_registered_object
    >>> get_registered_object("nobody>nothing") is None
    True
    """
    return _registered.get(name)


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
    objects = known()
    if name not in objects:
        raise UnknownNameError(
            f"{name!r} is not part of fastconv; pass custom_objects={{{name!r}: ...}} "
            "with the function or class that it stands for"
        )
    return objects[name]


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
        plain = identifier.rpartition(".")[2].rpartition(">")[2]
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
