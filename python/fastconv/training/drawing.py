"""The graph of a model as boxes of text and edges between them."""

from __future__ import annotations

from typing import Any

from fastconv.errors import ArgumentError
from fastconv.layers.base import KerasTensor, Layer
from fastconv.tree import flatten

__all__ = ["boxes_and_edges"]


def boxes_and_edges(
    model: Any,
    shapes: bool,
    dtype: bool,
    names: bool,
    activations: bool,
    trainable: bool,
) -> tuple[list[list[str]], list[tuple[int, int]]]:
    """A box for each input and each call of a layer, and an edge for each tensor.

    The arguments say what the boxes hold beside the class of the layer.
    """
    if not model.connections:
        raise ArgumentError(
            f"model {model.name!r}: its graph of layers is not known; make it with "
            "Sequential or fastconv.Model(inputs, outputs), and give the input's shape"
        )
    boxes: list[list[str]] = []
    edges: list[tuple[int, int]] = []
    made_by: dict[KerasTensor, int] = {}
    for tensor in model.inputs:
        made_by[tensor] = len(boxes)
        lines = ["Input", tensor.name] if names else ["Input"]
        boxes.append(lines + _tensors([tensor], shapes, dtype))
    for call in model.connections:
        edges += [(made_by[tensor], len(boxes)) for tensor in call.inputs]
        outputs = flatten(call.outputs, KerasTensor)
        made_by.update((tensor, len(boxes)) for tensor in outputs)
        lines = _layer(call.layer, names, activations, trainable)
        boxes.append(lines + _tensors(outputs, shapes, dtype))
    return boxes, edges


def _layer(layer: Layer, names: bool, activations: bool, trainable: bool) -> list[str]:
    lines = [type(layer).__name__]
    if names:
        lines.append(layer.name)
    activation = getattr(layer, "activation", None)
    if activations and activation is not None:
        lines.append(getattr(activation, "__name__", str(activation)))
    if trainable and layer.weights:
        lines.append("trainable" if layer.trainable_weights else "frozen")
    return lines


def _tensors(tensors: list[KerasTensor], shapes: bool, dtype: bool) -> list[str]:
    lines = []
    for tensor in tensors:
        words = [tensor.dtype] if dtype else []
        if shapes:
            words.append(" x ".join("N" if n is None else str(n) for n in tensor.shape))
        if words:
            lines.append(" ".join(words))
    return lines
