"""The arrays that a training needs to go on, by name, and back into the model."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastconv.errors import FormatError
from fastconv.graph.variable import Variable
from fastconv.io import container
from fastconv.training.weight_names import Matched, weight_names

logger = logging.getLogger("fastconv")

RANDOM_STATE = "@random_state"


def state_arrays(model: Any, names: Mapping[str, Variable]) -> dict[str, np.ndarray]:
    """What a training needs to go on, beside the weights."""
    found = {RANDOM_STATE: model._seed_and_step.value}
    slots = {} if model.optimizer is None else model.optimizer.variables()
    for slot, values in slots.items():
        for name, weight in names.items():
            if weight in values:
                found[_slot_name(slot, name)] = values[weight].value
    return found | {_slot_name(k, ""): v.value for k, v in _counters(model).items()}


def _counters(model: Any) -> dict[str, Variable]:
    return {} if model.optimizer is None else model.optimizer.counters()


def _slot_name(slot: str, weight: str) -> str:
    return f"@optimizer/{slot}/{weight}"


def fill_slots(
    model: Any, arrays: container.Arrays, matched: Matched, source: str
) -> None:
    """Gives the optimizer its state back; its arrays are named after the weights."""
    model._gather()  # slots lie as the weights do
    model.optimizer.build(model.trainable_weights)
    names = weight_names(model)
    for slot, values in model.optimizer.variables().items():
        for name, weight in names.items():
            key = _slot_name(slot, matched.get(name, name))
            if weight in values and key in arrays:
                assign(values[weight], arrays[key], source, key)
    for name, counter in _counters(model).items():
        key = _slot_name(name, "")
        if key in arrays:
            assign(counter, arrays[key], source, key)


def fill(
    names: Mapping[str, Variable],
    arrays: container.Arrays,
    matched: Matched,
    source: str,
    skip_mismatch: bool,
) -> None:
    """Gives weights the values of the arrays that ``matched`` names."""
    arrays = {name: arrays[stored] for name, stored in matched.items()}
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
            assign(weight, arrays[name], source, name)


def assign(variable: Variable, array: np.ndarray, source: str, name: str) -> None:
    """Gives a variable the value of an array of its shape and dtype."""
    if array.shape != variable.shape or array.dtype.name != variable.dtype:
        raise FormatError(
            f"{source}: {name!r} expected {variable.dtype}{list(variable.shape)}, "
            "received "
            f"{array.dtype.name}{list(array.shape)}"
        )
    variable.assign(array)
