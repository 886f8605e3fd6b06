"""Callbacks: what is done between the steps and epochs of training."""

from __future__ import annotations

import csv
import logging
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from fastconv.errors import ArgumentError

__all__ = [
    "CSVLogger",
    "Callback",
    "CallbackList",
    "EarlyStopping",
    "History",
    "LambdaCallback",
    "LearningRateScheduler",
    "ModelCheckpoint",
    "TerminateOnNaN",
]

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
    writes_files = False

    def set_params(self, params: Logs) -> None:
        """Called before training."""
        self.params = params

    def set_model(self, model: Any) -> None:
        """Called before training."""
        self.model = model

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


def _overrides(callback: Any, hook: str) -> bool:
    method = getattr(callback, hook, None)
    if method is None:
        return False
    return getattr(method, "__func__", method) is not getattr(Callback, hook)


class History(Callback):
    """What `Model.fit` returns: the logs of each epoch.

    Attributes
    ----------
    history: name -> list of values, one an epoch.
    epoch: the epochs' numbers.
    findings: what the checks before the first epoch found (``check``, ``message``).
    overfitting: None, or when it began (``since``) and was ``seen``, epochs from 1.
    interrupted: whether Ctrl-C ended the training.
    time_limit: after `fit` with a time limit, what repeats it as ``time_limit``.

    >>> import fastconv as fc
    >>> history = fc.callbacks.History()
    >>> history.on_epoch_end(0, {"loss": 1.0})
    >>> history.history
    {'loss': [1.0]}
    """

    def __init__(self) -> None:
        self.history: dict[str, list[Any]] = {}
        self.epoch: list[int] = []
        self.findings: list[Any] = []
        self.interrupted = False
        self.overfitting: Any = None
        self.time_limit: Any = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Adds the logs."""
        self.epoch.append(epoch)
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(value)


class LambdaCallback(Callback):
    """A callback made of functions, given by the names of their hooks.

    Raises
    ------
    ArgumentError for the name of no hook.

    >>> import fastconv as fc
    >>> shout = fc.callbacks.LambdaCallback(on_train_end=lambda logs: print("done"))
    >>> shout.on_train_end({})
    done
    """

    def __init__(self, **functions: Callable[..., Any] | None) -> None:
        for hook, function in functions.items():
            if hook not in HOOKS:
                raise ArgumentError(
                    f"LambdaCallback: unknown hook {hook!r}; known: {', '.join(HOOKS)}"
                )
            if function is not None:
                setattr(self, hook, function)


class _Monitor(Callback):
    """Watches one value of the logs, and knows which of two is better."""

    def __init__(self, monitor: str, mode: str, min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ArgumentError(f"mode: expected auto, min or max; received {mode!r}")
        if mode == "auto":
            rising = ("acc", "auc", "precision", "recall", "f1", "iou")
            mode = "max" if any(word in monitor for word in rising) else "min"
        self.monitor = monitor
        self.mode = mode
        self.min_delta = abs(min_delta)
        self.best = math.inf if mode == "min" else -math.inf
        self._warned = False

    def improves(self, value: float, best: float) -> bool:
        """Whether ``value`` is better than ``best`` by more than ``min_delta``."""
        if self.mode == "min":
            return value < best - self.min_delta
        return value > best + self.min_delta

    def value(self, logs: Logs | None) -> float | None:
        """The watched value, or None with a warning in the log, once."""
        value = (logs or {}).get(self.monitor)
        if value is None and not self._warned:
            self._warned = True
            logger.warning(
                "%s watches %r, which is not among %s",
                type(self).__name__, self.monitor, sorted(logs or {}),
            )  # fmt: skip
        return None if value is None else float(value)


class EarlyStopping(_Monitor):
    """Stops training when a value no longer improves.

    Parameters
    ----------
    monitor: name in the logs; default "val_loss".
    min_delta: smaller changes are no improvement; default 0.
    patience: epochs without improvement before it stops; default 0.
    verbose: 1 to log the stop; default 0.
    mode: "min", "max", or "auto" (from the name).
    baseline: a value that must be beaten; default none.
    restore_best_weights: whether the model gets the weights of the best epoch back;
        default False.
    start_from_epoch: epochs that are not watched; default 0.

    Prechelt, "Early stopping - but when?", Neural Networks: Tricks of the Trade, 1998.

    >>> import fastconv as fc
    >>> fc.callbacks.EarlyStopping(monitor="val_accuracy").mode
    'max'
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        min_delta: float = 0.0,
        patience: int = 0,
        verbose: int = 0,
        mode: str = "auto",
        baseline: float | None = None,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        self.patience = patience
        self.verbose = verbose
        self.baseline = baseline
        self.restore_best_weights = restore_best_weights
        self.start_from_epoch = start_from_epoch

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forgets the last training."""
        self.wait = 0
        self.stopped_epoch = 0
        self.best_epoch = 0
        self.best = math.inf if self.mode == "min" else -math.inf
        self.best_weights: list[np.ndarray] | None = None

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compares, and perhaps stops."""
        value = self.value(logs)
        if value is None or epoch < self.start_from_epoch:
            return
        self.wait += 1
        if self.improves(value, self.best):
            self.best, self.best_epoch = value, epoch
            if self.restore_best_weights:
                self.best_weights = self.model.get_weights()
            if self.baseline is None or self.improves(value, self.baseline):
                self.wait = 0
        elif self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Restores the best weights."""
        if self.stopped_epoch and self.verbose:
            logger.info("epoch %d: early stopping", self.stopped_epoch + 1)
        if self.best_weights is not None:
            self.model.set_weights(self.best_weights)


class ModelCheckpoint(_Monitor):
    """Saves the model after epochs, or after a number of steps.

    Parameters
    ----------
    filepath: may hold ``{epoch:02d}`` (from 1) and names of the logs:
        ``{val_loss:.3f}``.
    monitor: name in the logs; default "val_loss".
    verbose: 1 to log each save; default 0.
    save_best_only: only when the value improved; default False.
    save_weights_only: `Model.save_weights` instead of `Model.save`; default False.
    mode: "min", "max", or "auto" (from the name).
    save_freq: "epoch", or a number of steps; default "epoch".
    initial_value_threshold: a value that must be beaten first; default none.

    >>> import fastconv as fc
    >>> fc.callbacks.ModelCheckpoint("best.safetensors", save_best_only=True).mode
    'min'
    """

    writes_files = True

    def __init__(
        self,
        filepath: str | Path,
        monitor: str = "val_loss",
        verbose: int = 0,
        save_best_only: bool = False,
        save_weights_only: bool = False,
        mode: str = "auto",
        save_freq: str | int = "epoch",
        initial_value_threshold: float | None = None,
    ) -> None:
        super().__init__(monitor, mode)
        if save_freq != "epoch" and not (isinstance(save_freq, int) and save_freq > 0):
            raise ArgumentError(
                f"save_freq: expected 'epoch' or a number of steps, received "
                f"{save_freq!r}"
            )
        self.filepath = str(filepath)
        self.verbose = verbose
        self.save_best_only = save_best_only
        self.save_weights_only = save_weights_only
        self.save_freq = save_freq
        self._steps = 0
        self._epoch = 0
        if initial_value_threshold is not None:
            self.best = initial_value_threshold

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Notes the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Saves if it is time."""
        self._steps += 1
        if self.save_freq != "epoch" and self._steps % int(self.save_freq) == 0:
            self._save(self._epoch, logs or {})

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Saves, if saving follows epochs."""
        if self.save_freq == "epoch":
            self._save(epoch, logs or {})

    def _save(self, epoch: int, logs: Logs) -> None:
        if self.save_best_only:
            value = self.value(logs)
            if value is None or not self.improves(value, self.best):
                return
            self.best = value
        try:
            path = self.filepath.format(epoch=epoch + 1, **logs)
        except KeyError as error:
            raise ArgumentError(
                f"ModelCheckpoint: {self.filepath!r} names {error}, which is not among "
                f"{sorted(logs)}"
            ) from None
        save = self.model.save_weights if self.save_weights_only else self.model.save
        save(path)
        if self.verbose:
            logger.info("epoch %d: saved %s", epoch + 1, path)


class CSVLogger(Callback):
    """Writes the logs of each epoch as a line of a CSV file.

    Parameters
    ----------
    filename: the file.
    separator: default ",".
    append: whether to go on in an existing file; default False.

    >>> import fastconv as fc
    >>> fc.callbacks.CSVLogger("log.csv").filename
    'log.csv'
    """

    writes_files = True

    def __init__(
        self, filename: str | Path, separator: str = ",", append: bool = False
    ) -> None:
        self.filename = str(filename)
        self.separator = separator
        self.append = append
        self._file: TextIO | None = None
        self._names: list[str] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Opens the file."""
        path = Path(self.filename)
        self._names = []
        if self.append and path.exists():
            with path.open(newline="") as file:
                header = next(csv.reader(file, delimiter=self.separator), [])
            self._names = header[1:]
        self._file = path.open("a" if self.append else "w", newline="")

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Writes a line."""
        assert self._file is not None
        writer = csv.writer(self._file, delimiter=self.separator)
        if not self._names:
            self._names = list(logs or {})
            writer.writerow(["epoch", *self._names])
        writer.writerow(
            [epoch, *((logs or {}).get(name, "NA") for name in self._names)]
        )
        self._file.flush()

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


class LearningRateScheduler(Callback):
    """Sets the learning rate before each epoch.

    Parameters
    ----------
    schedule: a function of the epoch (from 0) and the learning rate in force.
    verbose: 1 to log the rate; default 0.

    >>> import fastconv as fc
    >>> halve = fc.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    >>> halve.schedule(0, 1.0)
    0.5
    """

    def __init__(self, schedule: Callable[..., float], verbose: int = 0) -> None:
        self.schedule = schedule
        self.verbose = verbose

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Sets it."""
        optimizer = self.model.optimizer
        try:
            rate = self.schedule(epoch, optimizer.learning_rate)
        except TypeError:  # the form of Keras 1
            rate = self.schedule(epoch)
        optimizer.learning_rate = rate
        if self.verbose:
            logger.info("epoch %d: learning rate %g", epoch + 1, rate)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Notes it in the logs."""
        if logs is not None:
            logs["learning_rate"] = self.model.optimizer.learning_rate


class TerminateOnNaN(Callback):
    """Stops training when the loss is NaN or infinite.

    >>> import fastconv as fc
    >>> callback = fc.callbacks.TerminateOnNaN()
    """

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Looks at the loss."""
        loss = (logs or {}).get("loss")
        if loss is not None and not math.isfinite(loss):
            logger.warning("batch %d: the loss is %s, training stops", batch, loss)
            self.model.stop_training = True
