"""One step on all samples, part by part, where one plan for all does not fit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv.data import tree
from fastconv.errors import ArgumentError
from fastconv.execution.function import Function
from fastconv.graph.autodiff import grad
from fastconv.graph.ir import Tensor
from fastconv.graph.scope import scope
from fastconv.graph.variable import Variable, together
from fastconv.layers import BatchNormalization, context
from fastconv.losses import Loss
from fastconv.training.steps import Record, Steps
from fastconv.tree import flatten


class Whole:
    """The gradient of all samples, summed over parts of them, and then one update.

    Each part counts as much as its samples do in the loss of all: by their number, by
    the sum of their weights, or fully, as the reduction of the loss has it. So the step
    is that of one batch but for rounding, and but for layers that see the other
    samples of a batch, of which a warning tells, and the pattern of dropout.

    Raises
    ------
    ArgumentError for a model with a step or loss of its own, or a loss that is not a
    sum over samples.
    """

    def __init__(self, model: Any, device: str, arena: Any, part: int) -> None:
        own = [
            name for name in ("train_step", "compute_loss", "compute_metrics")
            if getattr(type(model), name) is not getattr(Steps, name)
        ]  # fmt: skip
        if own:
            raise ArgumentError(
                f"model {model.name!r}: batch_size='all' does not fit into memory, and "
                f"its own {own[0]} cannot be done in parts; give a batch_size, of at "
                f"most {part}"
            )
        _warn_of_batch_statistics(model, part)
        self.model = model
        self.part = part
        weights = model.trainable_weights
        self._sums = {
            w: Variable(np.zeros(w.shape), f"sum/{w.name}", False) for w in weights
        }
        together(list(self._sums.values()))
        self._add = Function(self._part, device, arena)
        self._apply = Function(self._update, device, arena)

    def step(self, x: Any, y: Any, w: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
        """Does it; gives the result and the data of each part."""
        for total in self._sums.values():
            total.value[...] = 0.0
        samples = tree.common_length((x, y, w), "data")
        whole = self._counts(y, w, samples)
        for start in range(0, samples, self.part):
            rows = slice(start, min(start + self.part, samples))
            piece = [tree.slice_rows(value, rows) for value in (x, y, w)]
            counts = self._counts(piece[1], piece[2], rows.stop - start)
            shares = np.divide(counts, whole, out=np.zeros_like(whole), where=whole > 0)
            result = self._add(*piece, shares.astype(np.float32))
            self.model._seed_and_step.value[1] += 1
            self._scale(result, samples / (rows.stop - start))
            yield result, *piece
        self._apply()

    def _scale(self, result: dict[str, Any], factor: float) -> None:
        """Makes the part's share of the loss what a mean over samples counts."""
        total, parts = result["loss"]
        result["loss"] = total * factor, [part * factor for part in parts]

    def _part(self, x: Any, y: Any, w: Any, shares: Tensor) -> Any:
        model = self.model
        random = context.randomness(model._seed_and_step)
        with context.training(True), random, Record((y, w), shares) as record:
            y_pred = model._forward(model._ready(x))
            self._check(model._aligned(y, None)[0], flatten(y_pred, Tensor))
            loss = model.compute_loss(x, y, y_pred, w)
            scaled = model.optimizer.scale_loss(loss)
            gradients = grad(scaled, list(self._sums))
            for total, g in zip(self._sums.values(), gradients, strict=True):
                total.assign(total + g)
            return record.result(model.compute_metrics(x, y, y_pred, w))

    def _update(self) -> None:
        with scope("optimizer"):
            self.model.optimizer.apply(list(self._sums.values()), list(self._sums))

    def _check(self, targets: list[Any], predictions: list[Tensor]) -> None:
        for loss, target, predicted in zip(
            self._losses(), targets, predictions, strict=True
        ):
            if loss is not None and not loss.call(target, predicted).shape:
                raise ArgumentError(
                    f"loss {loss.name!r} is one value of all samples, and no sum over "
                    "them: batch_size='all' does not fit into memory, and cannot be "
                    f"done in parts; give a batch_size, of at most {self.part}"
                )

    def _losses(self) -> list[Loss | None]:
        objective, names = self.model.compiled_loss, self.model.output_names
        return [None] * len(names) if objective is None else objective.of(names)[0]

    def _counts(self, y: Any, w: Any, samples: int) -> np.ndarray:
        """What samples count in the loss of each output, and in added losses."""
        found = [
            0.0 if loss is None else _count(loss, target, weights, samples)
            for loss, target, weights in zip(
                self._losses(), *self.model._aligned(y, w), strict=True
            )
        ]
        return np.array([*found, samples], np.float64)


def _count(loss: Loss, y: Any, w: Any, samples: int) -> float:
    """What the sum of the values is divided by, but for a factor that all share."""
    if loss.reduction == "sum":
        return 1.0  # of the whole, too
    counts: np.ndarray = np.ones(samples)
    ignored = getattr(loss, "ignore_class", None)
    if ignored is not None:
        classes = y[..., 0] if y.ndim > 1 and y.shape[-1] == 1 else y
        counts = (classes != ignored).astype(np.float64)
    if loss.reduction == "mean_with_sample_weight" and w is not None:
        weights = np.asarray(w, np.float64)
        axes = max(counts.ndim, weights.ndim)
        counts, weights = (
            a.reshape(a.shape + (1,) * (axes - a.ndim)) for a in (counts, weights)
        )
        counts = counts * weights
    return float(counts.sum())


def _warn_of_batch_statistics(model: Any, part: int) -> None:
    for layer in model._walk():
        if isinstance(layer, BatchNormalization) and layer.trainable:
            warnings.warn(
                f"model {model.name!r}: all samples do not fit into memory at once, so "
                f"they are seen {part} at a time, and layer {layer.name!r} normalises "
                "by the statistics of these: the gradient is not that of one batch",
                stacklevel=2,
            )
            return
