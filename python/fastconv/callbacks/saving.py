"""Callbacks that save the model, or the whole state of its training."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from fastconv.callbacks.base import Callback, Logs
from fastconv.callbacks.monitor import Monitor
from fastconv.errors import ArgumentError

logger = logging.getLogger("fastconv")


class ModelCheckpoint(Monitor):
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

    kept = ("best", "_steps", "_epoch")
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
        if save_freq == "epoch":  # then no logs need to be made for each step
            self._skip("on_train_batch_end")

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Notes the epoch."""
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Saves if it is time."""
        self._steps += 1
        if self._steps % int(self.save_freq) == 0:
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


class BackupAndRestore(Callback):
    """Writes the whole state of a training, and goes on from there when it is cut off.

    `Model.fit` looks for the last checkpoint in the folder before it starts. The bytes
    of the weights, of the optimizer, of the logs and of all that follows are then those
    of a training that was never cut off, wherever that was. See `Model.fit`, whose
    ``resume`` is this callback, and which does the work: it has no hooks of its own.

    Parameters
    ----------
    backup_dir: a folder for the checkpoints of one training, made if it is not there.
    save_freq: "epoch" for each end of an epoch, a number of steps, or "auto": after any
        step, as soon as the last checkpoint took less than 1 % of the time since then.
        Default "epoch".
    double_checkpoint: keep the last two checkpoints: if one is damaged, the one before
        is taken. Default False.
    delete_checkpoint: delete them when the training has come to its end; default True.

    Raises
    ------
    ArgumentError for another ``save_freq``, or no folder.

    >>> import fastconv as fc
    >>> fc.callbacks.BackupAndRestore("backup", save_freq=100).save_freq
    100
    """

    writes_files = True

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        double_checkpoint: bool = False,
        delete_checkpoint: bool = True,
    ) -> None:
        if not os.fspath(backup_dir):
            raise ArgumentError("backup_dir: expected a folder, received ''")
        whole = isinstance(save_freq, int) and not isinstance(save_freq, bool)
        if save_freq not in ("epoch", "auto") and not (whole and int(save_freq) > 0):
            raise ArgumentError(
                "save_freq: expected 'epoch', 'auto' or a number of steps, received "
                f"{save_freq!r}"
            )
        self.backup_dir = Path(backup_dir)
        self.save_freq = save_freq
        self.double_checkpoint = double_checkpoint
        self.delete_checkpoint = delete_checkpoint
