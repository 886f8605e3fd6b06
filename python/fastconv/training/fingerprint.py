"""What a training was asked to do: it goes on only if it is asked the same again."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import optimizers
from fastconv.data import tree
from fastconv.data.augmented import AugmentedBatches
from fastconv.data.batches import Batch
from fastconv.errors import FastconvError
from fastconv.training.serialize import architecture
from fastconv.training.weight_names import weight_names

_ROWS = 192  # samples that go into the digest of the data


def of_model(model: Any) -> dict[str, Any]:
    """Weights, architecture, loss and metrics as JSON-like data."""
    weights = {
        name: [weight.dtype, *weight.shape]
        for name, weight in weight_names(model).items()
    }
    objective = model.compiled_loss.get_config() if model.compiled_loss else None
    return plain(
        {
            "weights": weights,
            "architecture": _architecture(model),
            "loss": objective,
            "metrics": model.compiled_metrics.get_config(),
        }
    )


def of_optimizer(model: Any) -> dict[str, Any]:
    """Class and arguments of the optimizer."""
    return plain(optimizers.serialize(model.optimizer))


def of_data(data: Any) -> dict[str, Any] | None:
    """Size, order, augmentation; a digest of some samples if all are at hand, and of
    the names of files.
    """
    if data is None:
        return None
    if isinstance(data, AugmentedBatches):
        steps = [_step(step) for step in data.pipeline.steps]
        own = {"augment": steps, "seed": data.seed}
        return {**plain(own), "data": of_data(data.data)}
    names = "num_samples", "num_batches", "batch_size", "shuffle", "seed"
    found = {name: getattr(data, name, None) for name in names}
    parts = getattr(data, "parts", None)
    if parts is not None:
        found |= _samples(parts)
    files = getattr(data, "file_paths", None)
    if files is not None:
        found["files"] = _names(files)
    return plain(found)


def differences(expected: Any, received: Any, path: str) -> Iterator[str]:
    """Where two values of JSON-like data differ."""
    if isinstance(expected, dict) and isinstance(received, dict):
        for key in [*expected, *(k for k in received if k not in expected)]:
            where = f"{path}.{key}" if path else key
            yield from differences(expected.get(key), received.get(key), where)
    elif isinstance(expected, list) and isinstance(received, list):
        for i, pair in enumerate(itertools.zip_longest(expected, received)):
            yield from differences(*pair, f"{path}[{i}]")
    elif expected != received:
        yield f"{path}: expected {expected!r:.80}, received {received!r:.80}"


def plain(value: Any) -> Any:
    """``value`` as JSON gives it back, without the names of layers and optimizers."""

    def other(leaf: Any) -> Any:
        return leaf.tolist() if hasattr(leaf, "tolist") else type(leaf).__name__

    return _nameless(json.loads(json.dumps(value, default=other)))


def _nameless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _nameless(v) for k, v in value.items() if k != "name"}
    return [_nameless(v) for v in value] if isinstance(value, list) else value


def _architecture(model: Any) -> Any:
    try:
        return architecture(model)
    except FastconvError:  # a class of the user without a configuration
        return type(model).__name__


def _step(step: Any) -> dict[str, Any]:
    """Class and arguments of a step of augmentation."""
    config = getattr(step, "get_config", dict)
    return {"class_name": type(step).__name__, "config": config()}


def _names(files: list[str]) -> str:
    """A digest of the names of files, each with its folder, wherever these lie."""
    names = ("/".join(Path(file).parts[-2:]) for file in files)
    return hashlib.sha256("\n".join(names).encode(errors="replace")).hexdigest()


def _samples(parts: Batch) -> dict[str, Any]:
    """Shapes of the parts, and a digest of rows at equal distances, the ends too."""
    count = tree.common_length(parts, "data")
    rows = np.unique(np.linspace(0, count - 1, _ROWS).astype(np.int64))
    sha, shapes = hashlib.sha256(), {}
    for part, value in zip(("x", "y", "sample_weight"), parts, strict=True):
        for name, array in tree.leaves(value, part):
            shapes[name] = [array.dtype.name, *array.shape[1:]]
            sha.update(np.ascontiguousarray(array[rows]).tobytes())
    return {"shapes": shapes, "samples": sha.hexdigest()}
