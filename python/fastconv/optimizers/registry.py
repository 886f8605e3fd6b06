"""Optimisers by name, and as JSON-like data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastconv import custom_objects as objects
from fastconv.errors import ArgumentError, unknown_name
from fastconv.optimizers import adaptive, layerwise, loss_scale, sgd
from fastconv.optimizers.base import Optimizer

OPTIMIZERS: dict[str, type[Optimizer]] = {
    name.lower(): getattr(module, name)
    for module in (sgd, adaptive, layerwise, loss_scale)
    for name in module.__all__
}


def get(identifier: Any) -> Optimizer:
    """An optimiser from a name, a dict {"class_name", "config"}, or an optimiser.

    Raises
    ------
    UnknownNameError for a name that is not known; ArgumentError for another type.

    >>> import fastconv as fc
    >>> fc.optimizers.get("sgd")
    <SGD learning_rate=0.01>
    """
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, str):
        return _named(identifier)()
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    raise ArgumentError(
        f"optimizer: expected a name, an Optimizer or its config, received "
        f"{identifier!r}"
    )


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """The optimiser as JSON-like data.

    >>> import fastconv as fc
    >>> config = fc.optimizers.serialize(fc.optimizers.SGD(0.1, momentum=0.9))
    >>> config["class_name"], config["config"]["momentum"]
    ('SGD', 0.9)
    """
    return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> Optimizer:
    """An optimiser from what `serialize` returned; own ones are custom objects.

    Raises
    ------
    UnknownNameError for a class that is not known.

    >>> import fastconv as fc
    >>> fc.optimizers.deserialize(fc.optimizers.serialize(fc.optimizers.SGD(0.1)))
    <SGD learning_rate=0.1>
    """
    name = config.get("class_name", "")
    custom = {**objects.known(), **(custom_objects or {})}.get(name)
    cls = custom if custom is not None else _named(name)
    given = dict(config.get("config", {}))
    if "inner_optimizer" in given:
        given["inner_optimizer"] = deserialize(given["inner_optimizer"], custom_objects)
    return cls.from_config(given)


def _named(name: Any) -> Any:
    cls = OPTIMIZERS.get(str(name).lower())
    if cls is None:
        raise unknown_name("optimizer", name, list(OPTIMIZERS))
    return cls
