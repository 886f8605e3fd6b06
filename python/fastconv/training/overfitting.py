"""Over-fitting, named when it is seen: training falls, validation rises."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastconv.callbacks.base import Callback, Logs

logger = logging.getLogger("fastconv")

PATIENCE = 5  # epochs behind the best one that are looked at, at least
RISE = 0.02  # of the validation loss, relative
CLEAR = 4.0  # slope of a line over its standard error; rise over the noise


@dataclass(frozen=True)
class Overfitting:
    """When it began, and the losses then and when it was seen.

    since: the epoch with the least validation loss, from 1; seen: the one that told.
    best, now: validation loss of the two; fell: training loss of the two.
    """

    since: int
    seen: int
    best: float
    now: float
    fell: tuple[float, float]

    def __str__(self) -> str:
        return (
            f"over-fitting since epoch {self.since}: by epoch {self.seen} the "
            f"validation loss rose from {self.best:.4g} to {self.now:.4g} while the "
            f"training loss fell from {self.fell[0]:.4g} to {self.fell[1]:.4g}; stop "
            "there (callbacks.EarlyStopping(patience=5, restore_best_weights=True)), "
            "or add data, augmentation, dropout or weight_decay"
        )


def find(history: Mapping[str, Sequence[float]]) -> Overfitting | None:
    """The first over-fitting in ``History.history``, None without it.

    Of at least five epochs behind the one with the least validation loss, all are above
    it, their mean over the last three by 2 % or more and by four times the noise (from
    the median step between two epochs), and the least-squares line through them rises
    by more than four times its standard error, while that of the training loss falls.
    Noise about a constant loss hardly does that.
    """
    loss, val = (history.get(name, ()) for name in ("loss", "val_loss"))
    if len(loss) != len(val):  # not validated after each epoch
        return None
    train, held = (np.asarray(values, np.float64) for values in (loss, val))
    for seen in range(PATIENCE + 1, len(held) + 1):
        found = _at(train[:seen], held[:seen])
        if found is not None:
            return found
    return None


def _at(train: np.ndarray, held: np.ndarray) -> Overfitting | None:
    """Whether the last epoch tells it."""
    best = int(np.nanargmin(held)) if np.isfinite(held).any() else len(held)
    after = held[best + 1 :]
    if len(after) < PATIENCE or not np.isfinite([*after, *train[best:]]).all():
        return None
    steps = np.abs(np.diff(held[np.isfinite(held)]))
    noise = 1.4826 / math.sqrt(2) * float(np.median(steps))  # of normal values
    rise = max(RISE * abs(held[best]), CLEAR * noise)
    rises = after.min() > held[best] and after[-3:].mean() - held[best] > rise
    falls = train[-1] < train[best] and _trend(train[best:]) < -CLEAR
    if not rises or not falls or _trend(after) < CLEAR:
        return None
    losses = float(train[best]), float(train[-1])
    return Overfitting(best + 1, len(held), float(held[best]), float(held[-1]), losses)


def _trend(values: np.ndarray) -> float:
    """Slope of the least-squares line over its standard error."""
    x = np.arange(len(values)) - (len(values) - 1) / 2
    spread = float(x @ x)
    slope = float(x @ values) / spread
    rest = values - values.mean() - slope * x
    error = math.sqrt(float(rest @ rest) / (len(values) - 2) / spread)
    return slope / max(error, 1e-12 * abs(float(values.mean())), 1e-300)


class OverfittingWatch(Callback):
    """Says once, in the log, that a training over-fits; `fit` adds one."""

    kept = ("_seen",)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forgets the last training."""
        self._seen: list[tuple[int, float, float]] = []  # epoch, training, validation

    def restore(self, state: dict[str, Any]) -> None:
        """Finds again what was seen before the training was cut off."""
        super().restore(state)
        for count in range(1, len(self._seen) + 1):
            self._look(count)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Looks at the losses so far."""
        if not {"loss", "val_loss"} <= set(logs or {}):
            return
        logs = logs or {}
        self._seen.append((epoch + 1, float(logs["loss"]), float(logs["val_loss"])))
        if self._look(len(self._seen)):
            logger.warning("%s", self.model.history.overfitting)

    def _look(self, count: int) -> bool:
        """Whether the first ``count`` epochs are the first that tell it."""
        history: Any = self.model.history
        if history.overfitting is not None:
            return False
        epochs, train, held = map(np.array, zip(*self._seen[:count], strict=True))
        found = _at(train, held)
        if found is not None:
            since, seen = int(epochs[found.since - 1]), int(epochs[-1])
            history.overfitting = replace(found, since=since, seen=seen)
        return found is not None
