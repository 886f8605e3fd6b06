"""How large signals are in each layer, forwards and backwards."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastconv import ops
from fastconv.data import tree
from fastconv.errors import ArgumentError
from fastconv.execution.function import Function
from fastconv.graph.autodiff import grad
from fastconv.layers import context
from fastconv.layers.base import KerasTensor
from fastconv.training.call_graph import CallGraph, align
from fastconv.training.feeding import narrow
from fastconv.tree import flatten


class LayerStatistics(NamedTuple):
    """The statistics of one output of a layer over a batch."""

    name: str
    layer: str
    shape: tuple[int | None, ...]
    mean: float
    variance: float
    zeros: float
    gradient_variance: float


def activation_report(
    model: Any, x: Any, seed: int = 0, print_fn: Any = print
) -> list[LayerStatistics]:
    """Prints mean and variance of each layer's output, and of its gradient.

    Signals should keep their size from layer to layer: a variance that shrinks or grows
    layer by layer asks for another initializer. Glorot, Bengio, "Understanding the
    difficulty of training deep feedforward neural networks", AISTATS 2010, section 4.2.

    Parameters
    ----------
    model: a `Sequential` or functional model, in inference mode; it is not changed.
    x: a batch of inputs, as for `predict`.
    seed: of the numbers, normally distributed with variance 1, that stand for the
        gradient of a loss at the model's outputs.
    print_fn: takes the table as a string; None prints nothing.

    Returns
    -------
    A list with one named tuple for each output of a layer: name, layer (its class),
    shape, mean, variance, zeros (fraction of elements that are exactly 0) and
    gradient_variance (NaN where no gradient arrives).

    Raises
    ------
    ArgumentError for a model of another kind, or an empty batch.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> layers = [fc.Input((64,)), fc.layers.Dense(64, kernel_initializer="zeros")]
    >>> x = np.random.default_rng(0).normal(size=(8, 64))
    >>> report = fc.utils.activation_report(fc.Sequential(layers), x, print_fn=None)
    >>> report[0].variance
    0.0
    """
    x = narrow(tree.to_arrays(x, "x"))
    model._prepare(x)
    if not model.connections:
        raise ArgumentError(
            f"model {model.name!r}: expected a Sequential or functional model, whose "
            f"layers are known, received a {type(model).__name__}"
        )
    calls = model.connections
    outputs = [t for call in calls for t in flatten(call.outputs, KerasTensor)]
    layers = [c.layer for c in calls for _ in flatten(c.outputs, KerasTensor)]
    values, gradients = _signals(model, outputs, x, seed)
    if not values[0].size:
        raise ArgumentError(f"model {model.name!r}: expected a batch that is not empty")
    rows = [
        LayerStatistics(
            layer.name, type(layer).__name__, tensor.shape, float(value.mean()),
            float(value.var()), float(np.mean(value == 0)),
            float(gradient.var()) if gradient.any() else float("nan"),
        )
        for layer, tensor, value, gradient in zip(
            layers, outputs, values, gradients, strict=True
        )
    ]  # fmt: skip
    if print_fn is not None:
        print_fn(_table(rows))
    return rows


def _signals(
    model: Any, outputs: list[KerasTensor], x: Any, seed: int
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The values of ``outputs``, and the gradients that arrive there."""
    graph = CallGraph(model.inputs, outputs, model.name)
    last = [outputs.index(t) for t in model.outputs if t in outputs]
    tensors = align(x, graph.input_names, f"model {model.name!r}: x")

    def run(tensors: Any, seeds: Any) -> Any:
        with context.training(False):
            values = graph.run(tensors)
            total: Any = 0.0
            for stream, i in enumerate(last):
                noise = ops.random_normal(values[i].shape, seeds, stream=stream)
                total = ops.add(total, ops.sum(ops.multiply(values[i], noise)))
            return values, grad(total, values)

    values, gradients = Function(run, "cpu")(tensors, np.array([seed, 0]))
    return [v.astype(float) for v in values], [g.astype(float) for g in gradients]


def _table(rows: list[LayerStatistics]) -> str:
    head = ("Layer", "Shape", "Mean", "Variance", "Zeros", "Gradient variance")
    lines = [
        (
            f"{r.name} ({r.layer})", str(r.shape), f"{r.mean:.3g}", f"{r.variance:.3g}",
            f"{r.zeros:.0%}", f"{r.gradient_variance:.3g}",
        )
        for r in rows
    ]  # fmt: skip
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(n) for cell, n in zip(line, widths, strict=True)).rstrip()
        for line in (head, *lines)
    )
