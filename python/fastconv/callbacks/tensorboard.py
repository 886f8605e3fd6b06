"""Curves and histograms for TensorBoard."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from fastconv.callbacks.base import Callback, Logs
from fastconv.errors import ArgumentError, MissingExtraError


class TensorBoard(Callback):
    """Writes curves, and histograms of the weights, for TensorBoard.

    ``tensorboard --logdir LOG_DIR`` shows them. The folders ``train`` and
    ``validation`` hold ``epoch_loss``, ``epoch_accuracy`` and so on by epoch, with
    ``epoch_learning_rate``; with ``update_freq`` also ``batch_loss`` and so on by step,
    and ``evaluation_loss_vs_iterations``. A training that goes on writes into new files
    beside the old ones, where the points that it repeats are the same.

    Parameters
    ----------
    log_dir: the folder; default "logs".
    histogram_freq: epochs from one histogram of each weight to the next; default 0, for
        none.
    write_graph: whether the table of `Model.summary` is written, as text; default True.
    write_steps_per_second: whether ``epoch_steps_per_second`` is; default False.
    update_freq: "epoch", "batch", or a number of steps; default "epoch".

    Raises
    ------
    ArgumentError for another ``update_freq``; MissingExtraError, when training begins,
    without the package tensorboardX (``pip install fastconv[tensorboard]``).

    >>> import fastconv as fc
    >>> fc.callbacks.TensorBoard("logs", histogram_freq=1).update_freq
    'epoch'
    """

    writes_files = True

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        histogram_freq: int = 0,
        *,
        write_graph: bool = True,
        write_steps_per_second: bool = False,
        update_freq: str | int = "epoch",
    ) -> None:
        update_freq = 1 if update_freq == "batch" else update_freq
        if update_freq != "epoch" and not (
            isinstance(update_freq, int) and update_freq > 0
        ):
            raise ArgumentError(
                "update_freq: expected 'epoch', 'batch' or a number of steps, received "
                f"{update_freq!r}"
            )
        self.log_dir = Path(log_dir)
        self.histogram_freq = histogram_freq
        self.write_graph = write_graph
        self.write_steps_per_second = write_steps_per_second
        self.update_freq = update_freq
        self._writers: dict[str, Any] = {}
        self._begun = (0, 0.0)
        if update_freq == "epoch":  # then no logs need to be made for each step
            self._skip("on_train_batch_end")

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Begins new files."""
        try:
            import tensorboardX  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(
                "TensorBoard: expected the package tensorboardX, which is not "
                "installed; pip install 'fastconv[tensorboard]'"
            ) from error
        self.on_epoch_begin(0)
        if self.write_graph and self.model.described:
            lines: list[str] = []
            self.model.summary(print_fn=lines.append)
            table = "\n    ".join(["", *"\n".join(lines).split("\n")])
            self._writer("train").add_text("model", table, 0)

    def _writer(self, part: str) -> Any:
        if part not in self._writers:
            from tensorboardX import SummaryWriter

            self._writers[part] = SummaryWriter(str(self.log_dir / part))
        return self._writers[part]

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Starts the clock."""
        self._begun = (self.model.optimizer.iterations, time.perf_counter())

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Writes the means so far, if it is time."""
        step = self.model.optimizer.iterations
        if step % int(self.update_freq) == 0:
            self._write("train", "batch_{}", logs, step)

    def on_test_end(self, logs: Logs | None = None) -> None:
        """Writes a point of an evaluation against the steps of training."""
        if self.update_freq != "epoch" and self._writers:
            step = self.model.optimizer.iterations
            self._write("validation", "evaluation_{}_vs_iterations", logs, step)

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Writes a point of each curve, and the histograms."""
        train: Logs = {}
        validation: Logs = {}
        for name, value in (logs or {}).items():
            part = validation if name.startswith("val_") else train
            part[name.removeprefix("val_")] = value
        train["learning_rate"] = self.model.optimizer.learning_rate
        if self.write_steps_per_second:
            first, start = self._begun
            steps = self.model.optimizer.iterations - first
            train["steps_per_second"] = steps / (time.perf_counter() - start)
        self._write("train", "epoch_{}", train, epoch)
        self._write("validation", "epoch_{}", validation, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            for weight in self.model.weights:
                name = f"{weight.name}/histogram"
                self._writer("train").add_histogram(name, weight.value, epoch)
        for writer in self._writers.values():
            writer.flush()

    def _write(self, part: str, form: str, logs: Logs | None, step: int) -> None:
        for name, value in (logs or {}).items():
            self._writer(part).add_scalar(form.format(name), float(value), step)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
