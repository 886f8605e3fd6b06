"""The loop over epochs and batches."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Collection
from typing import Any

from fastconv import config
from fastconv.callbacks import BackupAndRestore, CallbackList, History
from fastconv.errors import ArgumentError
from fastconv.execution.executable import bringing
from fastconv.training import fingerprint, sanity
from fastconv.training.feeding import ClassWeights, Epochs
from fastconv.training.interrupt import Interrupt
from fastconv.training.overfitting import OverfittingWatch
from fastconv.training.progress import Progress
from fastconv.training.resume import Keeper, backup_among
from fastconv.training.time_limit import TimeLimit

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
        check: bool | None = None,
        time_limit: Any = None,
        whole: bool = False,
    ) -> None:
        self.model = model
        self.data = data
        self.validation = validation
        self.validation_freq = _frequency(validation_freq)
        self.class_weight = class_weight
        self.weigh = None if class_weight is None else ClassWeights(class_weight)
        self.whole = whole
        self.check = config.sanity() if check is None else check
        steps = 0 if validation is None else validation.length or 0
        self.limit = None if time_limit is None else TimeLimit(time_limit, steps)
        self.interrupt = Interrupt()
        self.keeper: Keeper | None = None

    def dev_run(self, first: int, steps: Any, verbose: Any, callbacks: Any) -> History:
        """A few batches, without callbacks that write files; no epoch that counts."""
        if not hasattr(steps, "__index__") or steps < 1:
            raise ArgumentError(
                f"fast_dev_run: expected True or a number of batches, got {steps!r}"
            )
        for data in (self.data, self.validation):
            if data is not None:
                data.shorten(int(steps))
        self.limit = None
        kept = [c for c in _listed(callbacks) if not getattr(c, "writes_files", False)]
        seen = self.model.epochs_seen
        try:
            return self.run(first, first + 1, verbose, kept)
        finally:
            self.model.epochs_seen = seen

    def run(
        self, first: int, last: int, verbose: Any, callbacks: Any, resume: Any = None
    ) -> History:
        """Trains from epoch ``first`` to before ``last``."""
        if isinstance(last, bool) or not hasattr(last, "__index__") or last < 0:
            raise ArgumentError(f"epochs: expected an integer >= 0, received {last!r}")
        callbacks = _listed(callbacks)
        if resume is not None:
            callbacks.append(
                BackupAndRestore(resume, "auto", True, delete_checkpoint=False)
            )
        backup = backup_among(callbacks)
        if backup is not None and self.limit is not None:
            raise ArgumentError(
                "fit: expected either time_limit or resume (BackupAndRestore): a "
                "training that the clock ends cannot be repeated"
            )
        history = (
            next((c for c in callbacks if isinstance(c, History)), None) or History()
        )
        others = [c for c in callbacks if c is not history]
        others += [OverfittingWatch()] * (self.validation is not None)
        others += [self.limit] if self.limit else []
        epochs = None if self.limit else last
        params = {"epochs": epochs, "steps": self.data.length, "verbose": verbose}
        self.hooks = CallbackList([*others, history], self.model, **params)
        self.model.history = history
        self.model.stop_training = False
        self.model.warn_of_frozen()
        self.data.begin(max(first, self.model.epochs_seen))
        begun = first
        first, step = self._begin(first, last, backup)
        driving = self.limit.driving(self.model.optimizer) if self.limit else None
        with self.interrupt, driving or contextlib.nullcontext():
            logs = self._epochs(first, step, epochs, verbose, history)
        if self.limit or last > begun:
            self.model.optimizer.finalize_variable_values(self.model.trainable_weights)
        history.interrupted = self.interrupt.requested
        self.hooks.call("on_train_end", logs)
        if self.keeper is not None:
            self.keeper.end(not self.interrupt.requested)
        return history

    def _begin(
        self, first: int, last: int, backup: BackupAndRestore | None
    ) -> tuple[int, int]:
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
        self._check(first, last)
        self.hooks.call("on_train_begin")
        if self.keeper is not None:
            self.keeper.start(first)
        return first, 0

    def _check(self, first: int, last: int) -> None:
        """Says what looks wrong, before the first epoch of a fresh model."""
        model = self.model
        fresh = first == model.epochs_seen == model.optimizer.iterations == 0
        known = model.has_call and model.compiled_loss is not None
        if self.check and fresh and known and (self.limit or last > 0):
            model.history.findings = sanity.check(model, self.data, self.validation)
            sanity.report(model.history.findings)

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
        self, first: int, step: int, last: int | None, verbose: Any, history: History
    ) -> Any:
        """From ``step`` of epoch ``first`` to the end; gives the last logs."""
        keeper, model = self.keeper, self.model
        for epoch in itertools.count(first) if last is None else range(first, last):
            self.model._set_epoch(max(epoch, self.model.epochs_seen))
            if model.stop_training:
                break
            if not step:
                self.hooks.call("on_epoch_begin", epoch)
            title = f"Epoch {epoch + 1}" + (f"/{last}" if last is not None else "")
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
        keeper, scores = self.keeper, model._counted
        if not step:
            scores.reset()
        begins, ends = (hooks.listens(f"on_train_batch_{e}") for e in ("begin", "end"))
        model._in_epoch = True
        try:
            for x, y, w in self.data:
                if begins:
                    hooks.call("on_train_batch_begin", step)
                with bringing(self.data.look_ahead):
                    model.train_batch(x, y, w, self.weigh, self.whole)
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
        finally:
            model._in_epoch = False
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


def _listed(callbacks: Any) -> list[Any]:
    return list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]


def _frequency(value: Any) -> Any:
    """Epochs from one validation to the next, or the epochs that have one."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if (whole and value >= 1) or isinstance(value, Collection):
        return value
    raise ArgumentError(
        "validation_freq: expected an integer >= 1, or a list of epochs, received "
        f"{value!r}"
    )
