"""The base of all callbacks, and the list that calls them."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from fastconv.errors import ArgumentError

Logs = dict[str, Any]
logger = logging.getLogger("fastconv")

HOOKS = (
    *(f"on_{phase}_{edge}" for phase in ("train", "test", "predict") for edge in
    ("begin", "end")), *(f"on_epoch_{edge}" for edge in ("begin", "end")),
    *(
        f"on_{phase}_batch_{edge}"
        for phase in ("train", "test", "predict")
        for edge in ("begin", "end")
    ),
)  # fmt: skip


class Callback:
    """Base class of callbacks: override the hooks that are needed.

    Attributes
    ----------
    model: the model that is trained; set ``model.stop_training = True`` to stop.
    params: ``epochs``, ``steps`` (None if unknown) and ``verbose``.
    kept: names of the attributes that are the callback's state. A training that goes on
        (`Model.fit` with ``resume``) gives them back, in place of `on_train_begin`, and
        calls each of the other hooks exactly as often as one that was never cut off.
    writes_files: whether ``fit(fast_dev_run=True)`` leaves it out; default False.

    >>> import fastconv as fc
    >>> class Notes(fc.callbacks.Callback):
    ...     def on_epoch_end(self, epoch, logs=None):
    ...         print(epoch, sorted(logs))
    >>> Notes().on_epoch_end(0, {"loss": 1.0})
    0 ['loss']
    """

    model: Any = None
    params: Logs | None = None
    kept: tuple[str, ...] = ()
    writes_files = False

    def state(self) -> dict[str, Any] | None:
        """What `restore` needs: numbers, strings, arrays, and lists, tuples and dicts
        (with names as keys) of them. None if there is nothing to keep.
        """
        return {name: getattr(self, name) for name in self.kept} or None

    def restore(self, state: dict[str, Any]) -> None:
        """Called in place of `on_train_begin` when a training goes on."""
        vars(self).update(state)

    def set_params(self, params: Logs) -> None:
        """Called before training."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Called before training."""
        self.model = model

    def _skip(self, hook: str) -> None:
        """Makes ``hook`` one that this callback does not listen to."""
        setattr(self, hook, getattr(Callback, hook).__get__(self))

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Before an epoch."""

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """After an epoch and its validation; logs: loss, metrics, val_loss ..."""

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a training step."""

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a training step; logs: means of the epoch so far."""

    def on_test_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of evaluation."""

    def on_test_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of evaluation."""

    def on_predict_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Before a batch of prediction."""

    def on_predict_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """After a batch of prediction."""

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Before training."""

    def on_train_end(self, logs: Logs | None = None) -> None:
        """After training, also when it was stopped."""

    def on_test_begin(self, logs: Logs | None = None) -> None:
        """Before evaluation."""

    def on_test_end(self, logs: Logs | None = None) -> None:
        """After evaluation."""

    def on_predict_begin(self, logs: Logs | None = None) -> None:
        """Before prediction."""

    def on_predict_end(self, logs: Logs | None = None) -> None:
        """After prediction."""


class CallbackList:
    """Calls the hooks of several callbacks, those that override them only.

    So that hooks of every batch cost nothing when nobody listens: `listens`.

    Parameters
    ----------
    callbacks: the callbacks, called in this order.
    model: handed to each as its ``model``.
    params: handed to each as its ``params``.

    >>> import fastconv as fc
    >>> history = fc.callbacks.History()
    >>> hooks = fc.callbacks.CallbackList([history], model=None, epochs=1)
    >>> hooks.listens("on_epoch_end"), hooks.listens("on_train_batch_end")
    (True, False)
    >>> hooks.call("on_epoch_end", 0, {"loss": 0.5})
    >>> history.history
    {'loss': [0.5]}
    """

    def __init__(self, callbacks: Iterable[Any], model: Any, **params: Any) -> None:
        self.callbacks = list(callbacks)
        for callback in self.callbacks:
            if not hasattr(callback, "on_epoch_end"):
                raise ArgumentError(
                    "callbacks: expected instances of fastconv.callbacks.Callback, "
                    f"received {callback!r}"
                )
            callback.set_params(params)
            callback.set_model(model)
        self._listeners = {
            hook: [getattr(c, hook) for c in self.callbacks if _overrides(c, hook)]
            for hook in HOOKS
        }

    def listens(self, hook: str) -> bool:
        """Whether a callback overrides ``hook``."""
        return bool(self._listeners[hook])

    def call(self, hook: str, *args: Any) -> None:
        """Calls ``hook`` of all that override it."""
        for listener in self._listeners[hook]:
            listener(*args)

    def states(self) -> list[tuple[str, dict[str, Any]]]:
        """Class and state of all that have a state."""
        found = ((type(c).__name__, _state(c)) for c in self.callbacks)
        return [(name, state) for name, state in found if state is not None]

    def resume(self, states: Iterable[tuple[str, dict[str, Any]]]) -> None:
        """Gives states back, the n-th of a class to its n-th; the others begin."""
        left: dict[str, list[dict[str, Any]]] = {}
        for name, state in states:
            left.setdefault(name, []).append(state)
        for callback in self.callbacks:
            found = left.get(type(callback).__name__)
            if found:
                callback.restore(found.pop(0))
            elif _overrides(callback, "on_train_begin"):
                callback.on_train_begin({})
        lost = [name for name, found in left.items() if found]
        if lost:
            logger.warning(
                "the training that goes on had the callbacks %s, which are not among "
                "those of this fit: what they did is not continued", ", ".join(lost),
            )  # fmt: skip


def _state(callback: Any) -> dict[str, Any] | None:
    return callback.state() if hasattr(callback, "state") else None


def _overrides(callback: Any, hook: str) -> bool:
    method = getattr(callback, hook, None)
    if method is None:
        return False
    return getattr(method, "__func__", method) is not getattr(Callback, hook)
