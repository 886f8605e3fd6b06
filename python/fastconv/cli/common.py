"""What several commands need: models by name, runs, threads and the device."""

from __future__ import annotations

import inspect
from argparse import Namespace
from typing import Any

from fastconv import machine, mixed_precision, models
from fastconv.cli.inputs import Inputs
from fastconv.errors import FormatError
from fastconv.execution.devices import resolve_device
from fastconv.models.network import Network
from fastconv.training.run_directory import RunDirectory

__all__ = ["make_model", "open_run", "set_machine", "weights_digest"]


def set_machine(args: Namespace) -> None:
    """Applies ``--threads`` and ``--device``."""
    resolve_device(args.device)
    if args.threads is not None:
        machine.set_num_threads(args.threads)


def make_model(
    name: str,
    channels: int | None = None,
    classes: int | None = None,
    dtype: str = "float32",
) -> Any:
    """A new model of the zoo, for images of ``channels`` (None: the model's own).

    dtype: "float32", "bfloat16" for "mixed_bfloat16", "float16" for "mixed_float16".

    >>> make_model("lenet").input_shape
    (None, 32, 32, 1)
    """
    before = mixed_precision.dtype_policy()
    policy = dtype if dtype == "float32" else f"mixed_{dtype}"
    mixed_precision.set_global_policy(policy)
    try:
        return _made(name, channels, classes)
    finally:
        mixed_precision.set_global_policy(before)


def _made(name: str, channels: int | None, classes: int | None) -> Any:
    constructor: Any = models.get(name)
    given: dict[str, Any] = {} if classes is None else {"classes": classes}
    if isinstance(constructor, Network):
        side = constructor.image
        given["input_shape"] = (side, side, channels or constructor.channels)
        return constructor(weights=None, **given)
    shape = inspect.signature(constructor).parameters["input_shape"].default
    return constructor(input_shape=(*shape[:2], channels or shape[2]), **given)


def open_run(path: str) -> tuple[Any, Inputs, dict[str, Any]]:
    """The model of a run, what prepares its images, and the run's configuration."""
    from fastconv.training import load_model

    directory = RunDirectory.open(path)
    config = directory.read_config()
    if not isinstance(config.get("inputs"), dict):
        raise FormatError(f"{directory.config}: expected a table [inputs]")
    inputs = Inputs.from_config(config["inputs"], str(directory.config))
    return load_model(directory.model), inputs, config


def weights_digest(model: Any) -> str:
    """SHA-256 of the bytes of all weights, in their order."""
    import hashlib

    digest = hashlib.sha256()
    for array in model.get_weights():
        digest.update(array.tobytes())
    return digest.hexdigest()
