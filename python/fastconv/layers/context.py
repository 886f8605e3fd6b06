"""What a model tells the layers inside: training or not, and the source of chance."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import numpy as np

from fastconv import seeds
from fastconv.graph.ir import Tensor
from fastconv.graph.trace import as_tensor
from fastconv.graph.variable import Variable

_local = threading.local()


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
def randomness(state: Variable) -> Iterator[None]:
    """Layers in the with block draw from ``state``, each from its own stream."""
    before = getattr(_local, "state", None), getattr(_local, "streams", 0)
    _local.state, _local.streams = state, 0
    try:
        yield
    finally:
        _local.state, _local.streams = before


def draw() -> tuple[Tensor, int]:
    """The state as a tensor, and the next stream number."""
    if getattr(_local, "state", None) is None:
        _local.state, _local.streams = random_state(), 0
    _local.streams += 1
    return as_tensor(_local.state), _local.streams


def advance() -> None:
    """Goes to the next step of the state of layers that are called on arrays."""
    state = getattr(_local, "state", None)
    if state is not None:
        state.value[1] += 1
