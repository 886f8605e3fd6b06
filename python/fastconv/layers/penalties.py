"""What layers add to the loss, and the rules that their weights follow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary

from fastconv import constraints, regularizers
from fastconv.errors import ArgumentError, ShapeError
from fastconv.graph.ir import Tensor
from fastconv.graph.scope import current_trace, scope
from fastconv.graph.trace import Trace, as_tensor
from fastconv.tree import flatten

# The losses that layers added in each trace, by layer.
_added: WeakKeyDictionary[Trace, list[tuple[Any, Tensor]]] = WeakKeyDictionary()


def rule_names(layer: Any) -> list[str]:
    """The arguments for regularizers and constraints that the layer takes."""
    kinds = ("regularizer", "constraint")
    weights = [f"{what}_{kind}" for what in layer.ruled for kind in kinds]
    return [*weights, "activity_regularizer"]


def take_rules(layer: Any, given: dict[str, Any]) -> None:
    """Takes the layer's rules out of ``given`` arguments, and keeps them."""
    for name in rule_names(layer):
        get = constraints.get if name.endswith("constraint") else regularizers.get
        setattr(layer, name, get(given.pop(name, None)))


def add(layer: Any, loss: Any) -> None:
    """Adds to the loss of the function being traced."""
    trace = current_trace()
    if trace is None:
        raise ArgumentError(
            f"layer {layer.name!r}: add_loss is for use inside call(), where tensors "
            "are; a penalty on a weight is add_weight(regularizer=...)"
        )
    loss = as_tensor(loss)
    if loss.shape:
        raise ShapeError(
            f"layer {layer.name!r}: add_loss expected a scalar, received shape "
            f"{loss.shape}; take fastconv.ops.sum or mean of it"
        )
    _added.setdefault(trace, []).append((layer, loss))


def add_activity(layer: Any, outputs: Any) -> None:
    """Adds the layer's penalty on its outputs, a mean over the batch."""
    for y in flatten(outputs, Tensor):
        if not y.size:
            continue
        with scope("activity_regularizer"):
            loss = regularizers.penalty(layer.activity_regularizer, y)
            add(layer, loss * (1.0 / y.shape[0]) if y.shape else loss)


def losses(layer: Any) -> list[Any]:
    """What the layer and those inside add to the loss, each one number."""
    trace = current_trace()
    added = [] if trace is None else _added.get(trace, [])
    inside = set(layer._walk()) if added else set()
    found: list[Any] = [loss for owner, loss in added if owner in inside]
    for weight in layer.trainable_weights:
        if weight.regularizer is not None:
            value = weight.value if trace is None else as_tensor(weight)
            with scope("regularizer"):
                found.append(regularizers.penalty(weight.regularizer, value))
    return found


def starting_late(layer: Any) -> Iterable[Any]:
    """The regularizers of the layer and those inside that start late."""
    found: dict[Any, None] = {}
    for inside, weights in layer._walk_weights():
        found |= dict.fromkeys(inside._held(regularizers.Regularizer))
        found |= dict.fromkeys(w.regularizer for w in weights)
    return [r for r in found if getattr(r, "start_epoch", 0)]
