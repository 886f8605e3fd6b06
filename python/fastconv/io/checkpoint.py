"""Models as files, and back."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import _core, optimizers
from fastconv.custom_objects import custom_object_scope
from fastconv.errors import ArgumentError, FastconvError, FormatError
from fastconv.graph.variable import Variable
from fastconv.io import atomic, container
from fastconv.layers import context
from fastconv.layers.base import KerasTensor, Layer, map_structure
from fastconv.losses import FunctionLoss
from fastconv.metrics import FunctionMetric
from fastconv.training.config import (
    deserialize_layer,
    make_input,
    serialize_layer,
    tensor_config,
)
from fastconv.training.functional import is_spec
from fastconv.training.model import Model

logger = logging.getLogger("fastconv")

RANDOM_STATE = "@random_state"
Path_ = str | os.PathLike[str]


def save_model(model: Model, filepath: Path_, overwrite: bool = True) -> None:
    """`Model.save` as a function.

    >>> import fastconv as fc
    >>> import os, tempfile
    >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(3)])
    >>> from fastconv.io import save_model
    >>> save_model(model, os.path.join(tempfile.mkdtemp(), "model.safetensors"))
    """
    save(model, filepath, overwrite=overwrite)


def load_model(
    filepath: Path_,
    custom_objects: Mapping[str, Any] | None = None,
    compile: bool = True,
) -> Model:
    """The model in a file of `Model.save`, ready to go on with its training.

    A file is data: it can name classes and functions, never bring them.

    Parameters
    ----------
    filepath: the file.
    custom_objects: name -> class or function, for layers, losses and metrics of your
        own.
    compile: whether the model gets its optimizer, loss and metrics back; default True.

    Raises
    ------
    FormatError if the file is truncated, damaged, of a newer version, or names a class
    that is not known; OSError if it cannot be read.

    >>> import fastconv as fc
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> fc.Sequential([fc.Input((2,)), fc.layers.Dense(3)], name="small").save(path)
    >>> fc.load_model(path).name
    'small'
    """
    with custom_object_scope(custom_objects):
        return _load(Path(filepath).read_bytes(), os.fspath(filepath), compile)


def model_from_json(
    text: str, custom_objects: Mapping[str, Any] | None = None
) -> Model:
    """A new model, with new weights, of the architecture that `Model.to_json` gave.

    >>> import fastconv as fc
    >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(3)])
    >>> from fastconv.io import model_from_json
    >>> model_from_json(model.to_json()).output_shape
    (None, 3)
    """
    with custom_object_scope(custom_objects):
        try:
            data = json.loads(text)
        except ValueError as error:
            raise FormatError(f"model_from_json: expected JSON: {error}") from error
        return _built(data, "model_from_json")


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
    atomic.write(filepath, _dump(model, weights_only))


def architecture(model: Any) -> dict[str, Any]:
    """The model's class, layers and connections as JSON-like data."""
    spec = model._build_spec
    build = None if spec is None else map_structure(spec, is_spec, _marked)
    return {"model": serialize_layer(model), "build": build}


def freeze(model: Any) -> tuple[bytes, dict[str, Any]]:
    """What pickle keeps of a model: its file, and the user's own classes by name."""
    return _dump(model, False), _own_objects(model)


def restore(data: bytes, own: Mapping[str, Any]) -> Model:
    """The model that `freeze` took apart."""
    with custom_object_scope(own):
        return _load(data, "pickled model", True)


def _dump(model: Any, weights_only: bool) -> bytes:
    names = weight_names(model)
    arrays = {name: weight.value for name, weight in names.items()}
    header: dict[str, Any] = {
        "kind": "weights" if weights_only else "model",
        "fastconv": _core.__version__,
        "numpy": np.__version__,
        "weights": list(names),
    }
    if not weights_only:
        header["architecture"] = architecture(model)
        header["compile"] = _compile_config(model)
        arrays.update(_state(model, names))
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
    objective = model.objective.get_config() if model.objective else {"loss": None}
    return {
        **objective,
        **model.scores.get_config(),
        "optimizer": optimizers.serialize(model.optimizer),
        "iterations": model.optimizer.iterations,
    }


def _state(model: Any, names: Mapping[str, Variable]) -> dict[str, np.ndarray]:
    """What a training needs to go on, beside the weights."""
    found = {RANDOM_STATE: model.random_state.value}
    slots = {} if model.optimizer is None else model.optimizer.variables()
    for slot, values in slots.items():
        for name, weight in names.items():
            if weight in values:
                found[_slot_name(slot, name)] = values[weight].value
    return found


def _slot_name(slot: str, weight: str) -> str:
    return f"@optimizer/{slot}/{weight}"


def weight_names(model: Layer) -> dict[str, Variable]:
    """All weights by name: the layers that lead to it, and its own (conv2d/kernel)."""
    found: dict[str, Variable] = {}
    seen: set[Variable] = set()

    def visit(layer: Layer, prefix: str) -> None:
        for weight in layer._weights:
            if weight in seen:
                continue
            seen.add(weight)
            name = prefix + weight.name.rsplit("/", 1)[-1]
            same = sum(n == name or n.startswith(f"{name}:") for n in found)
            found[f"{name}:{same}" if same else name] = weight
        for inner in layer._sublayers:
            visit(inner, f"{prefix}{inner.name}/")

    visit(model, "")
    return found


