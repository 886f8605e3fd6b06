"""What is kept of a training: the history, a CSV file, a function of your own."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastconv.callbacks.base import HOOKS, Callback, Logs
from fastconv.errors import ArgumentError, DataError


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

    kept = ("history", "epoch")

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
        self._names: list[str] = []

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Makes the file, or reads its columns."""
        path = Path(self.filename)
        self._names = []
        if self.append and path.exists():
            with path.open(newline="") as file:
                header = next(csv.reader(file, delimiter=self.separator), [])
            self._names = header[1:]
        path.open("a" if self.append else "w").close()

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Writes a line."""
        logs = logs or {}
        with Path(self.filename).open("a", newline="") as file:
            writer = csv.writer(file, delimiter=self.separator)
            if not self._names:
                self._names = list(logs)
                writer.writerow(["epoch", *self._names])
            writer.writerow([epoch, *(logs.get(name, "NA") for name in self._names)])

    def state(self) -> dict[str, Any]:
        """Length of the file, synced, and its columns."""
        with Path(self.filename).open("rb") as file:
            os.fsync(file.fileno())
            length = os.fstat(file.fileno()).st_size
        return {"bytes": length, "names": self._names}

    def restore(self, state: dict[str, Any]) -> None:
        """Cuts off what was written after the state was taken."""
        path = Path(self.filename)
        length = path.stat().st_size if path.exists() else 0
        if length < state["bytes"]:
            raise DataError(
                f"CSVLogger: {path}: expected the log of the training that goes on, of "
                f"at least {state['bytes']} bytes, found {length}; put it back, or "
                "start in another folder"
            )
        self._names = state["names"]
        if path.exists():
            os.truncate(path, state["bytes"])


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
