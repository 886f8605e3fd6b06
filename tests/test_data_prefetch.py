"""Batches made ahead: order, errors, closing, fork; and where it is done by itself."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from fastconv.data import IterableBatches, prefetch
from fastconv.errors import ArgumentError, DataError


def alive() -> int:
    return threading.active_count()


@pytest.mark.parametrize("n", [0, 1, 2, 50])
@pytest.mark.parametrize("ahead", [1, 2, 7])
def test_order(n, ahead):
    before = alive()
    assert list(prefetch(range(n), ahead)) == list(range(n))
    assert alive() == before


def test_it_works_ahead_but_no_further():
    asked = []

    def source():
        for i in range(20):
            asked.append(i)
            yield i

    elements = prefetch(source(), 3)
    assert asked == []
    next(elements)
    end = time.monotonic() + 5
    while len(asked) < 5 and time.monotonic() < end:
        time.sleep(0.001)
    time.sleep(0.02)
    assert asked == [0, 1, 2, 3, 4]  # one given, three that wait, one to be put
    elements.close()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_errors_come_in_their_place(error):
    def source():
        yield 1
        raise error("from the source")

    before = alive()
    elements = prefetch(source())
    assert next(elements) == 1
    with pytest.raises(error, match="from the source"):
        next(elements)
    assert alive() == before


def test_closing_stops_the_thread_and_closes_the_source():
    closed = []

    def source():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread())

    before = alive()
    elements = prefetch(source())
    next(elements)
    del elements
    assert alive() == before
    assert closed
    assert closed[0] is not threading.main_thread()


def test_an_iteration_does_not_cross_a_fork():
    elements = prefetch(range(10))
    next(elements)
    child = os.fork()
    if child == 0:
        try:
            next(elements)
        except DataError:
            os._exit(0 if list(prefetch(range(4))) == [0, 1, 2, 3] else 2)
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert list(elements) == list(range(1, 10))


@pytest.mark.parametrize("ahead", [0, 1.5])
def test_bad_ahead(ahead):
    with pytest.raises(ArgumentError, match="ahead: expected"):
        prefetch([], ahead)


# Sources of batches


def test_a_source_that_fills_the_same_memory_again():
    class Source:
        memory = np.zeros(3)

        def __iter__(self):
            for i in range(8):
                self.memory[:] = i
                yield self.memory

    found = [x[0] for x, _, _ in IterableBatches(Source()).batches()]
    assert found == list(range(8))


def test_a_generator_is_not_read_ahead():
    """Another fit goes on where the first one stopped."""
    generator = (np.array([i]) for i in range(10))
    data = IterableBatches(generator)
    batches = data.batches()
    assert [next(batches)[0][0] for _ in range(3)] == [0, 1, 2]
    batches.close()
    assert next(generator)[0] == 3
