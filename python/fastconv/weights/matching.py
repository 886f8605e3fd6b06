"""Which array of a file is which weight of a model, and what differs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastconv.graph.variable import Variable
from fastconv.layers import DepthwiseConv2D
from fastconv.training.weight_names import match, weight_names
from fastconv.weights.stored import Stored
from fastconv.weights.timm_names import as_torchvision
from fastconv.weights.torch_layout import _flattened, from_torch, torch_names

__all__ = ["Fit", "fit", "keras_names"]

_BORDERS = re.compile(r"(?<=.)(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])")  # of words


@dataclass(frozen=True)
class _Target:
    """A weight under a name of another library.

    shape: what the file should have; convert: that array in our order.
    """

    weight: Variable
    shape: tuple[int, ...]
    convert: Callable[[np.ndarray], np.ndarray]


@dataclass
class Fit:
    """How a file fits a model.

    Attributes
    ----------
    naming: whose names the file has: "fastconv", "torchvision", "timm", "keras" or
        "order", where no name is known and the shapes agree one by one.
    pairs: name in the file, weight and value, which has the weight's shape.
    missing: weights that the file has not.
    unexpected: names of the file that the model has not.
    shapes: name, expected and received shape of those that differ.
    """

    naming: str
    pairs: list[tuple[str, Variable, Callable[[], np.ndarray]]] = field(
        default_factory=list
    )
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    shapes: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = field(
        default_factory=list
    )

    def differences(self) -> list[str]:
        """What differs, a line each."""
        return [
            *(f"{name!r} is missing" for name in self.missing),
            *(f"{name!r} is not in the model" for name in self.unexpected),
            *(f"{n!r} expected shape {w}, received {r}" for n, w, r in self.shapes),
        ]


def fit(model: Any, stored: Stored) -> Fit:
    """How the arrays of a file fit a model: by the names that most of them share.

    Shapes are compared in the layout of the file, so that a kernel that only has as
    many values as another is not taken for it.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> from fastconv.weights.matching import fit
    >>> from fastconv.weights.stored import Stored
    >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(3, name="fc")])
    >>> found = fit(model, Stored("a file", {"fc.weight": np.ones((3, 2))}))
    >>> found.naming, found.missing
    ('torchvision', ['fc.bias'])
    """
    if stored.own:
        return _own(model, stored)
    targets, names = _best(model, stored)
    found = Fit("torchvision" if targets is None else targets[0])
    known = {} if targets is None else targets[1]
    left = dict(known)
    for name, array in stored.arrays.items():
        inside = names.get(name, name)
        target = left.pop(inside, None)
        if target is not None:
            _compare(found, name, target, array, name != inside)
        elif not _is_optional(name):
            found.unexpected.append(name)
    if targets is None:
        found.missing = list(weight_names(model))
    taken = {id(weight) for _, weight, _ in found.pairs}
    wrong = {name for name, _, _ in found.shapes}
    found.missing += [
        name
        for name, target in left.items()
        if id(target.weight) not in taken and name not in wrong
    ]
    return found


def _compare(
    found: Fit, name: str, target: _Target, array: np.ndarray, renamed: bool
) -> None:
    """Notes a value, or that its shape differs."""
    if renamed and array.ndim == 4 and len(target.shape) == 2:  # timm: a convolution
        array = array.reshape(array.shape[0], -1)
    if array.shape != target.shape:
        found.shapes.append((name, target.shape, array.shape))
    else:
        found.pairs.append((name, target.weight, lambda: target.convert(array)))


def _own(model: Any, stored: Stored) -> Fit:
    """A file of fastconv: by name or, if all names differ, by order."""
    names = weight_names(model)
    found = Fit("fastconv")
    matched = match(names, stored.arrays, stored.order)
    found.unexpected = [name for name in matched if name not in names]
    for name, weight in names.items():
        if name not in matched:
            found.missing.append(name)
            continue
        target = _Target(weight, weight.shape, _same)
        _compare(found, name, target, stored.arrays[matched[name]], False)
    return found


def _same(array: np.ndarray) -> np.ndarray:
    return array


def _is_optional(name: str) -> bool:
    """Whether no result depends on it: a count of batches, an auxiliary classifier."""
    auxiliary = name.startswith(("aux1.", "aux2.", "AuxLogits."))
    return auxiliary or name.rpartition(".")[2] == "num_batches_tracked"


def _best(
    model: Any, stored: Stored
) -> tuple[tuple[str, dict[str, _Target]] | None, dict[str, str]]:
    """The naming that shares most names with the file, and the file's names in it."""
    best: Any = (0, None, {})
    for naming, targets, names in _namings(model, stored):
        shared = sum(names.get(name, name) in targets for name in stored.arrays)
        if shared > best[0]:
            best = (shared, (naming, targets), names)
    if best[1] is None:
        return _by_order(model, stored)
    return best[1:]


