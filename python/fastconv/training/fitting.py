"""The loop over epochs and batches."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from fastconv.callbacks import BackupAndRestore, CallbackList, History
from fastconv.errors import ArgumentError
from fastconv.training import fingerprint
from fastconv.training.feeding import Epochs, class_weights
from fastconv.training.interrupt import Interrupt
from fastconv.training.progress import Progress
from fastconv.training.resume import Keeper, backup_among

logger = logging.getLogger("fastconv")


class Fit:
    """One call of `Model.fit`."""

    def __init__(
        self,
        model: Any,
        data: Epochs,
        validation: Epochs | None,
        class_weight: Any = None,
        validation_freq: Any = 1,
    ) -> None:
        self.model = model
        self.data = data
        self.validation = validation
        self.validation_freq = _frequency(validation_freq)
        self.class_weight = class_weight
        self.weigh = class_weights(class_weight)
        self.interrupt = Interrupt()
        self.keeper: Keeper | None = None

    def run(
        self, first: int, last: int, verbose: Any, callbacks: Any, resume: Any = None
    ) -> History:
        """Trains from epoch ``first`` to before ``last``."""
        if isinstance(last, bool) or not hasattr(last, "__index__") or last < 0:
            raise ArgumentError(f"epochs: expected an integer >= 0, received {last!r}")
        callbacks = (
            list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
        )
        if resume is not None:
            backup = BackupAndRestore(resume, "auto", True, delete_checkpoint=False)
            callbacks = [*callbacks, backup]
        history = (
            next((c for c in callbacks if isinstance(c, History)), None) or History()
        )
        others = [c for c in callbacks if c is not history]
        params = {"epochs": last, "steps": self.data.length, "verbose": verbose}
        self.hooks = CallbackList([*others, history], self.model, **params)
        self.model.history = history
        self.model.stop_training = False
        self.model.warn_of_frozen()
        self.data.begin(max(first, self.model.epochs_seen))
        first, step = self._begin(first, backup_among(callbacks))
        with self.interrupt:
            logs = self._epochs(first, step, last, verbose, history)
        self.hooks.call("on_train_end", logs)
        if self.keeper is not None:
            self.keeper.end(not self.interrupt.requested)
        return history

    def _begin(self, first: int, backup: BackupAndRestore | None) -> tuple[int, int]:
        """Begins, or goes on from a checkpoint; gives the epoch and the step in it."""
        self.logs: dict[str, Any] = {}
        if backup is not None:
            self.keeper = Keeper(backup, self.model, self._facts(), self._state)
            state = self.keeper.restore()
            if state is not None:
                self.logs = state["logs"]
                self.data.restore(state["data"])
                if self.validation is not None:
                    self.validation.restore(state["validation"])
                self.hooks.resume(state["callbacks"])
                return state["epoch"], state["step"]
        self.hooks.call("on_train_begin")
        if self.keeper is not None:
            self.keeper.start(first)
        return first, 0

    def _facts(self) -> dict[str, Any]:
        """What a training that goes on must have in common with the first part."""
        validation = self.validation
        return fingerprint.plain(
            {
                "data": fingerprint.of_data(self.data.data),
                "steps_per_epoch": self.data.steps,
                "class_weight": self.class_weight,
                "validation_data": validation and fingerprint.of_data(validation.data),
                "validation_steps": validation and validation.steps,
                "validation_freq": self.validation_freq,
            }
        )

    def _state(self) -> dict[str, Any]:
        """The state of the loop, between two steps."""
        return {
            "logs": self.logs,
            "data": self.data.state(),
            "validation": self.validation and self.validation.state(),
            "callbacks": self.hooks.states(),
        }

    def _epochs(
        self, first: int, step: int, last: int, verbose: Any, history: History
    ) -> Any:
        """From ``step`` of epoch ``first`` to the end; gives the last logs."""
        keeper, model = self.keeper, self.model
        for epoch in range(first, last):
            if model.stop_training:
                break
            if not step:
                self.hooks.call("on_epoch_begin", epoch)
            title = f"Epoch {epoch + 1}/{last}"
            progress = Progress(verbose, title, self.data.length, step)
            try:
                logs, step = self._train(progress, epoch, step)
                if self.interrupt.requested:
                    if self.keeper is not None:
                        self.keeper.last(epoch, step)
                    self._stopped(epoch, step, logs, history)
                    progress.end(logs)
                    return logs
                model.epochs_seen = max(epoch, model.epochs_seen) + 1
                if self._validates(epoch + 1):
                    logs.update(self._validate())
                self.hooks.call("on_epoch_end", epoch, logs)
                progress.end(logs)
            finally:
                progress.close()
            self.logs, first, step = logs, epoch + 1, 0
            if keeper is not None:
                keeper.after_epoch(epoch + 1)
            if self.interrupt.requested:
                break
        if keeper is not None:
            keeper.last(first, step)
        return self.logs

    def _train(
        self, progress: Progress, epoch: int, step: int
    ) -> tuple[dict[str, Any], int]:
        """One epoch from ``step``; gives its logs and the number of steps done."""
        model, hooks, interrupt = self.model, self.hooks, self.interrupt
        keeper, scores = self.keeper, model.scores
        if not step:
            scores.reset()
        begins, ends = (hooks.listens(f"on_train_batch_{e}") for e in ("begin", "end"))
        try:
            for x, y, w in self.data:
                if begins:
                    hooks.call("on_train_batch_begin", step)
                model.train_step(x, y, w, self.weigh)
                step += 1
                if ends:
                    hooks.call("on_train_batch_end", step - 1, scores.logs())
                progress.step(scores.logs)
                if keeper is not None and not model.stop_training:
                    keeper.after_step(epoch, step)
                if interrupt.requested or model.stop_training:
                    break
        except KeyboardInterrupt:
            if interrupt.requested:  # the second one
                raise
            interrupt.requested = True
            self.keeper = None  # a step, or its callbacks, may be half done
        return scores.logs(), step

    def _validates(self, epoch: int) -> bool:
        if self.validation is None:
            return False
        if hasattr(self.validation_freq, "__index__"):
            return epoch % self.validation_freq == 0
        return epoch in self.validation_freq

    def _validate(self) -> dict[str, float]:
        logs = self.model.evaluate_epoch(self.validation, self.hooks, verbose=0)
        return {f"val_{name}": value for name, value in logs.items()}

    def _stopped(self, epoch: int, step: int, logs: Any, history: History) -> None:
        """After Ctrl-C: the history holds the part of the epoch that was done."""
        logger.warning(
            "training stopped by Ctrl-C in epoch %d after step %d", epoch + 1, step
        )
        self.model.stop_training = True
        if step:
            history.on_epoch_end(epoch, logs)


def _frequency(value: Any) -> Any:
    """Epochs from one validation to the next, or the epochs that have one."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if (whole and value >= 1) or isinstance(value, Collection):
        return value
    raise ArgumentError(
        "validation_freq: expected an integer >= 1, or a list of epochs, received "
        f"{value!r}"
    )
