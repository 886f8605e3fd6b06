"""What a file holds of a layer: its constructor's arguments as JSON-like data."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv import activations
from fastconv.errors import ArgumentError
from fastconv.layers import registry

# written by Layer.get_config itself
_COMMON = ("name", "trainable", "dtype", "learning_rate_multiplier")


def constructor_arguments(layer: Any, base: type) -> dict[str, Any]:
    """The arguments of the constructors from the layer's class up to ``base``."""
    found = {}
    inherited = type(layer).get_config is base.get_config  # type: ignore[attr-defined]
    for name, parameter in parameters(type(layer), base):
        if hasattr(layer, name):
            found[name] = plain(getattr(layer, name), f"layer {layer.name!r}: {name}")
        elif inherited and parameter.default is inspect.Parameter.empty:
            raise ArgumentError(
                f"layer {layer.name!r} ({type(layer).__name__}): its argument {name!r} "
                "is not kept as an attribute of that name; keep it, or write "
                "get_config()"
            )
    return found


def parameters(cls: type, base: type) -> Iterator[tuple[str, inspect.Parameter]]:
    """Parameters by name, through the constructors that ``**kwargs`` leads to."""
    for owner in cls.__mro__[: cls.__mro__.index(base)]:
        if "__init__" not in vars(owner):
            continue
        parameters = inspect.signature(vars(owner)["__init__"]).parameters
        further = False
        for name, parameter in list(parameters.items())[1:]:  # the first is self
            further |= parameter.kind is inspect.Parameter.VAR_KEYWORD
            named = parameter.kind not in (
                inspect.Parameter.VAR_KEYWORD,
                inspect.Parameter.VAR_POSITIONAL,
            )
            if named and name not in _COMMON:
                yield name, parameter
        if not further:
            return


def plain(value: Any, what: str) -> Any:
    """``value`` as numbers, strings, lists and dicts; objects by class and config."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(v, what) for v in value]
    if isinstance(value, dict):
        return {k: plain(v, what) for k, v in value.items()}
    if hasattr(value, "get_config"):
        config = plain(value.get_config(), what)
        return {"class_name": registry.class_name(type(value)), "config": config}
    if callable(value):
        return activations.serialize(value)
    raise ArgumentError(f"{what} cannot be saved: {value!r:.80}; write get_config()")
