"""A model as it was: after a trial everything is put back, to the byte."""

from __future__ import annotations

import contextlib
import copy
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


@contextlib.contextmanager
def aside(model: Any) -> Iterator[None]:
    """In the with block ``model`` is evaluated, perhaps within an epoch of training.

    Afterwards, or after an error, training goes on as if nothing had happened: with the
    metrics of its epoch, its regularizers, and its weights where averages were.
    """
    epoch, optimizer = model._epoch, model.optimizer
    averaged = optimizer is not None and optimizer.averaged
    counted = copy.deepcopy(model._counted.state()) if model._in_epoch else None
    try:
        yield
    finally:
        model._set_epoch(epoch)
        if counted is not None:
            model._counted.restore(counted)
        if optimizer is not None:
            optimizer.swap_averages(averaged)
