"""Models, layers and their parts as data, with the names of ``keras.saving``."""

from __future__ import annotations

import importlib
from typing import Any

from fastconv import custom_objects as objects
from fastconv import initializers, losses, metrics, optimizers
from fastconv.custom_objects import (
    CustomObjectScope,
    custom_object_scope,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
)
from fastconv.errors import ArgumentError, FormatError
from fastconv.layers import registry
from fastconv.layers.base import Layer
from fastconv.training import load_model, save_model
from fastconv.training.serialize import deserialize_layer, serialize_layer

__all__ = [
    "CustomObjectScope",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "load_model",
    "register_keras_serializable",
    "save_model",
    "serialize_keras_object",
]

# Room -> base class and module of the parts that are classes with a config.
_ROOMS: dict[str, tuple[Any, Any]] = {
    "initializers": (initializers.Initializer, initializers),
    "losses": (losses.Loss, losses),
    "metrics": (metrics.Metric, metrics),
    "optimizers": (optimizers.Optimizer, optimizers),
}


def serialize_keras_object(obj: Any) -> Any:
    """A layer, model, loss, metric, optimizer, initializer or function as data.

    Numbers, strings, None and nested lists and dicts of all these stay what they are.

    Raises
    ------
    ArgumentError for what cannot be described.

    >>> import fastconv as fc
    >>> data = fc.saving.serialize_keras_object(fc.layers.Flatten(name="flat"))
    >>> data["module"], data["class_name"], data["config"]["name"]
    ('fastconv.layers', 'Flatten', 'flat')
    """
    if obj is None or isinstance(obj, bool | int | float | str):
        return obj
    if isinstance(obj, list | tuple):
        return [serialize_keras_object(item) for item in obj]
    if isinstance(obj, dict):
        return {key: serialize_keras_object(item) for key, item in obj.items()}
    if isinstance(obj, Layer):
        return {"module": "fastconv.layers", **serialize_layer(obj)}
    for room, (base, _) in _ROOMS.items():
        if isinstance(obj, base):
            name = registry.class_name(type(obj))
            config = obj.get_config()
            return {"module": f"fastconv.{room}", "class_name": name, "config": config}
    if callable(obj) and getattr(obj, "__name__", "<lambda>").isidentifier():
        name = get_registered_name(obj)
        return {"module": obj.__module__, "class_name": "function", "config": name}
    raise ArgumentError(
        f"serialize_keras_object: expected a part of a model, or a function with a "
        f"name, received {obj!r:.80}"
    )


def deserialize_keras_object(config: Any, custom_objects: Any = None) -> Any:
    """What `serialize_keras_object` described; classes of your own are custom objects.

    Raises
    ------
    FormatError for a description of nothing that is known.

    >>> import fastconv as fc
    >>> loss = fc.losses.Huber(delta=2.0)
    >>> data = fc.saving.serialize_keras_object(loss)
    >>> fc.saving.deserialize_keras_object(data).get_config()["delta"]
    2.0
    """
    with custom_object_scope(custom_objects):
        return _made(config)


def _made(config: Any) -> Any:
    if isinstance(config, list):
        return [_made(item) for item in config]
    if not isinstance(config, dict):
        return config
    if "class_name" not in config:
        return {key: _made(item) for key, item in config.items()}
    room = str(config.get("module", "")).rpartition(".")[2]
    if config["class_name"] == "function":
        return _function(config)
    if room == "layers":
        return deserialize_layer(config)
    if room not in _ROOMS:
        raise FormatError(
            f"deserialize_keras_object: expected a module of layers, "
            f"{', '.join(_ROOMS)}, received {config.get('module')!r}"
        )
    return _class(room, str(config["class_name"])).from_config(config["config"])


def _class(room: str, name: str) -> Any:
    """A class of a room of fastconv, or of the user, by name."""
    base, module = _ROOMS[room]
    plain = name.rpartition(".")[2]
    known = objects.known()
    for found in (
        getattr(module, name, None), get_registered_object(name), known.get(plain),
    ):  # fmt: skip
        if isinstance(found, type) and issubclass(found, base):
            return found
    raise FormatError(
        f"deserialize_keras_object: unknown class {name!r} of fastconv.{room}; pass "
        f"custom_objects={{{plain!r}: the class}}"
    )


def _function(config: Any) -> Any:
    """A function that is registered, a custom object, or fastconv's."""
    name, module = str(config["config"]), str(config.get("module", ""))
    found = get_registered_object(name) or objects.known().get(name)
    rooms = ("activations", "losses", "metrics", "ops")
    room = module.split(".")[1] if module.startswith("fastconv.") else ""
    if found is None and room in rooms:
        found = getattr(importlib.import_module(f"fastconv.{room}"), name, None)
    if not callable(found):
        raise FormatError(
            f"deserialize_keras_object: unknown function {name!r}; pass "
            f"custom_objects={{{name!r}: the function}}"
        )
    return found
