"""Models and layers as JSON-like data, and back. Data only: nothing here runs code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastconv import custom_objects
from fastconv.errors import ArgumentError, FastconvError, FormatError
from fastconv.layers.base import LAYERS, Call, KerasTensor, Layer, flatten
from fastconv.training.functional import CallGraph


def serialize_layer(layer: Layer) -> dict[str, Any]:
    """A layer or model by its class and the arguments of its constructor."""
    return {"class_name": type(layer).__name__, "config": layer.get_config()}


def deserialize_layer(data: Any) -> Layer:
    """The layer that `serialize_layer` described.

    Its class is one of fastconv, one that the program defined, or one of the custom
    objects in force; a file cannot bring another.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get("config"), Mapping):
        raise FormatError(
            f"expected a layer's class_name and config, received {data!r:.80}"
        )
    name = str(data.get("class_name"))
    cls = custom_objects.known().get(name) or LAYERS.get(name)
    if not (isinstance(cls, type) and issubclass(cls, Layer)):
        raise FormatError(
            f"unknown layer class {name!r}; expected one of fastconv.layers, or pass "
            f"custom_objects={{{name!r}: the class}}"
        )
    try:
        return cls.from_config(dict(data["config"]))
    except FastconvError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise FormatError(
            f"layer {data['config'].get('name')!r} ({name}): its saved arguments do "
            "not "
            f"fit the class: {error}"
        ) from error


def graph_config(graph: CallGraph) -> dict[str, Any]:
    """The layers of a functional model, and how they are connected."""
    layers = graph.layers
    numbers = {layer: i for i, layer in enumerate(layers)}
    places: dict[KerasTensor, list[int]] = {}
    for i, tensor in enumerate(graph.inputs):
        places[tensor] = [-1, i]
    calls = []
    for i, call in enumerate(graph.calls):
        encoded = {
            "layer": numbers[call.layer],
            "args": _encode(call.args, places, call),
            "kwargs": _encode(call.kwargs, places, call),
        }
        calls.append(encoded)
        for j, tensor in enumerate(flatten(call.outputs, KerasTensor)):
            places[tensor] = [i, j]
    return {
        "inputs": [tensor_config(t) for t in graph.inputs],
        "input_structure": _encode(graph.input_structure, places, None),
        "layers": [serialize_layer(layer) for layer in layers],
        "calls": calls,
        "output_structure": _encode(graph.output_structure, places, None),
    }


def connect(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The inputs and outputs of the model that `graph_config` described."""
    tensors = {(-1, i): make_input(t) for i, t in enumerate(config["inputs"])}
    layers = [deserialize_layer(layer) for layer in config["layers"]]
    for i, call in enumerate(config["calls"]):
        args, kwargs = (_decode(call[key], tensors) for key in ("args", "kwargs"))
        made = flatten(layers[call["layer"]](*args, **kwargs), KerasTensor)
        tensors.update({(i, j): tensor for j, tensor in enumerate(made)})
    inputs = _decode(config["input_structure"], tensors)
    return inputs, _decode(config["output_structure"], tensors)


def tensor_config(tensor: KerasTensor) -> dict[str, Any]:
    """Shape, dtype and name of an input."""
    shape = list(tensor.shape)
    return {"shape": shape, "dtype": tensor.dtype, "name": tensor.name}


def make_input(config: Mapping[str, Any]) -> KerasTensor:
    """The input that `tensor_config` described."""
    return KerasTensor(tuple(config["shape"]), config["dtype"], config["name"])


def _encode(
    value: Any, places: Mapping[KerasTensor, list[int]], call: Call | None
) -> Any:
    """JSON-like data, with each tensor as the call that makes it and its position."""
    if isinstance(value, KerasTensor):
        return {"tensor": places[value]}
    if isinstance(value, tuple):
        return {"tuple": [_encode(v, places, call) for v in value]}
    if isinstance(value, list):
        return [_encode(v, places, call) for v in value]
    if isinstance(value, dict):
        return {"dict": {k: _encode(v, places, call) for k, v in value.items()}}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        return value.item()
    name = call.layer.name if call else "model"
    raise ArgumentError(
        f"layer {name!r}: it was called with {value!r:.80}, which cannot be saved; "
        "make "
        "it an argument of the constructor"
    )


def _decode(value: Any, tensors: Mapping[tuple[int, int], KerasTensor]) -> Any:
    if isinstance(value, list):
        return [_decode(v, tensors) for v in value]
    if not isinstance(value, Mapping):
        return value
    if "tensor" in value:
        return tensors[tuple(value["tensor"])]
    if "tuple" in value:
        return tuple(_decode(v, tensors) for v in value["tuple"])
    return {k: _decode(v, tensors) for k, v in value["dict"].items()}
