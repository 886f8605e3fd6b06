"""Weights of a file into a model, and out of it: what `Model.load_weights` does."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, FormatError, unknown_name
from fastconv.graph.variable import Variable
from fastconv.io import atomic
from fastconv.training.state import assign
from fastconv.weights import files, safetensors_file
from fastconv.weights.matching import Fit, fit, keras_names
from fastconv.weights.stored import Stored
from fastconv.weights.torch_layout import to_torch

__all__ = ["fill", "load_weights", "save_weights"]

logger = logging.getLogger("fastconv")

_NAMED = 8  # differences that a message names
_FACTS = ("mean", "deviation", "class_names")


def load_weights(
    model: Any,
    filepath: str | os.PathLike[str],
    skip_mismatch: bool = False,
    whole: bool = True,
) -> Fit:
    """Reads the weights of a file into a model; the model is as before if they do not
    fit.

    Parameters
    ----------
    skip_mismatch: leave weights alone that are missing or have another shape.
    whole: whether weights that the model has not are an error; False for a model
        without the top that the file has.
    """
    if not model.weights and not model.built:
        raise ArgumentError(
            f"model {model.name!r}: it is not built, so it has no weights yet; call "
            "build(input_shape), or give it data"
        )
    return fill(model, files.read(filepath), skip_mismatch, whole)


def fill(
    model: Any, stored: Stored, skip_mismatch: bool = False, whole: bool = True
) -> Fit:
    """Gives a model what was read from a file."""
    found = fit(model, stored)
    if not whole:
        found.unexpected = []
    problems = found.differences()
    if (problems and not skip_mismatch) or not found.pairs:
        raise FormatError(
            f"{stored.source}: weights do not fit the model: {listed(problems)}"
        )
    for problem in problems:
        logger.warning("%s: skipped: %s", stored.source, problem)
    for name, weight, value in found.pairs:
        assign(weight, _number(value(), weight), stored.source, name)
    model.metadata |= {k: stored.metadata[k] for k in _FACTS if k in stored.metadata}
    return found


def listed(problems: list[str]) -> str:
    """The first differences, and how many there are."""
    more = len(problems) - _NAMED
    return "; ".join(problems[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _number(array: np.ndarray, weight: Variable) -> np.ndarray:
    """An array of floating-point numbers in the precision of its weight."""
    dtype = np.dtype(weight.dtype)
    if array.dtype.kind == dtype.kind == "f":
        return np.asarray(array, dtype)
    return array


def save_weights(
    model: Any, filepath: str | os.PathLike[str], overwrite: bool, naming: str
) -> None:
    """Writes weights with the names of another library, as safetensors."""
    if not overwrite and Path(filepath).exists():
        raise FileExistsError(
            errno.EEXIST, "the file exists; overwrite=True replaces it", str(filepath)
        )
    if naming not in ("torchvision", "keras"):
        raise unknown_name("naming", naming, ["torchvision", "keras"])
    if naming == "torchvision":
        arrays = to_torch(model)
    else:
        arrays = {name: weight.value for name, weight in keras_names(model).items()}
    if len(arrays) != len(model.weights):
        raise ArgumentError(
            f"model {model.name!r}: {len(model.weights)} weights have "
            f"{len(arrays)} names in naming={naming!r}; give layers names of their own"
        )
    atomic.write(filepath, safetensors_file.dump(arrays, model.metadata))
