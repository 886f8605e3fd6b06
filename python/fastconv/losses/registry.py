"""Losses by name, from functions, and as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastconv import custom_objects as objects
from fastconv.errors import ArgumentError, unknown_name
from fastconv.losses.base import FunctionLoss, Loss, snake
from fastconv.losses.crossentropy import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    SparseCategoricalCrossentropy,
)
from fastconv.losses.divergence import KLDivergence, Poisson
from fastconv.losses.focal import BinaryFocalCrossentropy, CategoricalFocalCrossentropy
from fastconv.losses.hinge import CategoricalHinge, Hinge, SquaredHinge
from fastconv.losses.regression import (
    CosineSimilarity,
    Huber,
    LogCosh,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
)
from fastconv.losses.segmentation import Dice, Tversky

CLASSES: dict[str, type[Loss]] = {
    cls.__name__: cls
    for cls in (
        BinaryCrossentropy, BinaryFocalCrossentropy, CategoricalCrossentropy,
        CategoricalFocalCrossentropy, CategoricalHinge, CosineSimilarity, Dice, Hinge,
        Huber, KLDivergence, LogCosh, MeanAbsoluteError, MeanAbsolutePercentageError,
        MeanSquaredError, MeanSquaredLogarithmicError, Poisson,
        SparseCategoricalCrossentropy, SquaredHinge, Tversky,
    )
}  # fmt: skip
LOSSES: dict[str, type[Loss]] = {
    **{snake(name): cls for name, cls in CLASSES.items()},
    "bce": BinaryCrossentropy,
    "kld": KLDivergence,
    "logcosh": LogCosh,
    "mae": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "mse": MeanSquaredError,
    "msle": MeanSquaredLogarithmicError,
    "quadratic": MeanSquaredError,
}


def get(identifier: Any) -> Loss | None:
    """A loss from a name, a config, a function ``f(y_true, y_pred)``, or a loss.

    Raises
    ------
    UnknownNameError for a name that is not known; ArgumentError for another type.

    >>> import fastconv as fc
    >>> fc.losses.get("mse")
    <MeanSquaredError 'mean_squared_error'>
    """
    if identifier is None or isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        cls = LOSSES.get(identifier.lower()) or CLASSES.get(identifier)
        if cls is None:
            raise unknown_name("loss", identifier, [*LOSSES, *CLASSES])
        return cls()
    if isinstance(identifier, Mapping) and "class_name" in identifier:
        return deserialize(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if callable(identifier):
        return FunctionLoss(identifier)
    raise ArgumentError(
        f"loss: expected a name, a Loss or a function, received {identifier!r}"
    )


def serialize(loss: Loss) -> dict[str, Any]:
    """The loss as JSON-like data; a function by its name only.

    >>> import fastconv as fc
    >>> fc.losses.serialize(fc.losses.MeanSquaredError(reduction="sum"))
    {'class_name': 'MeanSquaredError', 'config': {'name': 'mean_squared_error',
    'reduction': 'sum'}}
    """
    if isinstance(loss, FunctionLoss):
        return {"function": getattr(loss.function, "__name__", loss.name)}
    return {"class_name": type(loss).__name__, "config": loss.get_config()}


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> Loss:
    """A loss from what `serialize` returned; own ones are custom objects.

    Raises
    ------
    UnknownNameError for a class or function that is not known.

    >>> import fastconv as fc
    >>> def distance(y_true, y_pred):
    ...     return fc.ops.abs(y_true - y_pred)
    >>> fc.losses.deserialize({"function": "distance"}, {"distance": distance})
    <FunctionLoss 'distance'>
    """
    name = config.get("class_name") or config.get("function")
    known = {**CLASSES, **objects.known(), **(custom_objects or {})}
    if name not in known:
        raise unknown_name("loss", name, list(known))
    if "function" in config:
        return FunctionLoss(known[name])
    return known[name].from_config(dict(config.get("config", {})))
