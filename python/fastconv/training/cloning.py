"""Copies of models: the same layers, with weights of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastconv.errors import ArgumentError
from fastconv.layers.base import KerasTensor, Layer
from fastconv.training import serialize
from fastconv.training.model import Model, Sequential

__all__ = ["clone_model"]


def clone_model(
    model: Model,
    input_tensors: KerasTensor | None = None,
    clone_function: Callable[[Layer], Layer] | None = None,
) -> Model:
    """A new model of the same layers, with new weights; `set_weights` copies values.

    Parameters
    ----------
    model: Sequential or functional.
    input_tensors: the input of the copy; default a new one like the model's.
    clone_function: makes the copy of a layer; default from its config. A layer that it
        returns as it is, is shared.

    Raises
    ------
    ArgumentError for a class of the user, which is not its list of layers, or several
    inputs for ``input_tensors``.

    >>> import fastconv as fc
    >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(3)])
    >>> copy = fc.models.clone_model(model)
    >>> copy.set_weights(model.get_weights())
    >>> copy.output_shape
    (None, 3)
    """
    if type(model) not in (Model, Sequential) or not model.is_listed:
        raise ArgumentError(
            f"clone_model: expected a Sequential or functional model, received "
            f"{model!r}; make another object of the class instead"
        )
    copies = [(clone_function or _copy)(layer) for layer in model.layers]
    if isinstance(model, Sequential):
        return _sequential(model, copies, input_tensors)
    config = model.get_config()
    config["inputs"] = _inputs(model, config["inputs"], input_tensors)
    inputs, outputs = serialize.connect(config, copies)
    return Model(inputs, outputs, name=model.name)


def _copy(layer: Layer) -> Layer:
    return serialize.deserialize_layer(serialize.serialize_layer(layer))


def _sequential(model: Sequential, copies: list[Layer], given: Any) -> Sequential:
    clone = Sequential(name=model.name)
    if model.described:
        clone.add(model.inputs[0] if given is None else given)
    for layer in copies:
        clone.add(layer)
    return clone


def _inputs(model: Model, configs: list[Any], given: Any) -> list[Any]:
    """The descriptions of the inputs, or that of the one that was given."""
    if given is None:
        return configs
    if not isinstance(given, KerasTensor) or len(configs) != 1:
        raise ArgumentError(
            f"clone_model: model {model.name!r} has {len(configs)} inputs; expected "
            f"input_tensors, one tensor for one input, received {given!r:.80}"
        )
    return [serialize.tensor_config(given)]
