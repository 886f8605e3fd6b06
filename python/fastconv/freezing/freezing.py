"""A model as one layer whose arrays do not change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastconv.errors import ArgumentError
from fastconv.freezing.folding import Folding
from fastconv.graph.ir import Graph
from fastconv.layers.base import KerasTensor
from fastconv.layers.core import Input
from fastconv.layers.frozen import BATCHES, FrozenGraph, program_of
from fastconv.training.model import Model
from fastconv.tree import flatten

__all__ = ["freeze", "frozen_model", "specs_of"]

Shapes = Sequence[tuple[int, ...]]  # of a sample of each input


def freeze(model: Any, input_shape: Any = None, name: str | None = None) -> Model:
    """A model that computes what a trained one does, for inference alone.

    Its weights are constants of its plans: batch normalisation is folded into the
    convolutions once, and kernels pack or transform their weights once, before the
    first batch, not in each. That takes memory (`Model.memory` has it as ``prepared``)
    and pays most for small batches. Its results may differ from the model's in the last
    bits.

    Parameters
    ----------
    model: a trained model; it stays as it is.
    input_shape: of one sample, a list of them for several inputs; default those that
        the model was built with, which then need fixed sizes.
    name: of the new model; default the model's with ``_frozen``.

    Returns
    -------
    A model with one layer, a `layers.FrozenGraph`: predict, evaluate, save, load,
    summary and export work as ever, and it has the loss and metrics of the model.
    ``fit`` is an error.

    Raises
    ------
    ArgumentError for a model whose inputs or sizes are not known, or that depends on
    chance or the size of the batch.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> model = fc.models.LeNet5()
    >>> x = np.random.default_rng(0).random((4, 32, 32, 1), np.float32)
    >>> fast = fc.freeze(model)
    >>> np.allclose(fast(x), model(x), rtol=1e-4, atol=1e-6)
    True
    """
    specs = specs_of(model, "freeze")
    shapes = _shapes(model, specs, input_shape)
    folding = Folding(model, shapes)
    graphs = [folding.graph(batch) for batch in BATCHES]
    return frozen_model(model, graphs, shapes, name or f"{model.name}_frozen", "frozen")


def specs_of(model: Any, what: str) -> list[KerasTensor]:
    """The inputs of a model, in their order; an error names `what`."""
    if not isinstance(model, Model) or not model.described:
        raise ArgumentError(
            f"{what}: expected a model whose inputs are known, received {model!r:.80}"
            "; call build(input_shape), or give the first layer an input_shape"
        )
    return flatten(model.input_specs, KerasTensor)


def frozen_model(
    model: Any, graphs: Sequence[Graph], shapes: Shapes, name: str, layer: str
) -> Model:
    """A model of one layer, with the loss of the one that its graphs were made of."""
    program, arrays = program_of(graphs, model.name)
    inputs = [
        Input(shape, dtype=spec.dtype, name=spec.name)
        for spec, shape in zip(specs_of(model, name), shapes, strict=True)
    ]
    frozen = FrozenGraph(program, name=layer)
    outputs = frozen(*inputs)
    result = Model(inputs[0] if len(inputs) == 1 else inputs, outputs, name=name)
    for weight, array in zip(frozen.held, arrays, strict=True):
        weight.assign(array)
    result.metadata = dict(model.metadata)
    if model.compiled_loss is not None and len(graphs[0].outputs) == 1:
        metrics = model.compiled_metrics.get_config()
        result.compile("sgd", **model.compiled_loss.get_config(), **metrics)
    return result


def _shapes(model: Any, specs: list[KerasTensor], given: Any) -> list[tuple[int, ...]]:
    if given is None:
        given = [spec.shape[1:] for spec in specs]
    elif len(specs) == 1:
        given = [given]
    shapes: list[tuple[int, ...]] = [tuple(shape) for shape in given]
    if len(shapes) != len(specs) or any(None in shape for shape in shapes):
        raise ArgumentError(
            f"freeze: model {model.name!r}: expected sizes of {len(specs)} input(s), "
            f"received {shapes}; give input_shape=(height, width, channels)"
        )
    return shapes
