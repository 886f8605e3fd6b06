"""What a model tells the layers inside: training or not, and the source of chance."""

from __future__ import annotations

import contextlib
import itertools
import threading
import zlib
from collections.abc import Iterator

import numpy as np

from fastconv import seeds
from fastconv.graph.ir import Tensor
from fastconv.graph.trace import as_tensor, constant
from fastconv.graph.variable import Variable

# Streams of models count from 1; those of other sources have a mark, so that numbers of
# one seed and step differ (ops without a stream: `ops.random.OPS`).
EAGER, TRACED = 1 << 31, 3 << 29
_local = threading.local()
_traced = itertools.count(TRACED)  # streams of layers in functions of the user
_states: list[Variable] = []  # the one state of those layers
_lock = threading.Lock()


def is_training() -> bool:
    """Whether layers behave as in training (dropout drops, statistics move)."""
    return getattr(_local, "training", False)


@contextlib.contextmanager
def training(value: bool | None) -> Iterator[None]:
    """Sets the mode inside a with block; None keeps it."""
    before = is_training()
    _local.training = before if value is None else bool(value)
    try:
        yield
    finally:
        _local.training = before


def random_state(seed: int | None = None) -> Variable:
    """A new state for dropout: seed and step, int64[2]."""
    value = np.array([seeds.get_seed() if seed is None else seed, 0], np.int64)
    return Variable(value, "random_state", trainable=False)


@contextlib.contextmanager
def randomness(state: Variable, streams: int = 0) -> Iterator[None]:
    """Layers in the with block draw from ``state``, each from its own stream.

    ``streams``: the number before that of the first one.
    """
    before = getattr(_local, "state", None), getattr(_local, "streams", 0)
    _local.state, _local.streams = state, streams
    try:
        yield
    finally:
        _local.state, _local.streams = before


def eager_streams(name: str) -> int:
    """The ``streams`` of the layer ``name`` when it is called on arrays."""
    return EAGER | zlib.crc32(name.encode()) >> 2 & ~0xFF


def draw() -> tuple[Tensor, int]:
    """The state as a tensor, and the next stream number."""
    if getattr(_local, "state", None) is None:  # in a function that the user traces
        return _draw_alone()
    _local.streams += 1
    return as_tensor(_local.state), _local.streams


def _draw_alone() -> tuple[Tensor, int]:
    """As `draw`, from a state of its own that goes on by one step in each run."""
    with _lock:
        if not _states:
            _states.append(random_state())
    state = as_tensor(_states[0])
    _states[0].assign(state + constant(np.array([0, 1])))
    return state, next(_traced)
