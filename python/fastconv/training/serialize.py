"""Models and layers as JSON-like data, and back. Data only: nothing here runs code."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from fastconv.errors import ArgumentError, FastconvError, FormatError
from fastconv.layers import registry
from fastconv.layers.base import Call, KerasTensor, Layer, is_spec
from fastconv.training.call_graph import CallGraph
from fastconv.tree import decode, encode, flatten, map_structure


def serialize_layer(layer: Layer) -> dict[str, Any]:
    """A layer or model by its class and the arguments of its constructor."""
    return {
        "class_name": registry.class_name(type(layer)),
        "config": layer.get_config(),
    }


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
    cls = registry.layer_class(name)
    if not issubclass(cls, Layer):
        raise FormatError(f"class {name!r}: expected a layer, received {cls!r}")
    try:
        return _made(cls, dict(data["config"]))
    except FastconvError:
        raise
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        raise FormatError(
            f"layer {data['config'].get('name')!r} ({name}): its saved arguments do "
            "not "
            f"fit the class: {error}"
        ) from error


def construct(cls: Any, config: Mapping[str, Any]) -> Any:
    """``cls(**config)``, also where the constructor takes no name, trainable, dtype."""
    parameters = inspect.signature(cls).parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    later = {
        key: config[key]
        for key in ("name", "trainable", "dtype")
        if key in config and key not in parameters and not open_ended
    }
    layer = cls(**{k: v for k, v in config.items() if k not in later})
    layer.name = later.get("name", layer.name)
    layer.dtype = later.get("dtype", layer.dtype)
    if not later.get("trainable", True):
        layer.trainable = False
    return layer


def takes(cls: type, *names: str) -> bool:
    """Whether the constructor takes all these arguments by name."""
    constructor = inspect.signature(cls).parameters
    return all(name in constructor for name in names)


def _made(cls: type[Layer], config: dict[str, Any]) -> Layer:
    inherited = cls.from_config.__func__ is Layer.from_config.__func__  # type: ignore
    return construct(cls, config) if inherited else cls.from_config(config)


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


def connect(
    config: Mapping[str, Any], layers: list[Layer] | None = None
) -> tuple[Any, Any]:
    """The inputs and outputs of the model that `graph_config` described.

    layers: to use in place of those described; default new ones.
    """
    tensors = {(-1, i): make_input(t) for i, t in enumerate(config["inputs"])}
    if layers is None:
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

    def leaf(value: Any) -> Any:
        if isinstance(value, KerasTensor):
            return {"tensor": places[value]}
        if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
            return value.item()
        name = call.layer.name if call else "model"
        raise ArgumentError(
            f"layer {name!r}: it was called with {value!r:.80}, which cannot be saved; "
            "make it an argument of the constructor"
        )

    return encode(value, leaf)


def _decode(value: Any, tensors: Mapping[tuple[int, int], KerasTensor]) -> Any:
    return decode(value, lambda leaf: tensors[tuple(leaf["tensor"])])


def architecture(model: Any) -> dict[str, Any]:
    """The model's class, layers and connections as JSON-like data."""
    spec = model.build_spec
    build = None if spec is None else map_structure(spec, is_spec, marked)
    return {"model": serialize_layer(model), "build": build}


def unmarked(value: Any) -> Any:
    """The inputs that ``build`` of `architecture` describes."""
    if isinstance(value, dict):
        if set(value) == {"input"} and "shape" in value["input"]:
            return make_input(value["input"])
        return {k: unmarked(v) for k, v in value.items()}
    return [unmarked(v) for v in value] if isinstance(value, list) else value


def marked(spec: KerasTensor) -> dict[str, Any]:
    """What `unmarked` makes an input of again."""
    return {"input": tensor_config(spec)}
