"""Where tracing stands in this thread: the trace in progress and the layer it is in."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

_local = threading.local()


def current_trace() -> Any:
    """The `Trace` in progress in this thread, or None."""
    return getattr(_local, "trace", None)


@contextlib.contextmanager
def tracing(trace: Any) -> Iterator[Any]:
    """Makes ``trace`` (or None) the one in progress inside a with block."""
    before = current_trace()
    _local.trace = trace
    try:
        yield trace
    finally:
        _local.trace = before


def label() -> str:
    """The names of the layers being traced, outermost first, joined by a slash."""
    return "/".join(getattr(_local, "labels", ()))


@contextlib.contextmanager
def scope(name: str, mixed: str | None = None) -> Iterator[None]:
    """Names the nodes that are made inside after a layer.

    mixed: the half that the layer's results may be stored in, and their gradients.
    """
    labels = getattr(_local, "labels", ())
    _local.labels = (*labels, name)
    if mixed and current_trace() is not None:
        current_trace().mixed[label()] = mixed
    try:
        yield
    finally:
        _local.labels = labels


def who(op: str) -> str:
    """The start of an error message: the layer being traced, or the op."""
    return f"layer {label()!r} ({op})" if label() else op
