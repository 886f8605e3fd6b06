"""Ready-made networks, by name for the command line; and Keras's ``keras.models``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from fastconv.errors import unknown_name

# Name for the command line -> module and constructor.
_MODELS = {"lenet": ("lenet", "LeNet5")}
_ALIASES = {"lenet5": "lenet"}
_NETWORKS = {"InceptionV3": "inception_v3"}  # with arguments of their own
_TRAINING = (
    "Model", "Sequential", "clone_model", "load_model", "model_from_json", "save_model",
)  # fmt: skip

__all__ = [  # noqa: PLE0604
    "InceptionV3", "LeNet5", *_TRAINING, "get", "names",
]  # fmt: skip


def names() -> list[str]:
    """The names that `get` takes.

    >>> import fastconv as fc
    >>> fc.models.names()
    ['lenet']
    """
    return sorted(_MODELS)


def get(name: str) -> Callable[..., Any]:
    """The constructor of the model called ``name``; case and hyphens do not matter.

    Raises
    ------
    UnknownNameError for an unknown name.

    >>> import fastconv as fc
    >>> fc.models.get("LeNet-5").__name__
    'LeNet5'
    """
    key = str(name).lower().replace("-", "").replace("_", "")
    key = _ALIASES.get(key, key)
    if key not in _MODELS:
        raise unknown_name("model", name, names())
    module, constructor = _MODELS[key]
    return getattr(importlib.import_module(f"fastconv.models.{module}"), constructor)


def __getattr__(name: str) -> Any:
    if name in _TRAINING:
        return getattr(importlib.import_module("fastconv.training"), name)
    if name in _NETWORKS:
        place = f"fastconv.models.{_NETWORKS[name]}"
        return getattr(importlib.import_module(place), name)
    for module, constructor in _MODELS.values():
        if name in (module, constructor):
            found = importlib.import_module(f"fastconv.models.{module}")
            return found if name == module else getattr(found, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
