"""From what the user gives to the batches of the loop."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np

from fastconv import losses
from fastconv.data import tree
from fastconv.data.batches import Batches, as_batches, is_arrays
from fastconv.errors import ArgumentError, DataError, ShapeError
from fastconv.execution.feed import check_feed
from fastconv.tree import flatten

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
        self._waiting: Batch | None = None  # the next of them, if it was looked at

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
        self._step, self._open, self._waiting = state["step"], None, None

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

    def look_ahead(self) -> list[np.ndarray]:
        """The arrays of the next batch, which is still to come, as a plan takes them.

        None at the end of a pass, and of what may depend on the training: only the
        batches of arrays are made earlier than they are asked for.
        """
        if self._parts is None or self._open is None:
            return []
        self._waiting = self._waiting or next(self._open, None)
        arrays = flatten(self._waiting, np.ndarray)
        return [array for array in arrays if check_feed("data", array) is array]

    def _next(self) -> Batch | None:
        """The next batch of this pass over the data; None at its end."""
        if self._open is None:
            self._open = self._opened()
        batch, self._waiting = self._waiting or next(self._open, None), None
        if batch is None:
            self._pass, self._given, self._open = self._pass + 1, 0, None
        else:
            self._given += 1
        return batch

    def _opened(self) -> Iterator[Batch]:
        """What is left of this pass over the data."""
        return self.data.batches(epoch=self._pass, start=self._given)


class ClassWeights:
    """Weights of samples, or of their places, that follow from their classes.

    given: from class number to weight; classes that are not in it have weight 1.

    Raises
    ------
    ArgumentError for what is no class number.
    """

    def __init__(self, given: Mapping[int, float]) -> None:
        self.table = np.ones(max([*given, 0]) + 1, np.float32)
        for label, weight in given.items():
            if not hasattr(label, "__index__") or label < 0:
                raise ArgumentError(
                    f"class_weight: expected class numbers, received {label!r}"
                )
            self.table[label] = weight

    def times(self, model: Any, y: Any, w: Any) -> np.ndarray:
        """The sample weights of a batch, multiplied by those of its classes.

        model: built for its data; has one output.

        Raises
        ------
        ArgumentError for several outputs, or targets that are no classes; ShapeError
        for weights of other samples or places.
        """
        if model.described:
            names = model.output_names
            if len(names) != 1:
                raise ArgumentError(
                    f"class_weight: expected a model with one output, this one has "
                    f"{len(names)}; give sample_weight"
                )
            (y,), (w,) = model._aligned(y, w)
        if not isinstance(y, np.ndarray):
            raise ArgumentError(
                f"class_weight: expected one array as y, received a {type(y).__name__}"
            )
        labels = _classes(model, y)
        inside = (labels >= 0) & (labels < len(self.table))
        own = np.where(inside, self.table[np.where(inside, labels, 0)], np.float32(1))
        return own if w is None else own * _like(own, np.asarray(w))


def _classes(model: Any, y: np.ndarray) -> np.ndarray:
    """The class number at each place: (N,), or (N, ...) where an output has places."""
    loss, rank = None, None
    if model.described:
        rank = len(model.output_specs[0].shape)
        if model.compiled_loss is not None:
            loss = model.compiled_loss.of(model.output_names)[0][0]
    sparse = isinstance(loss, losses.SparseCategoricalCrossentropy)
    axis = getattr(loss, "options", {}).get("axis", -1)
    if y.ndim > 1 and (rank is None or y.ndim >= rank):
        if y.shape[axis] == 1:
            y = y.squeeze(axis)
        elif not sparse:
            return _most_likely(y, axis, rank)
    whole = np.rint(y)
    wrong = (y != whole) & ((y < 0) | (y > 1))  # between them it is a soft 0 or 1
    if wrong.any():
        raise ArgumentError(
            f"class_weight: expected classes as y, received {y[wrong][0]:.6g}; give "
            "sample_weight"
        )
    return whole.astype(np.int64)


def _most_likely(y: np.ndarray, axis: int, rank: int | None) -> np.ndarray:
    """The classes of targets that are distributions over them."""
    if rank is None and y.dtype.kind != "f":
        raise ArgumentError(
            f"class_weight: y of shape {y.shape} may be class numbers or rows of 0 and "
            "1, and the model has no output that tells; give sample_weight"
        )
    sums = y.sum(axis, np.float64)
    if y.min(initial=0) < 0 or ((np.abs(sums - 1) > 1e-3) & (sums != 0)).any():
        raise ArgumentError(
            "class_weight: expected classes as y, or rows that sum to 1; y of shape "
            f"{y.shape} holds other rows (several labels a sample, or quantities?); "
            "give sample_weight"
        )
    return y.argmax(axis)


def _like(own: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Weights of samples with as many axes as those of classes."""
    shape = w.shape[:-1] if w.ndim == own.ndim + 1 and w.shape[-1] == 1 else w.shape
    shape += (1,) * (own.ndim - len(shape))
    if len(shape) != own.ndim or any(
        n not in (1, m) for n, m in zip(shape, own.shape, strict=True)
    ):
        raise ShapeError(
            f"sample_weight: expected weights for classes of shape {own.shape}, as y "
            f"and class_weight give them, received shape {w.shape}"
        )
    return w.reshape(shape)
