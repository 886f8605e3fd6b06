"""Batches made ahead: order, errors, closing, fork; and where it is done by itself."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import numpy as np
import pytest

import fastconv as fc
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


def test_a_source_that_waits_does_not_hold_up_closing(monkeypatch):
    monkeypatch.setattr(sys.modules[prefetch.__module__], "_PATIENCE", 0.05)
    goes_on, closed = threading.Event(), threading.Event()

    def source():
        try:
            yield 1
            goes_on.wait(60)
            yield 2
            raise AssertionError("asked for more after it was closed")
        finally:
            closed.set()

    elements = prefetch(source())
    assert next(elements) == 1
    begun = time.monotonic()
    elements.close()
    assert time.monotonic() - begun < 30
    assert not closed.is_set()
    goes_on.set()
    assert closed.wait(30)


def test_an_interrupt_comes_through_while_the_source_waits(monkeypatch):
    monkeypatch.setattr(sys.modules[prefetch.__module__], "_PATIENCE", 0.05)
    goes_on = threading.Event()

    def source():
        yield 1
        goes_on.wait(60)

    elements = prefetch(source())
    next(elements)
    timer = threading.Timer(0.1, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        next(elements)
    goes_on.set()
    timer.join()


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


class Counted:
    """Can be iterated over again; goes on where the last reader stopped."""

    def __init__(self):
        self.given = 0

    def __iter__(self):
        while True:
            self.given += 1
            yield np.array([float(self.given)]), np.zeros(1)


class Indexed(Counted):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        self.given += 1
        return np.array([float(i)]), np.zeros(1)


@pytest.mark.parametrize("kind", [Counted, Indexed, lambda: iter(Counted())])
def test_sources_of_the_user_are_not_read_ahead(kind):
    """What is left is there for the next reader, and no thread touches it."""
    source = kind()
    before = alive()
    batches = IterableBatches(source).batches()
    found = [next(batches)[0][0] for _ in range(3)]
    assert alive() == before
    batches.close()
    assert found == ([0, 1, 2] if kind is Indexed else [1, 2, 3])
    assert getattr(source, "given", 3) == 3
    if hasattr(source, "__next__"):
        assert next(source)[0][0] == 4


def test_evaluating_some_steps_asks_for_no_more():
    source = Counted()
    model = fc.Sequential([fc.Input((1,)), fc.layers.Dense(1)])
    model.compile("sgd", "mse")
    data = ((x[:, None], y) for x, y in source)

    class Source:
        def __iter__(self):
            yield from data

    model.evaluate(Source(), steps=2, verbose=0)
    assert source.given == 2


def test_a_source_that_reads_the_model_sees_each_step():
    """A batch follows from the weights after the step before, at every run."""
    seen = []

    class Source:
        def __iter__(self):
            for _ in range(6):
                seen.append(model.get_weights()[0].item())
                yield np.ones((2, 1)), np.zeros((2, 1))

    model = fc.Sequential([fc.Input((1,)), fc.layers.Dense(1)])
    model.compile(fc.optimizers.SGD(0.1), "mse")
    model.fit(Source(), verbose=0, sanity=False)
    seen.append(model.get_weights()[0].item())
    assert len(set(seen)) == 7


def test_layers_in_a_source_draw_on_from_epoch_to_epoch():
    noise, seen = fc.layers.GaussianNoise(1.0), []

    class Source:
        def __iter__(self):
            for _ in range(3):
                x = np.asarray(noise(np.zeros((2, 1), np.float32), training=True))
                seen.append(x.tobytes())
                yield x, np.zeros((2, 1))

    model = fc.Sequential([fc.Input((1,)), fc.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(Source(), epochs=2, verbose=0, sanity=False)
    assert len(set(seen)) == 6
