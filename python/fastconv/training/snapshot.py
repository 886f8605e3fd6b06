"""A model as it was: after a trial everything is put back, to the byte."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

_PLAIN = ("epochs_seen", "stop_training", "history")


@contextlib.contextmanager
def unchanged(model: Any) -> Iterator[None]:
    """After the with block ``model`` is trained as far as before it, or after an error.

    Weights and other state of layers, the optimiser's slots, step and learning rate,
    the state of chance, metrics. Plans stay: they hold no state. The model must be
    built.
    """
    values = {v: v.numpy() for v in (*model.weights, model._seed_and_step)}
    plain = {name: getattr(model, name) for name in _PLAIN}
    try:
        with model.optimizer.unchanged():
            yield
    finally:
        for variable, value in values.items():
            variable.value[...] = value
        for name, value in plain.items():
            setattr(model, name, value)
        model._counted.reset()
