"""From what the user gives to the batches of the loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np

from fastconv.data import tree
from fastconv.data.batches import Batches, as_batches, is_arrays
from fastconv.errors import ArgumentError, DataError

Batch = tuple[Any, Any, Any]


def feed(
    x: Any,
    y: Any = None,
    sample_weight: Any = None,
    batch_size: int | str | None = None,
    shuffle: bool = False,
    seed: int = 0,
) -> Batches:
    """The data as batches; float64 arrays become float32 once, here.

    batch_size: None is 32; "all" is one batch of everything.
    """
    if is_arrays(x):
        x, y = (narrow(tree.to_arrays(v, name)) for v, name in ((x, "x"), (y, "y")))
    if isinstance(batch_size, str):
        if batch_size != "all":
            raise ArgumentError(
                f"batch_size: expected a number or 'all', got {batch_size!r}"
            )
        if not is_arrays(x):
            raise ArgumentError(
                f"batch_size: 'all' needs arrays, received a {type(x).__name__} of "
                "ready batches as x: let it give one batch of all samples"
            )
        batch_size = max(1, tree.common_length((x, y, sample_weight), "data"))
    return as_batches(x, y, sample_weight, batch_size, shuffle, seed)


def narrow(value: Any) -> Any:
    """float64 arrays as float32, except those that are mapped from a file."""

    def one(array: Any, _: str) -> Any:
        double = isinstance(array, np.ndarray) and array.dtype == np.float64
        if not double or isinstance(array, np.memmap):
            return array
        return array.astype(np.float32)

    return tree.tree_map(one, value, "")


class Epochs:
    """The batches of one epoch after the other, each of ``steps`` or of all there are.

    With ``steps`` an epoch goes on where the one before stopped.
    """

    def __init__(self, data: Batches, steps: int | None) -> None:
        if steps is not None and steps < 1:
            raise ArgumentError(f"steps: expected 1 or more, received {steps!r}")
        self.data = data
        self.steps = steps
        self._pass = 0
        self._given = 0  # batches of this pass
        self._step = 0  # batches of this epoch
        self._open: Iterator[Batch] | None = None  # where the next epoch goes on

    @property
    def length(self) -> int | None:
        """Batches in an epoch, None if unknown."""
        return self.data.num_batches if self.steps is None else self.steps

    def begin(self, epoch: int) -> None:
        """Makes ``epoch`` the first one: of the order of samples, too."""
        self._pass = epoch

    def shorten(self, steps: int) -> None:
        """Makes an epoch have ``steps`` batches at most."""
        self.steps = steps if self.length is None else min(steps, self.length)

    def peek(self, count: int) -> Batch:
        """Up to ``count`` samples before the first epoch, which still has them.

        If all samples are at hand, they are spread over them, in order; else it is the
        first batch.
        """
        if self._parts is not None:
            found: Batch = self.data.spread(count)  # type: ignore[attr-defined]
            return found
        batches = self._opened()
        first = next(batches, None)
        if first is None:
            raise DataError("data: an epoch without batches")
        self._open = chain([first], batches)
        x, y, w = (tree.slice_rows(part, slice(count)) for part in first)
        return x, y, w

    @property
    def inputs(self) -> Any:
        """All inputs before random changes, if they are at hand; else None."""
        return self._parts and self._parts[0]

    @property
    def targets(self) -> Any:
        """All targets before random changes, if they are at hand; else None."""
        return self._parts and self._parts[1]

    @property
    def _parts(self) -> Batch | None:
        return getattr(self.data, "parts", None)

    def state(self) -> dict[str, int]:
        """The position, for `restore`."""
        return {"pass": self._pass, "given": self._given, "step": self._step}

    def restore(self, state: Mapping[str, int]) -> None:
        """Makes the next batch the one that came after `state`."""
        self._pass, self._given = state["pass"], state["given"]
        self._step, self._open = state["step"], None

    def __iter__(self) -> Iterator[Batch]:
        """The batches of the next epoch, or what is left of one that was restored."""
        while self.steps is None or self._step < self.steps:
            batch = self._next()
            if batch is None and self.steps is None:
                break
            batch = batch or self._next()
            if batch is None:
                raise DataError("data: an epoch without batches")
            self._step += 1
            yield batch
        self._step = 0

    def _next(self) -> Batch | None:
        """The next batch of this pass over the data; None at its end."""
        if self._open is None:
            self._open = self._opened()
        batch = next(self._open, None)
        if batch is None:
            self._pass, self._given, self._open = self._pass + 1, 0, None
        else:
            self._given += 1
        return batch

    def _opened(self) -> Iterator[Batch]:
        """What is left of this pass over the data."""
        return self.data.batches(epoch=self._pass, start=self._given)


def class_weights(class_weight: Mapping[int, float] | None) -> Any:
    """A function from targets, and the number of outputs, to weights; or None."""
    if class_weight is None:
        return None
    table = np.ones(max([*class_weight, 0]) + 1, np.float32)
    for label, weight in class_weight.items():
        if not hasattr(label, "__index__") or label < 0:
            raise ArgumentError(
                f"class_weight: expected class numbers, received {label!r}"
            )
        table[label] = weight

    def weigh(y: Any, outputs: int) -> np.ndarray:
        if outputs != 1:
            raise ArgumentError(
                f"class_weight: expected a model with one output, this one has "
                f"{outputs}; give sample_weight"
            )
        labels = y
        if y.ndim > 1:
            labels = y.argmax(-1) if y.shape[-1] > 1 else y[..., 0]
        labels = labels.astype(np.int64)
        inside = (labels >= 0) & (labels < len(table))
        return np.where(inside, table[np.where(inside, labels, 0)], np.float32(1))

    return weigh