def _own_objects(model: Any) -> dict[str, Any]:
    """Classes and functions that are not fastconv's, by the names that files use."""
    found: dict[str, Any] = {}

    def visit(layer: Layer) -> None:
        if not type(layer).__module__.startswith("fastconv."):
            found[type(layer).__name__] = type(layer)
        function = getattr(layer, "function", None)
        if callable(function):
            found[getattr(function, "__name__", "")] = function
        for inner in layer._sublayers:
            visit(inner)

    visit(model)
    given = [model.objective and model.objective.given]
    given += list(model.scores.given) if model.scores else []
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


def _marked(spec: KerasTensor) -> dict[str, Any]:
    return {"input": tensor_config(spec)}


# Reading ------------------------------------------------------------------------------


def _load(data: bytes, source: str, compile: bool) -> Model:
    header, arrays = container.parse(data, source)
    if header.get("kind") != "model":
        raise FormatError(
            f"{source}: expected a model, received {header.get('kind')}; weights "
            "alone are "
            "read by Model.load_weights"
        )
    order = [str(name) for name in header.get("weights", [])]
    with context.weight_budget(sum(arrays[n].size for n in order if n in arrays)):
        model = _built(header.get("architecture"), source)
    _fill(weight_names(model), arrays, order, source, False)
    if RANDOM_STATE in arrays:
        _assign(model.random_state, arrays[RANDOM_STATE], source, RANDOM_STATE)
    if compile and header.get("compile"):
        _compile(model, header["compile"], arrays, source)
    return model


def load_weights(model: Any, filepath: Path_, skip_mismatch: bool) -> None:
    """Reads the weights of a file into a model."""
    source = os.fspath(filepath)
    header, arrays = container.parse(Path(filepath).read_bytes(), source)
    if not model.weights and not model.built:
        raise ArgumentError(
            f"model {model.name!r}: it is not built, so it has no weights yet; call "
            "build(input_shape), or give it data"
        )
    order = list(header.get("weights", []))
    _fill(weight_names(model), arrays, order, source, skip_mismatch)


def _built(data: Any, source: str) -> Model:
    """The model of an architecture, with new weights."""
    try:
        model = deserialize_layer(data["model"])
        if data.get("build") is not None and isinstance(model, Model):
            model.build_for(_unmarked(data["build"]))
    except FormatError as error:
        raise FormatError(f"{source}: {error}") from error
    except FastconvError as error:
        raise FormatError(f"{source}: the model cannot be made: {error}") from error
    except (TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise FormatError(f"{source}: no architecture of a model: {error!r}") from error
    if not isinstance(model, Model):
        raise FormatError(f"{source}: expected a model, received {model!r}")
    return model


def _unmarked(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {"input"} and "shape" in value["input"]:
            return make_input(value["input"])
        return {k: _unmarked(v) for k, v in value.items()}
    return [_unmarked(v) for v in value] if isinstance(value, list) else value


def _compile(model: Any, config: Any, arrays: container.Arrays, source: str) -> None:
    try:
        model.compile(
            optimizers.deserialize(config["optimizer"]),
            loss=config["loss"],
            loss_weights=config.get("loss_weights"),
            metrics=config.get("metrics"),
            weighted_metrics=config.get("weighted_metrics"),
        )
        model.optimizer.iterations = int(config["iterations"])
    except (FastconvError, TypeError, KeyError, ValueError, AttributeError) as error:
        raise FormatError(
            f"{source}: its optimizer, loss or metrics cannot be made: {error}; pass "
            "custom_objects, or compile=False"
        ) from error
    model.optimizer.build(model.trainable_weights)
    names = weight_names(model)
    for slot, values in model.optimizer.variables().items():
        for name, weight in names.items():
            key = _slot_name(slot, name)
            if weight in values and key in arrays:
                _assign(values[weight], arrays[key], source, key)


def _fill(
    names: Mapping[str, Variable],
    arrays: container.Arrays,
    order: list[str],
    source: str,
    skip_mismatch: bool,
) -> None:
    """Gives weights their values, by name, else by order."""
    stored = [name for name in order if name in arrays]
    if not set(names) & set(stored) and len(stored) == len(names):
        arrays = {n: arrays[s] for n, s in zip(names, stored, strict=True)}
    else:
        arrays = {name: arrays[name] for name in stored}
    problems = [
        *(f"{n!r} is missing" for n in names if n not in arrays),
        *(f"{n!r} is not in the model" for n in arrays if n not in names),
        *(
            f"{n!r} expected shape {w.shape}, received {arrays[n].shape}"
            for n, w in names.items()
            if n in arrays and arrays[n].shape != w.shape
        ),
    ]
    if problems and not skip_mismatch:
        raise FormatError(
            f"{source}: weights do not fit the model: {'; '.join(problems)}"
        )
    for problem in problems:
        logger.warning("%s: skipped: %s", source, problem)
    for name, weight in names.items():
        if name in arrays and arrays[name].shape == weight.shape:
            _assign(weight, arrays[name], source, name)


def _assign(variable: Variable, array: np.ndarray, source: str, name: str) -> None:
    if array.shape != variable.shape or array.dtype.name != variable.dtype:
        raise FormatError(
            f"{source}: {name!r} expected {variable.dtype}{list(variable.shape)}, "
            "received "
            f"{array.dtype.name}{list(array.shape)}"
        )
    variable.assign(array)
