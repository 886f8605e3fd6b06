"""What a training was asked to do: it goes on only if it is asked the same again."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv import optimizers
from fastconv.data import tree
from fastconv.data.batches import ArrayBatches
from fastconv.errors import FastconvError
from fastconv.training.serialize import architecture
from fastconv.training.weight_names import weight_names

_ROWS = 64  # samples of a batch that go into the digest of the data


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
    """Size, order and, of arrays, a digest of some samples."""
    if data is None:
        return None
    names = "num_samples", "num_batches", "batch_size", "shuffle", "seed"
    found = {name: getattr(data, name, None) for name in names}
    if isinstance(data, ArrayBatches):
        found |= _samples(data)
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


def _samples(data: ArrayBatches) -> dict[str, Any]:
    """Shapes of the parts, and a digest of rows of the first, middle and last batch."""
    sha, shapes = hashlib.sha256(), {}
    for number in sorted({0, len(data) // 2, len(data) - 1}):
        batch = next(data.batches(epoch=0, shuffle=False, start=number))
        for part, value in zip(("x", "y", "sample_weight"), batch, strict=True):
            for name, array in tree.leaves(value, part):
                shapes[name] = [array.dtype.name, *array.shape[1:]]
                rows = array[:: max(1, len(array) // _ROWS)]
                sha.update(np.ascontiguousarray(rows).tobytes())
    return {"shapes": shapes, "samples": sha.hexdigest()}
