"""A model's scores as tensors of a traced function, with the maps of its layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv import ops
from fastconv._core import Activation, OpKind
from fastconv.errors import ArgumentError, DataError, ShapeError, unknown_name
from fastconv.graph.ir import Leaf, Tensor
from fastconv.layers import context
from fastconv.layers.base import KerasTensor
from fastconv.training.call_graph import CallGraph
from fastconv.tree import flatten

__all__ = ["classes_of", "in_batches", "one_hot", "scores", "scores_and_map"]


def scores(model: Any, x: Tensor) -> Tensor:
    """The single output (N, C) for ``x`` in inference mode, before softmax or sigmoid.

    Probabilities saturate where a network is sure; the scores under them do not.
    """
    with context.training(False):
        return _before_softmax(model, flatten(model._forward(x), Tensor))


def scores_and_map(model: Any, x: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """The scores, and the output of a layer that they were computed from."""
    wanted = {"map": layer_output(model, layer), "scores": model.outputs}
    graph = CallGraph(model.inputs, wanted, model.name)
    with context.training(False):
        found = graph.run([x])
    return _before_softmax(model, found["scores"]), found["map"]


def layer_output(model: Any, layer: str) -> KerasTensor:
    """What a layer of a model gives where the model first calls it.

    Raises
    ------
    UnknownNameError: no such layer; ArgumentError: the model has no graph of layers
    (a class with its own ``call``), or the layer gives several tensors.
    """
    calls = model.connections
    if not calls:
        raise ArgumentError(
            f"model {model.name!r}: the layers of a class with its own call() are not "
            "known one by one; make the model with Sequential or "
            "fastconv.Model(inputs, outputs)"
        )
    for call in calls:
        if call.layer.name == layer:
            if not isinstance(call.outputs, KerasTensor):
                raise ArgumentError(
                    f"layer {layer!r} gives several tensors; expected one"
                )
            return call.outputs
    raise unknown_name("layer", layer, [call.layer.name for call in calls])


def _before_softmax(model: Any, outputs: list[Tensor]) -> Tensor:
    if len(outputs) != 1 or outputs[0].ndim != 2:
        shapes = [tensor.shape for tensor in outputs]
        raise ShapeError(
            f"model {model.name!r}: expected one output of scores (N, classes), "
            f"received shapes {shapes}"
        )
    node = outputs[0].node
    if isinstance(node.kind, Leaf):
        return outputs[0]
    sigmoid = (
        node.kind is OpKind.activation and node.attrs.activation is Activation.sigmoid
    )
    return node.inputs[0] if sigmoid or node.kind is OpKind.softmax else outputs[0]


def classes_of(model: Any, x: np.ndarray, given: Any, batch_size: int) -> np.ndarray:
    """The class asked about for each image: what the user gave, or the most probable.

    Raises
    ------
    ShapeError: neither one number nor one for each image; DataError: out of range.
    """
    count = model.output_specs[0].shape[-1] if model.described else None
    if given is None:
        found = model.predict(x, batch_size=batch_size, verbose=0)
        return np.asarray(found).argmax(-1).astype(np.int64)
    classes = np.asarray(given)
    if classes.ndim > 1 or classes.size not in (1, len(x)):
        raise ShapeError(
            f"classes: expected one number, or {len(x)} of them, one for each image, "
            f"received shape {classes.shape}"
        )
    if classes.dtype.kind not in "iu" or (
        count is not None
        and classes.size
        and not 0 <= classes.min() <= classes.max() < count
    ):
        raise DataError(
            f"classes: expected integers in [0, {count}), received {classes!r:.80}"
        )
    return np.broadcast_to(classes.reshape(-1), len(x)).astype(np.int64)


def one_hot(classes: Tensor, count: int) -> Tensor:
    """Rows with a 1 at the class, float32, as a tensor (N, count)."""
    columns = np.arange(count, dtype=np.int64)
    return ops.cast(ops.equal(ops.expand_dims(classes, 1), columns), "float32")


def in_batches(
    function: Callable[..., np.ndarray], batch_size: int, *arrays: np.ndarray
) -> np.ndarray:
    """The results of a function of some rows, for all rows of arrays.

    Raises
    ------
    DataError: no rows; ArgumentError: a batch size below 1.
    """
    rows = len(arrays[0])
    if not rows:
        raise DataError("expected one sample or more, received none")
    if batch_size < 1:
        raise ArgumentError(f"batch_size: expected 1 or more, received {batch_size}")
    parts = [
        function(*(array[start : start + batch_size] for array in arrays))
        for start in range(0, rows, batch_size)
    ]
    return np.concatenate(parts)
