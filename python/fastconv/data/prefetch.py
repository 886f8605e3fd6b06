"""Batches made ahead of their use, by a thread."""

import os
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from fastconv.data.checks import count
from fastconv.errors import DataError

__all__ = ["prefetch"]

T = TypeVar("T")

_END = object()
_PATIENCE = 1.0  # seconds that closing waits for a source in the middle of an element


def prefetch(source: Iterable[T], ahead: int = 2) -> Iterator[T]:
    """The elements of ``source`` in its order, made by a thread ahead of their use.

    The thread starts with the first element that is asked for. What the source raises
    is raised here, in its place. Closing the iterator, or dropping it, stops the thread
    and closes the source; up to ``ahead + 1`` elements that were made are then lost. A
    source that is in the middle of an element is waited for at most a second: the
    thread, which does not keep the process alive, then ends after that element.

    `fit` and `evaluate` do so by themselves only for image folders that are still to be
    decoded. For data of your own, return ``prefetch(...)`` from ``__iter__``, if what
    makes the batches reads no weights of the model, draws no random numbers of
    fastconv, and takes new memory for each batch: the thread would make them depend on
    the moment.

    Args:
        source: anything that can be iterated over; used by the thread alone.
        ahead: elements that wait at most, 1 or more.

    Raises:
        ArgumentError: ``ahead`` below 1.
        DataError: the iterator is used in another process than the one that began it
            (a thread does not survive ``fork``): begin again there.

    >>> list(prefetch(i * i for i in range(4)))
    [0, 1, 4, 9]
    """
    return _elements(source, count("ahead", ahead, least=1))


def _elements(source: Iterable[T], ahead: int) -> Iterator[T]:
    made: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(ahead)
    stop = threading.Event()
    thread = threading.Thread(
        target=_produce,
        args=(source, made, stop),
        name="fastconv-prefetch",
        daemon=True,
    )
    process = os.getpid()
    thread.start()
    try:
        while True:
            if os.getpid() != process:
                raise DataError(
                    "prefetch: its thread is in the process that began the iteration; "
                    "begin a new one after fork"
                )
            element, error = made.get()
            if error is not None:
                raise error
            if element is _END:
                return
            yield element
    finally:
        if os.getpid() == process:
            stop.set()
            _drain(made)
            thread.join(_PATIENCE)


def _produce(source: Iterable[Any], made: queue.Queue[Any], stop: Any) -> None:
    """Runs in the thread. Whoever stops it also drains the queue, so put() returns."""
    elements: Any = None
    try:
        elements = iter(source)
        for element in elements:
            made.put((element, None))
            if stop.is_set():
                return
        made.put((_END, None))
    except BaseException as error:  # KeyboardInterrupt and SystemExit, too
        made.put((None, error))
    finally:
        close = getattr(elements, "close", None)
        if stop.is_set() and close is not None:
            close()


def _drain(made: queue.Queue[Any]) -> None:
    while True:
        try:
            made.get_nowait()
        except queue.Empty:
            return
