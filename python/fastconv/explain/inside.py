"""What is inside a model: its table, weights, gradients, and the maps of its layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.errors import ArgumentError
from fastconv.execution import function
from fastconv.explain.scores import in_batches, layer_output
from fastconv.graph import Tensor, grad
from fastconv.layers import context
from fastconv.training.call_graph import CallGraph
from fastconv.training.summary import HEADER, rows
from fastconv.tree import flatten

__all__ = ["activations", "architecture", "gradients", "weights"]


def activations(model: Any, x: Any, layer: str, *, batch_size: int = 64) -> np.ndarray:
    """What a layer gives for data: activation maps, or features for another task.

    Parameters
    ----------
    model: `Sequential` or functional, with one input.
    x: data (N, ...).
    layer: the layer's name, as ``model.summary()`` shows it.
    batch_size: samples at a time.

    Returns
    -------
    Array (N, ...), as the layer gives it in inference mode.

    Raises
    ------
    UnknownNameError: no such layer; ArgumentError: a class with its own ``call``.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> x = np.ones((2, 32, 32, 1))
    >>> fc.explain.activations(fc.models.LeNet5(), x, "C3").shape
    (2, 10, 10, 16)
    """
    output = layer_output(model, layer)
    graph = CallGraph(model.inputs, output, model.name)

    @function
    def compute(x: Tensor) -> Tensor:
        with context.training(False):
            return graph.run([x])

    return in_batches(compute, batch_size, np.asarray(x, np.float32))


def weights(model: Any) -> dict[str, np.ndarray]:
    """Copies of the weights by name, for `fastconv.plot.histograms`.

    >>> import fastconv as fc
    >>> list(fc.explain.weights(fc.models.LeNet5()))[:2]
    ['C1/kernel', 'C1/bias']
    """
    return {weight.name: weight.numpy() for weight in model.weights}


def gradients(model: Any, x: Any, y: Any) -> dict[str, np.ndarray]:
    """The gradient of the loss for one batch, by weight, in inference mode.

    Parameters
    ----------
    model: compiled with a loss.
    x, y: one batch, two arrays.

    Raises
    ------
    ArgumentError: the model has no loss.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> model = fc.models.LeNet5()
    >>> model.compile("sgd", "sparse_categorical_crossentropy")
    >>> found = fc.explain.gradients(model, np.ones((2, 32, 32, 1)), np.array([3, 5]))
    >>> found["C1/kernel"].shape
    (5, 5, 1, 6)
    """
    if model.compiled_loss is None:
        raise ArgumentError(
            f"model {model.name!r} has no loss yet: call compile(optimizer, loss) first"
        )
    variables = model.trainable_weights

    @function
    def compute(x: Any, y: list[Any]) -> list[Tensor]:
        with context.training(False):
            found = flatten(model._forward(x), Tensor)
            names = model.output_names
            total, _ = model.compiled_loss.total(names, y, found, [None] * len(found))
        return grad(total, variables)

    model._prepare(x)
    data, targets, _ = model._pack(np.asarray(x, np.float32), np.asarray(y), None)
    found = compute(data, targets)
    return {v.name: g for v, g in zip(variables, found, strict=True)}


def architecture(model: Any) -> list[tuple[str | int, ...]]:
    """The table of a model for `fastconv.plot.table`: a head, and a row for each layer.

    Columns: name and class of the layer, shape of its output, parameters, and
    operations for one sample.

    >>> import fastconv as fc
    >>> fc.explain.architecture(fc.models.LeNet5())[1]
    ('C1 (Conv2D)', '(None, 28, 28, 6)', 156, 244608)
    """
    return [HEADER, *rows(model)]
