"""Ops called on arrays, at once: each one is a function of its own, on a device."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from fastconv.execution.devices import arena_of, resolve_device
from fastconv.execution.function import Function
from fastconv.graph.scope import current_trace
from fastconv.graph.trace import is_symbolic

PLANS_KEPT = 4  # plans an op keeps, least recently used first out

F = TypeVar("F", bound=Callable[..., Any])


def op(python: F) -> F:
    """Makes a function of tensors callable on arrays, at once, as well.

    An argument with a method ``__fastconv_op__(op, args, kwargs)`` takes the call over.
    """
    compiled: dict[tuple[str, int], Function] = {}

    @functools.wraps(python)
    def call(*args: Any, **kwargs: Any) -> Any:
        taker = next(_takers((*args, *kwargs.values())), None)
        if taker is not None:
            return taker.__fastconv_op__(call, args, kwargs)
        if current_trace() is not None or is_symbolic((args, kwargs)):
            return python(*args, **kwargs)
        depth = getattr(_default, "depth", 0)  # > 0: in a host function that an op runs
        key = (default_device(), depth)
        if key not in compiled:
            compiled[key] = Function(python, key[0], _op_arena(*key), PLANS_KEPT)
        _default.depth = depth + 1
        try:
            return compiled[key](*args, **kwargs)
        finally:
            _default.depth = depth

    return call  # type: ignore[return-value]


def _op_arena(device: str, depth: int) -> Any:
    """The arena that all ops called on arrays share; None if plans do not run there."""
    if (device, depth) not in _ARENAS:
        _ARENAS[device, depth] = arena_of(device)
    return _ARENAS[device, depth]


def _takers(values: Any) -> Iterator[Any]:
    """The arguments, also in lists and tuples, that take over a call of an op."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _takers(value)
        elif hasattr(value, "__fastconv_op__"):
            yield value


_default = threading.local()
_ARENAS: dict[tuple[str, int], Any] = {}  # of the ops called on arrays


def default_device() -> str:
    """The device of ops that are called on arrays."""
    return getattr(_default, "device", "cpu")


class device:  # noqa: N801  (a context manager, named as users write it)
    """Runs the ops called on arrays inside a with block on another device.

    >>> import fastconv as fc
    >>> with fc.device("reference"):
    ...     y = fc.ops.relu([-1.0, 2.0])
    """

    def __init__(self, name: str) -> None:
        self.name = resolve_device(name)

    def __enter__(self) -> device:
        self._before = default_device()
        _default.device = self.name
        return self

    def __exit__(self, *error: object) -> None:
        _default.device = self._before
