"""Callbacks that stop a training."""

from __future__ import annotations

import logging
import math

import numpy as np

from fastconv.callbacks.base import Callback, Logs
from fastconv.callbacks.monitor import Monitor

logger = logging.getLogger("fastconv")


class EarlyStopping(Monitor):
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

    kept = ("wait", "stopped_epoch", "best_epoch", "best", "best_weights")

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
        if self.restore_best_weights and self.best_weights is None:
            self.best_weights, self.best_epoch = self.model.get_weights(), epoch
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
