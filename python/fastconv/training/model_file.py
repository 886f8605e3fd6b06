"""What a file holds of a model: its bytes, and the model that they describe."""

from __future__ import annotations

import errno
import logging
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import _core, optimizers
from fastconv.errors import ArgumentError, FastconvError, FormatError
from fastconv.io import atomic, container
from fastconv.layers import registry
from fastconv.layers.base import Layer
from fastconv.layers.budget import weight_budget
from fastconv.losses import FunctionLoss
from fastconv.metrics import FunctionMetric
from fastconv.optimizers.base import own_schedule
from fastconv.training.serialize import architecture, deserialize_layer, unmarked
from fastconv.training.state import (
    RANDOM_STATE,
    assign,
    fill,
    fill_slots,
    state_arrays,
)
from fastconv.training.trainer import Trainer
from fastconv.training.weight_names import match, weight_names

logger = logging.getLogger("fastconv")

_warned: weakref.WeakSet[Any] = weakref.WeakSet()  # of schedules that files lose
Path_ = str | os.PathLike[str]


# Writing ------------------------------------------------------------------------------


def save(
    model: Any, filepath: Path_, overwrite: bool = True, weights_only: bool = False
) -> None:
    """Writes a model, or its weights only."""
    if not overwrite and Path(filepath).exists():
        raise FileExistsError(
            errno.EEXIST, "the file exists; overwrite=True replaces it", str(filepath)
        )
    if not model.weights and not model.built:
        raise ArgumentError(
            f"model {model.name!r}: it is not built, so there are no weights to "
            "save; call "
            "build(input_shape), or give it data"
        )
    atomic.write(filepath, dump(model, weights_only))


def dump(model: Any, weights_only: bool = False) -> bytes:
    """The bytes of a file."""
    names = weight_names(model)
    arrays = {name: weight.value for name, weight in names.items()}
    header: dict[str, Any] = {
        "kind": "weights" if weights_only else "model",
        "fastconv": _core.__version__,
        "numpy": np.__version__,
        "weights": list(names),
    }
    header["metadata"] = model.metadata
    if not weights_only:
        header["architecture"] = architecture(model)
        header["epochs"] = model.epochs_seen
        header["compile"] = _compile_config(model)
        arrays.update(state_arrays(model, names))
    try:
        return container.dump(header, arrays)
    except TypeError as error:
        raise ArgumentError(
            f"model {model.name!r}: its configuration cannot be written as JSON: "
            f"{error}"
        ) from error


def _compile_config(model: Any) -> dict[str, Any] | None:
    if model.optimizer is None:
        return None
    _warn_of_schedule(model.optimizer)
    objective = (
        model.compiled_loss.get_config() if model.compiled_loss else {"loss": None}
    )
    return {
        **objective,
        **model.compiled_metrics.get_config(),
        "optimizer": optimizers.serialize(model.optimizer),
        "iterations": model.optimizer.calls,
        "averaged": model.optimizer.averaged,
    }


def _warn_of_schedule(optimizer: Any) -> None:
    """Says, once, that functions of the step number do not go into files."""
    schedules = map(own_schedule, getattr(optimizer, "_schedules", {}).values())
    lost = any(callable(s) and not hasattr(s, "get_config") for s in schedules)
    if lost and optimizer not in _warned:
        _warned.add(optimizer)
        logger.warning(
            "optimizer %r: its schedule is a function, which a file cannot hold; it is "
            "saved as its present value, so assign the schedule again after loading",
            optimizer.name,
        )


def own_objects(model: Any) -> dict[str, Any]:
    """Classes and functions that are not fastconv's, by the names that files use."""
    found: dict[str, Any] = {}

    def visit(layer: Layer) -> None:
        if not registry.is_built_in(type(layer)):
            found[registry.class_name(type(layer))] = type(layer)
        function = getattr(layer, "function", None)
        if callable(function):
            found[getattr(function, "__name__", "")] = function
        for inner in layer._sublayers:
            visit(inner)

    visit(model)
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not type(optimizer).__module__.startswith(("fastconv.", "builtins")):
        found[type(optimizer).__name__] = type(optimizer)
    given = [model.compiled_loss and model.compiled_loss.given]
    given += list(model.compiled_metrics.given) if model.compiled_metrics else []
    for value in _leaves(given):
        if isinstance(value, FunctionLoss | FunctionMetric):
            found[getattr(value.function, "__name__", value.name)] = value.function
        elif value is not None and not type(value).__module__.startswith("fastconv."):
            found[type(value).__name__] = type(value)
    return {name: value for name, value in found.items() if name != "str"}


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _leaves(item)]
    return [value]


# Reading ------------------------------------------------------------------------------


def load(data: bytes, source: str, compile: bool = True) -> Any:
    """The model in a file's bytes; ``source`` is named in errors."""
    header, arrays = container.parse(data, source)
    if header.get("kind") != "model":
        raise FormatError(
            f"{source}: expected a model, received {header.get('kind')}; weights "
            "alone are "
            "read by Model.load_weights"
        )
    order = [str(name) for name in header.get("weights", [])]
    with weight_budget(sum(arrays[n].size for n in order if n in arrays)):
        model = built(header.get("architecture"), source)
    names = weight_names(model)
    matched = match(names, arrays, order)
    fill(names, arrays, matched, source, False)
    if RANDOM_STATE in arrays:
        assign(model._seed_and_step, arrays[RANDOM_STATE], source, RANDOM_STATE)
    model.epochs_seen = _whole(header.get("epochs", 0), source)
    model.metadata = _facts(header.get("metadata", {}), source)
    if compile and header.get("compile"):
        _compile(model, header["compile"], source)
        fill_slots(model, arrays, matched, source)
    return model


def kind(data: bytes, source: str) -> str:
    """What an own file holds: "model" or "weights"."""
    return str(container.parse(data, source)[0].get("kind"))


def built(data: Any, source: str) -> Any:
    """The model of an architecture, with new weights."""
    try:
        model = deserialize_layer(data["model"])
        if data.get("build") is not None and isinstance(model, Trainer):
            model.build_for(unmarked(data["build"]))
    except FormatError as error:
        raise FormatError(f"{source}: {error}") from error
    except FastconvError as error:
        raise FormatError(f"{source}: the model cannot be made: {error}") from error
    except (TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise FormatError(f"{source}: no architecture of a model: {error!r}") from error
    if not isinstance(model, Trainer):
        raise FormatError(f"{source}: expected a model, received {model!r}")
    return model


def _compile(model: Any, config: Any, source: str) -> None:
    try:
        model.compile(
            optimizers.deserialize(config["optimizer"]),
            loss=config["loss"],
            loss_weights=config.get("loss_weights"),
            metrics=config.get("metrics"),
            weighted_metrics=config.get("weighted_metrics"),
        )
        model.optimizer.calls = int(config["iterations"])
        model.optimizer.averaged = bool(config.get("averaged", False))
    except (FastconvError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise FormatError(
            f"{source}: its optimizer, loss or metrics cannot be made: {error}; pass "
            "custom_objects, or compile=False"
        ) from error


def _whole(value: Any, source: str) -> int:
    if type(value) is not int or value < 0:
        raise FormatError(f"{source}: expected a number of epochs, received {value!r}")
    return value


def _facts(value: Any, source: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormatError(f"{source}: expected metadata by name, received {value!r}")
    return value
