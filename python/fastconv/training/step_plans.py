"""The three plans of a model - train, test, predict - over one arena."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from fastconv.errors import OutOfMemoryError
from fastconv.execution.devices import arena_of, resolve_device
from fastconv.execution.executable import Executable
from fastconv.execution.function import Function
from fastconv.io.available import available_bytes
from fastconv.layers import context
from fastconv.training.steps import Record, packed
from fastconv.training.trained import Trained
from fastconv.training.whole import Whole
from fastconv.tree import flatten


class Plans:
    """Traces, plans and runs the steps of ``model``.

    ``device`` and ``limit``, of memory in bytes, as in `compile`.
    """

    def __init__(self, model: Any, device: str, limit: int | None = None) -> None:
        self.model = model
        self.device = resolve_device(device)
        self.arena = arena_of(self.device)
        self._functions = {
            mode: Function(
                python, self.device, self.arena, limit=limit,
                admit=None if self.arena is None else partial(self._check_memory, mode),
            )
            for mode, python in (
                ("train", self._train), ("test", self._test), ("predict", self._predict)
            )
        }  # fmt: skip
        self.trained = Trained(model)
        self._whole: Whole | None = None

    def train(self, x: Any, y: Any, w: Any) -> Any:
        """One step; gives what `Record.result` says. Weights change."""
        result = self._functions["train"](x, y, w)
        self.model._seed_and_step.value[1] += 1
        return result

    def train_one(self, x: Any, y: Any, w: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
        """`train`, in the form of `train_all`."""
        yield self.train(x, y, w), x, y, w

    def train_all(self, x: Any, y: Any, w: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
        """One step on all samples, in parts if need be; gives the result of each."""
        if self._whole is None:
            try:
                result = self.train(x, y, w)
            except OutOfMemoryError as error:
                if not error.fits:
                    raise
                given = self.model, self.device, self.arena, error.fits
                with self.trained.in_force():
                    self._whole = Whole(*given)
            else:
                yield result, x, y, w
                return
        with self.trained.in_force():
            yield from self._whole.step(x, y, w)

    def test(self, x: Any, y: Any, w: Any) -> Any:
        """What `Record.result` says; nothing changes."""
        return self._functions["test"](x, y, w)

    def predict(self, x: Any) -> Any:
        """Predictions, in the structure of the model's outputs."""
        return self._functions["predict"](x)

    def executable(self, mode: str, *arguments: Any) -> Executable:
        """The plan for such arguments."""
        return self._functions[mode].compile(*arguments)

    def renew(self) -> None:
        """Trains from now on what is ``trainable`` now."""
        self.trained = Trained(self.model)
        self.clear()

    def clear(self) -> None:
        """Forgets all plans."""
        for function in self._functions.values():
            function.clear()
        self._whole = None

    # What is traced -------------------------------------------------------------------

    def _train(self, x: Any, y: Any, w: Any) -> Any:
        random = context.randomness(self.model._seed_and_step)
        with self.trained.in_force(), context.training(True), random:
            return self._step(self.model.train_step, x, y, w)

    def _test(self, x: Any, y: Any, w: Any) -> Any:
        with context.training(False):
            return self._step(self.model.test_step, x, y, w)

    def _predict(self, x: Any) -> Any:
        with context.training(False):
            return self.model.predict_step((self.model._ready(x),))

    def _step(self, step: Any, x: Any, y: Any, w: Any) -> Any:
        with Record((y, w)) as record:
            return record.result(step(packed(self.model._ready(x), y, w)))

    # Memory ---------------------------------------------------------------------------

    def _check_memory(self, mode: str, *arguments: Any) -> None:
        """Refuses a plan that does not fit into the memory there is."""
        problem = self._problem(mode, arguments)
        if not problem:
            return
        batch = len(next(iter(_arrays(arguments))))
        fits = self._largest_batch(mode, arguments, batch)
        advice = (
            f"a batch size of {fits} would fit" if fits else "no batch size would fit"
        )
        raise OutOfMemoryError(
            f"model {self.model.name!r}: {mode} with a batch of {batch} {problem}; "
            f"{advice}",
            fits,
        )

    def _problem(self, mode: str, arguments: Any) -> str:
        """Why the plan for such arguments does not fit; empty if it does."""
        try:
            plan = self.executable(mode, *arguments)
        except OutOfMemoryError as error:
            return str(error)
        assert self.arena is not None
        free = self.arena.backend.available_bytes
        there = available_bytes() if free is None else free
        if there is None or plan.arena_bytes <= there + self.arena.bytes:
            return ""
        self._functions[mode].clear()
        return (
            f"needs {plan.arena_bytes:,} bytes beside the weights, and {there:,} are "
            "available"
        )

    def _largest_batch(self, mode: str, arguments: Any, batch: int) -> int:
        """The largest batch that fits, found by planning."""
        low, high = 0, batch
        while high - low > max(1, high // 16):
            middle = (low + high) // 2
            problem = self._problem(mode, with_batch(arguments, middle))
            low, high = (low, middle) if problem else (middle, high)
        self._functions[mode].clear()
        return low


def _arrays(value: Any) -> list[np.ndarray]:
    return flatten(value, np.ndarray)


def with_batch(value: Any, batch: int) -> Any:
    """Data of another batch size, of zeros that take no memory."""
    if isinstance(value, np.ndarray):
        return np.zeros((batch, *value.shape[1:]), value.dtype)
    if isinstance(value, dict):
        return {k: with_batch(v, batch) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(with_batch(v, batch) for v in value)
    return value
