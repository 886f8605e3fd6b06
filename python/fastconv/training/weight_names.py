"""The names of weights in files: the same in every process, and for equal models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from fastconv.graph.variable import Variable
from fastconv.layers.base import Layer

Matched = dict[str, str]  # name of a weight of the model -> its name in the file


def weight_names(model: Layer) -> dict[str, Variable]:
    """All weights by name: what leads to their layer, and their own (conv2d/kernel).

    What leads to a layer is its name or, in a class of the user, the attribute that
    holds it. A number that a name was given to be unique counts within the model only.
    """
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
        for name, inner in _keys(layer):
            visit(inner, f"{prefix}{name}/")

    visit(model, "")
    return found


def match(
    names: Mapping[str, Variable], arrays: Mapping[str, np.ndarray], order: list[str]
) -> Matched:
    """Which array of a file is which weight: by name or, if all differ, by order."""
    stored = [name for name in order if name in arrays]
    if not set(names) & set(stored) and len(stored) == len(names):
        return dict(zip(names, stored, strict=True))
    return {name: name for name in stored}


def _keys(layer: Layer) -> Iterator[tuple[str, Layer]]:
    """The layers inside, each with its part of the name."""
    attributes = {} if getattr(layer, "is_listed", False) else _held(layer)
    counts: Counter[str] = Counter()
    for inner in layer._sublayers:
        key = attributes.get(id(inner))
        yield key or _own_name(inner, counts), inner


def _held(layer: Layer) -> dict[int, str]:
    """The attributes that hold layers: ``a``, or ``blocks/0`` for one in a list."""
    found: dict[int, str] = {}

    def note(value: Any, path: str) -> None:
        if isinstance(value, Layer):
            found.setdefault(id(value), path)
        elif isinstance(value, dict):
            for key, item in value.items():
                note(item, f"{path}/{key}")
        elif isinstance(value, list | tuple):
            for i, item in enumerate(value):
                note(item, f"{path}/{i}")

    for name, value in vars(layer).items():
        if name != "_listed":
            note(value, name)
    return found


def _own_name(layer: Layer, counts: Counter[str]) -> str:
    """A layer's name; the number of one that fastconv gave becomes that of its place.

    conv2d_7 is conv2d in a model where it is the first without a name of its own.
    """
    base, _, number = layer.name.rpartition("_")
    if not number.isdigit():
        base = layer.name
    if base.replace("_", "") != type(layer).__name__.replace("_", "").lower():
        return layer.name
    counts[base] += 1
    return base if counts[base] == 1 else f"{base}_{counts[base] - 1}"
