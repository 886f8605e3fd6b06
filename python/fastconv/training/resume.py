"""A training that goes on where it was cut off: its state in files, and back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv import _core
from fastconv.callbacks import BackupAndRestore
from fastconv.errors import ArgumentError, FormatError
from fastconv.io import container
from fastconv.io.series import Series
from fastconv.layers.base import is_spec
from fastconv.training import fingerprint
from fastconv.training.serialize import marked, unmarked
from fastconv.training.state import (
    RANDOM_STATE,
    assign,
    fill,
    fill_slots,
    state_arrays,
)
from fastconv.training.weight_names import match, weight_names
from fastconv.tree import decode, encode, map_structure

logger = logging.getLogger("fastconv")

SHARE = 0.01  # of the time, at most, goes into checkpoints with save_freq="auto"
State = dict[str, Any]


class Keeper:
    """Writes and reads the checkpoints of one `Fit`.

    backup: when and where. model: what is trained.
    facts: what is asked of the training, beside the model's.
    loop: gives the state of the loop, which the caller restores.
    """

    def __init__(
        self,
        backup: BackupAndRestore,
        model: Any,
        facts: State,
        loop: Callable[[], State],
    ) -> None:
        self.backup = backup
        self.model = model
        self.facts = facts
        self.loop = loop
        self.series = Series(backup.backup_dir, keep=1 + backup.double_checkpoint)
        self.optimizer = fingerprint.of_optimizer(model)
        self._model: State | None = None
        self._steps = 0
        self._saved: tuple[int, int] | None = None  # epoch and step of the last one
        self._next = 0.0  # when the next is due, by the clock

    # When -----------------------------------------------------------------------------

    def start(self, epoch: int) -> None:
        """Before the first step: shows early that checkpoints can be written."""
        if self.model.described:
            self.save(epoch, 0)

    def after_step(self, epoch: int, step: int) -> None:
        """After a step and its callbacks."""
        self._steps += 1
        often = self.backup.save_freq
        if often == "auto":
            if time.perf_counter() >= self._next:
                self.save(epoch, step)
        elif often != "epoch" and self._steps % int(often) == 0:
            self.save(epoch, step)

    def after_epoch(self, epoch: int) -> None:
        """After an epoch and its callbacks; ``epoch`` is the next one."""
        often = self.backup.save_freq
        if often == "epoch" or (often == "auto" and time.perf_counter() >= self._next):
            self.save(epoch, 0)

    def last(self, epoch: int, step: int) -> None:
        """When the loop has ended, or was interrupted."""
        if self._saved != (epoch, step) and self.model.described:
            self.save(epoch, step)

    def end(self, complete: bool) -> None:
        """After all callbacks have ended."""
        if complete and self.backup.delete_checkpoint:
            self.series.clear()

    # What -----------------------------------------------------------------------------

    def save(self, epoch: int, step: int) -> None:
        """Writes a checkpoint, between two steps."""
        begin = time.perf_counter()
        model = self.model
        model._gather()
        model.optimizer.build(model.trainable_weights)
        names = weight_names(model)
        arrays = {name: weight.value for name, weight in names.items()}
        arrays |= state_arrays(model, names)
        header = {
            "kind": "training",
            "fastconv": _core.__version__,
            "numpy": np.__version__,
            "weights": list(names),
            "inputs": map_structure(model.input_specs, is_spec, marked),
            "asked": self._asked(),
            "optimizer": fingerprint.of_optimizer(model),
            "state": _packed(self._state(epoch, step), arrays),
        }
        self.series.write(container.dump(header, arrays))
        self._saved = (epoch, step)
        now = time.perf_counter()
        self._next = now + (now - begin) / SHARE

    def _asked(self) -> State:
        if self._model is None:
            self._model = fingerprint.of_model(self.model)
        return {"model": self._model, "optimizer": self.optimizer, **self.facts}

    def _state(self, epoch: int, step: int) -> State:
        model, optimizer = self.model, self.model.optimizer
        return {
            **self.loop(),
            "epoch": epoch,
            "step": step,
            "steps": self._steps,
            "epochs_seen": model.epochs_seen,
            "stop_training": model.stop_training,
            "iterations": optimizer.calls,
            "averaged": optimizer.averaged,
            "numbers": optimizer.numbers(),
            "scores": model._counted.state() if step else None,
        }

    # Back -----------------------------------------------------------------------------

    def restore(self) -> State | None:
        """Gives the model the state of the last checkpoint; returns that of the loop.

        None if there is no checkpoint.
        """
        if self.model.described:
            self._asked()  # as it was given, before callbacks freeze layers
        found = self.series.read()
        if found is None:
            return None
        header, arrays, source = found
        if header.get("kind") != "training":
            raise FormatError(
                f"{source}: expected the checkpoint of a training, received a "
                f"{header.get('kind')}"
            )
        model = self.model
        if not model.described:
            model.build_for(unmarked(header["inputs"]))
        self._compare(header, source)
        state = decode(header["state"], lambda leaf: _leaf(leaf, arrays))
        names = weight_names(model)
        matched = match(names, arrays, header["weights"])
        fill(names, arrays, matched, source, False)
        fill_slots(model, arrays, matched, source)
        assign(model._seed_and_step, arrays[RANDOM_STATE], source, RANDOM_STATE)
        model.epochs_seen = state["epochs_seen"]
        model.stop_training = state["stop_training"]
        model.optimizer.calls = state["iterations"]
        model.optimizer.averaged = state["averaged"]
        model.optimizer.set_numbers(state["numbers"])
        model._counted.restore(state["scores"])
        self._steps, self._saved = state["steps"], (state["epoch"], state["step"])
        self._tell(state, source)
        return state

    def _tell(self, state: State, source: str) -> None:
        if state["stop_training"]:
            logger.warning(
                "%s: training had ended in epoch %d: stop_training; it does not go on",
                source, state["epoch"],
            )  # fmt: skip
            return
        logger.info(
            "training goes on from %s, in epoch %d after step %d",
            source, state["epoch"] + 1, state["step"],
        )  # fmt: skip

    def _compare(self, header: State, source: str) -> None:
        """Refuses another training than the one that was cut off."""
        asked, given = header["asked"], self._asked()
        if given["optimizer"] == header["optimizer"]:  # as it was left
            given["optimizer"] = asked["optimizer"]
        found = list(fingerprint.differences(asked, given, ""))
        if found:
            more = f" and {len(found) - 4} more" if len(found) > 4 else ""
            raise ArgumentError(
                f"{source}: this is the checkpoint of another training, which cannot "
                f"go on: {'; '.join(found[:4])}{more}; give what was given before, or "
                "another folder"
            )
        self.optimizer = asked["optimizer"]


def backup_among(callbacks: list[Any]) -> BackupAndRestore | None:
    """The one `BackupAndRestore` among callbacks."""
    found = [c for c in callbacks if isinstance(c, BackupAndRestore)]
    if len(found) > 1:
        raise ArgumentError(
            f"callbacks: expected one BackupAndRestore, received {len(found)}; resume= "
            "is one, too"
        )
    return found[0] if found else None


def _packed(state: State, arrays: container.Arrays) -> Any:
    """The state as JSON-like data; its arrays are added to ``arrays``."""

    def leaf(value: Any) -> Any:
        if isinstance(value, np.generic):
            return {"number": [value.dtype.name, value.item()]}
        if not isinstance(value, np.ndarray) or value.dtype.hasobject:
            raise ArgumentError(
                f"checkpoint: the state of a callback or metric holds {value!r:.80}; "
                "expected numbers, strings, arrays, and lists, tuples and dicts of them"
            )
        name = f"@state/{len(arrays)}"
        arrays[name] = value
        return {"array": name}

    return encode(state, leaf)


def _leaf(leaf: Any, arrays: container.Arrays) -> Any:
    if "number" in leaf:
        dtype, value = leaf["number"]
        return np.dtype(dtype).type(value)
    return arrays[leaf["array"]]
