"""A model from a file of any library: `fastconv.load`."""

from __future__ import annotations

import os
import re
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import models, onnx
from fastconv.errors import FastconvError, FormatError
from fastconv.models.network import Network
from fastconv.training import model_file
from fastconv.weights import files
from fastconv.weights.loading import fill, listed
from fastconv.weights.matching import fit
from fastconv.weights.onnx.reading import is_onnx
from fastconv.weights.stored import Stored

__all__ = ["load", "propose"]

_TOP = re.compile(
    r"(module\.)?(fc|classifier|head|predictions|conv_preds|top|probs)\b(?!.*running)"
)
_TRIED = 4  # networks


def load(filepath: str | os.PathLike[str]) -> Any:
    """The model in a file: one of `Model.save`, of ONNX, or a network of the zoo.

    The graph of an ONNX file becomes layers: see `fastconv.onnx.load`.

    A file of weights (safetensors, PyTorch's ``.pth``, Keras's ``.h5`` and ``.keras``,
    NumPy's ``.npz``; names of torchvision, timm, Keras or fastconv) is compared with
    the networks that have as many parameters, or whose name it has. The first that fits
    without a difference is returned with these weights; its number of classes is the
    file's. The message of an error lists what differs.

    Parameters
    ----------
    filepath: the file. PyTorch is not needed for its files; h5py is for Keras's, the
        extra ``keras``.

    Raises
    ------
    FormatError if the file is damaged, wants to run something, or fits no network;
    OSError if it cannot be read.

    >>> import fastconv as fc
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
    >>> fc.models.ResNet20(classes=7).save_weights(path, naming="torchvision")
    >>> fc.load(path).name
    'resnet20'
    """
    with Path(filepath).open("rb") as file:
        if is_onnx(Path(filepath), file.read(3)):
            return onnx.load(filepath)
    stored = files.read(filepath)
    if not stored.arrays:
        raise FormatError(f"{stored.source}: it holds no arrays")
    if stored.own:
        data = Path(filepath).read_bytes()
        if model_file.kind(data, stored.source) == "model":
            return model_file.load(data, stored.source)
    reasons = []
    for network in propose(stored):
        try:
            model = network(weights=None, classes=_classes(stored))
        except FastconvError:
            continue  # such as a number of classes that cannot be
        problems = fit(model, stored).differences()
        if not problems:
            fill(model, stored)
            return model
        reasons.append((len(problems), f"{network.name}: {listed(problems)}"))
    nearest = f"; the nearest is {min(reasons)[1]}" if reasons else ""
    raise FormatError(
        f"{stored.source}: its {len(stored.arrays)} arrays are those of no network of "
        f"fastconv.models{nearest}. For another model use Model.load_weights"
    )


def propose(stored: Stored) -> list[Network]:
    """The networks that a file may belong to, the likeliest first.

    Those that its metadata or its name tell, and those with as many parameters, for the
    file's number of classes.
    """
    stem = models.key(Path(stored.source).name.partition(".")[0].partition("-")[0])
    named = [models.key(stored.metadata.get("network")), stem]
    total = sum(
        prod(array.shape)
        for name, array in stored.arrays.items()
        if not any(word in name for word in ("running_", "moving_", "num_batches"))
    )
    found = {}
    for name in models.zoo():
        network = getattr(models, name)
        if isinstance(network, Network):
            found[models.key(network.name)] = network
    top = [found.pop(name) for name in dict.fromkeys(named) if name in found]
    classes = _classes(stored)
    features = max((array.size for array in _top(stored)), default=0) // (classes or 1)

    def far(network: Network) -> int:
        more = network.classes - (network.classes if classes is None else classes)
        other_top = more * (features + 1)
        return abs(network.facts.parameters - other_top - total)

    near = sorted(found.values(), key=far)
    return [*top, *near][:_TRIED]


def _top(stored: Stored) -> list[np.ndarray]:
    """The arrays of the classifier, which its usual names tell."""
    found = [name for name in stored.arrays if _TOP.match(name)]
    if not found:
        return []
    found.sort(key=lambda name: [f"{part:>9}" for part in re.split(r"[./]", name)])
    layer = re.split(r"[./]\w+$", found[-1])[0]
    return [stored.arrays[name] for name in found if name.startswith(layer)]


def _classes(stored: Stored) -> int | None:
    """The file's number of classes, the length of the classifier's bias."""
    return next((a.shape[0] for a in _top(stored) if a.ndim == 1), None)
