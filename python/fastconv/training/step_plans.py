"""The three plans of a model - train, test, predict - over one arena."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import _core
from fastconv.errors import OutOfMemoryError
from fastconv.graph.autodiff import grad
from fastconv.graph.function import Function, resolve_device
from fastconv.graph.ir import Tensor
from fastconv.graph.lower import Executable
from fastconv.graph.scope import scope
from fastconv.layers import context
from fastconv.training.available import available_bytes
from fastconv.training.trained import Trained
from fastconv.tree import flatten

Arrays = list[Any]


class Plans:
    """Traces, plans and runs the steps of ``model``; ``device`` as in `compile`."""

    def __init__(self, model: Any, device: str) -> None:
        self.model = model
        self.device = resolve_device(device)
        native = self.device == "cpu"
        self.arena = _core.Arena(_core.backend(self.device)) if native else None
        self._functions = {
            mode: Function(python, self.device, self.arena)
            for mode, python in (
                ("train", self._train), ("test", self._test), ("predict", self._predict)
            )
        }  # fmt: skip
        self.trained = Trained(model)
        self._accepted: set[Any] = set()

    def train(self, x: Any, y: Arrays, w: Arrays) -> Any:
        """One step; gives total loss, its parts, and predictions. Weights change."""
        optimizer = self.model.optimizer
        optimizer.before_step()
        result = self._run("train", x, y, w)
        optimizer.after_step()
        self.model.random_state.value[1] += 1
        return result

    def test(self, x: Any, y: Arrays, w: Arrays) -> Any:
        """Total loss, its parts, and predictions; nothing changes."""
        return self._run("test", x, y, w)

    def predict(self, x: Any) -> Any:
        """Predictions, in the structure of the model's outputs."""
        return self._run("predict", x)

    def executable(self, mode: str, *arguments: Any) -> Executable:
        """The plan for such arguments."""
        return self._functions[mode].compile(*arguments)

    def clear(self) -> None:
        """Forgets all plans."""
        for function in self._functions.values():
            function.clear()
        self._accepted.clear()

    def _run(self, mode: str, *arguments: Any) -> Any:
        key = (mode, *(a.shape for a in _arrays(arguments)))
        if key not in self._accepted:
            if self.arena is not None:
                self._check_memory(mode, arguments)
            self._accepted.add(key)
        return self._functions[mode](*arguments)

    # What is traced -------------------------------------------------------------------

    def _train(self, x: Any, y: Arrays, w: Arrays) -> Any:
        model = self.model
        random = context.randomness(model.random_state)
        with self.trained.in_force(), context.training(True), random:
            predictions = flatten(model.forward(x), Tensor)
            with scope("loss"):
                names = model.output_names
                total, parts = model.objective.total(names, y, predictions, w)
            variables = model.trainable_weights
            gradients = grad(total, variables)
            with scope("optimizer"):
                model.optimizer.apply(zip(gradients, variables, strict=True))
        return total, parts, predictions

    def _test(self, x: Any, y: Arrays, w: Arrays) -> Any:
        model = self.model
        with context.training(False):
            predictions = flatten(model.forward(x), Tensor)
            with scope("loss"):
                names = model.output_names
                total, parts = model.objective.total(names, y, predictions, w)
        return total, parts, predictions

    def _predict(self, x: Any) -> Any:
        with context.training(False):
            return self.model.forward(x)

    # Memory ---------------------------------------------------------------------------

    def _check_memory(self, mode: str, arguments: Any) -> None:
        """Refuses a plan that does not fit into the memory there is."""
        plan = self.executable(mode, *arguments)
        assert self.arena is not None
        there = available_bytes()
        if there is None or plan.arena_bytes <= there + self.arena.bytes:
            return
        self._functions[mode].clear()
        batch = len(next(iter(_arrays(arguments))))
        fits = self._largest_batch(mode, arguments, batch, there + self.arena.bytes)
        advice = (
            f"a batch size of {fits} would fit" if fits else "no batch size would fit"
        )
        raise OutOfMemoryError(
            f"model {self.model.name!r}: {mode} with a batch of {batch} needs "
            f"{plan.arena_bytes:,} bytes beside the weights, and {there:,} are "
            "available; "
            f"{advice}"
        )

    def _largest_batch(self, mode: str, arguments: Any, batch: int, limit: int) -> int:
        """The largest batch, found by planning, whose arena is within ``limit``."""
        low, high = 0, batch
        while high - low > max(1, high // 16):
            middle = (low + high) // 2
            plan = self.executable(mode, *with_batch(arguments, middle))
            low, high = (middle, high) if plan.arena_bytes <= limit else (low, middle)
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
