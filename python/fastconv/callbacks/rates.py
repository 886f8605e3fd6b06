"""Callbacks that change the learning rate."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

from fastconv.callbacks.base import Callback, Logs
from fastconv.callbacks.monitor import Monitor
from fastconv.errors import ArgumentError

logger = logging.getLogger("fastconv")


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


class ReduceLROnPlateau(Monitor):
    """Multiplies the learning rate by a factor when a value no longer improves.

    Formula: ``rate <- max(factor rate, min_lr)`` after ``patience`` epochs in a row
    without improvement; the next ``cooldown`` epochs then do not count.

    Parameters
    ----------
    monitor: name in the logs; default "val_loss".
    factor: below 1; default 0.1.
    patience: epochs without improvement; default 10.
    verbose: 1 to log each change; default 0.
    mode: "min", "max", or "auto" (from the name).
    min_delta: smaller changes are no improvement; default 1e-4.
    cooldown: epochs to wait after a change; default 0.
    min_lr: the smallest learning rate; default 0.

    Raises
    ------
    ArgumentError for a factor of 1 or more.

    >>> import fastconv as fc
    >>> fc.callbacks.ReduceLROnPlateau(factor=0.5, patience=3).monitor
    'val_loss'
    """

    kept = ("best", "wait", "cooldown_counter")

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        verbose: int = 0,
        mode: str = "auto",
        min_delta: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
    ) -> None:
        super().__init__(monitor, mode, min_delta)
        if not 0.0 <= factor < 1.0:
            raise ArgumentError(f"factor: expected a number in [0, 1), got {factor!r}")
        self.factor = factor
        self.patience = patience
        self.verbose = verbose
        self.cooldown = cooldown
        self.min_lr = min_lr

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forgets the last training."""
        self.wait = self.cooldown_counter = 0
        self.best = math.inf if self.mode == "min" else -math.inf

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Compares, and perhaps reduces; notes the rate of this epoch in the logs."""
        optimizer = self.model.optimizer
        if logs is not None:
            logs["learning_rate"] = optimizer.learning_rate
        value = self.value(logs)
        if value is None:
            return
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.wait = 0
        if self.improves(value, self.best):
            self.best, self.wait = value, 0
        elif self.cooldown_counter <= 0:
            self.wait += 1
            if self.wait >= self.patience and optimizer.learning_rate > self.min_lr:
                self._reduce(optimizer, epoch)

    def _reduce(self, optimizer: Any, epoch: int) -> None:
        rate = max(optimizer.learning_rate * self.factor, self.min_lr)
        optimizer.learning_rate = rate
        self.cooldown_counter, self.wait = self.cooldown, 0
        if self.verbose:
            logger.info("epoch %d: learning rate reduced to %g", epoch + 1, rate)