def _namings(
    model: Any, stored: Stored
) -> Iterator[tuple[str, dict[str, _Target], dict[str, str]]]:
    own = {n: _Target(w, w.shape, _same) for n, w in weight_names(model).items()}
    plain = _plain(list(stored.arrays))
    keras = keras_names(model)
    torch = _torch_targets(model)
    yield "fastconv", own, {}
    yield "keras", {n: _Target(w, w.shape, _same) for n, w in keras.items()}, {}
    yield "keras", _numbered(model), {}
    if stored.classes:
        yield (
            "keras",
            _by_class(model),
            {
                name: f"{stored.classes[layer]}/{number}"
                for name in stored.arrays
                for layer, _, number in [name.rpartition("/")]
                if layer in stored.classes
            },
        )
    yield "torchvision", torch, plain
    timm = as_torchvision(stored.arrays)
    if timm:
        yield "timm", torch, plain | timm


def _plain(names: list[str]) -> dict[str, str]:
    """Names without what wrappers of models add, and those of older DenseNets."""
    found = {name: name for name in names}
    for prefix in ("module.", "_orig_mod.", "module."):
        if names and all(name.startswith(prefix) for name in found.values()):
            found = {key: name.removeprefix(prefix) for key, name in found.items()}
    older = re.compile(r"(denselayer\d+\.(?:norm|conv))\.(\d\.)")
    return {key: older.sub(r"\1\2", name) for key, name in found.items()}


def _torch_targets(model: Any) -> dict[str, _Target]:
    maps = dict(_flattened(model))

    def target(layer: Any, weight: Variable) -> _Target:
        return _Target(
            weight,
            _torch_shape(layer, weight),
            lambda array: from_torch(layer, array, weight.shape, maps.get(layer)),
        )

    return {name: target(*found) for name, found in torch_names(model).items()}


def _torch_shape(layer: Any, weight: Variable) -> tuple[int, ...]:
    """The shape of a weight in a state dict."""
    shape = tuple(weight.shape)
    if isinstance(layer, DepthwiseConv2D) and len(shape) > 2:  # one map a group
        shape = (*shape[:-2], 1, shape[-2] * shape[-1])
    return (*reversed(shape[-2:]), *shape[:-2]) if len(shape) > 1 else shape


def keras_names(model: Any) -> dict[str, Variable]:
    """Weights by Keras's names: ``conv1/kernel``.

    >>> import fastconv as fc
    >>> from fastconv.weights.matching import keras_names
    >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(3, name="fc")])
    >>> list(keras_names(model))
    ['fc/kernel', 'fc/bias']
    """
    return {
        f"{layer.name}/{weight.name.rpartition('/')[2]}": weight
        for layer in model.layers
        for weight in layer.weights
    }


def _numbered(model: Any) -> dict[str, _Target]:
    """Weights by layer and number, as `hdf5.read` names them."""
    return {
        f"{layer.name}/{number}": _Target(weight, weight.shape, _same)
        for layer in model.layers
        for number, weight in enumerate(layer.weights)
    }


def _by_class(model: Any) -> dict[str, _Target]:
    """As `_numbered`, with the names that Keras's files give to classes of layers."""
    counts: Counter[str] = Counter()
    found = {}
    for layer in model.layers:
        name = _BORDERS.sub("_", type(layer).__name__).lower()
        place = f"{name}_{counts[name]}" if counts[name] else name
        counts[name] += 1
        for number, weight in enumerate(layer.weights):
            found[f"{place}/{number}"] = _Target(weight, weight.shape, _same)
    return found


def _by_order(
    model: Any, stored: Stored
) -> tuple[tuple[str, dict[str, _Target]] | None, dict[str, str]]:
    """Weights in the order of layers, if all shapes agree in that order."""
    if not stored.classes:
        names = [name for name in stored.arrays if not _is_optional(name)]
        for targets in (_numbered(model), _torch_targets(model)):
            shapes = [target.shape for target in targets.values()]
            if names and [stored.arrays[n].shape for n in names] == shapes:
                return ("order", targets), dict(zip(names, targets, strict=True))
    return None, {}
