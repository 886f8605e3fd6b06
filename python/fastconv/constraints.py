"""Constraints on weights, which the optimiser restores after each update.

Layers take one, or its name: ``Dense(10, kernel_constraint="non_neg")``. Any function
of a tensor that gives one of the same shape will do.
"""

from __future__ import annotations

import inspect
from typing import Any

from fastconv import custom_objects, ops
from fastconv.errors import ArgumentError

__all__ = [
    "Constraint", "MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm", "deserialize", "get",
    "serialize",
]  # fmt: skip

EPSILON = 1e-7  # beside a norm that is divided by


class Constraint:
    """Base class. A new one writes ``__call__(w)`` and keeps its arguments.

    >>> import fastconv as fc
    >>> class Small(fc.constraints.Constraint):
    ...     def __call__(self, w):
    ...         return fc.ops.minimum(w, 1.0)
    >>> Small()([0.5, 3.0])
    array([0.5, 1. ], dtype=float32)
    """

    def __call__(self, w: Any) -> Any:
        """The weights that satisfy the constraint."""
        raise ArgumentError(f"constraint {type(self).__name__} has no __call__(w)")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Constraint:
        """A constraint from what `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({given})"


class _Norm(Constraint):
    """Scales weights until their norm along ``axis`` is what ``wanted`` says."""

    axis: Any

    def __call__(self, w: Any) -> Any:
        """The weights that satisfy the constraint."""
        norm = ops.sqrt(ops.sum(ops.square(w), axis=self.axis, keepdims=True))
        return ops.multiply(w, ops.divide(self.wanted(norm), ops.add(norm, EPSILON)))

    def wanted(self, norm: Any) -> Any:
        raise NotImplementedError(type(self).__name__)


class MaxNorm(_Norm):
    """Norms of at most ``max_value``.

    Formula: ``w min(norm, max_value) / (norm + 1e-7)`` with the Euclidean norm along
    ``axis``. Srivastava et al., "Dropout", JMLR 15 (2014), section 5.1.

    Parameters
    ----------
    max_value: >= 0; default 2.
    axis: one or several; default 0, of the inputs of each unit in a `Dense` kernel. For
        the filters of a `Conv2D` it is [0, 1, 2].

    >>> import fastconv as fc
    >>> fc.constraints.MaxNorm(1.0, axis=1)([[3.0, 4.0]]).round(2)
    array([[0.6, 0.8]], dtype=float32)
    """

    def __init__(self, max_value: float = 2, axis: Any = 0) -> None:
        self.max_value, self.axis = _number(self, "max_value", max_value), axis

    def wanted(self, norm: Any) -> Any:
        """The norm to have."""
        return ops.minimum(norm, self.max_value)


class UnitNorm(_Norm):
    """Norms of 1: ``w / (norm + 1e-7)`` along ``axis`` (default 0), as in `MaxNorm`.

    >>> import fastconv as fc
    >>> fc.constraints.UnitNorm()([[3.0], [4.0]]).round(2)
    array([[0.6],
           [0.8]], dtype=float32)
    """

    def __init__(self, axis: Any = 0) -> None:
        self.axis = axis

    def wanted(self, norm: Any) -> Any:
        """The norm to have."""
        return ops.ones_like(norm)


class MinMaxNorm(_Norm):
    """Norms between two bounds.

    Formula: the norm becomes ``rate clip(norm, min_value, max_value) + (1 - rate)
    norm``, along ``axis`` as in `MaxNorm`.

    Parameters
    ----------
    min_value, max_value: >= 0; default 0 and 1.
    rate: in [0, 1]: how much of the way is gone at each step; default 1.
    axis: default 0.

    >>> import fastconv as fc
    >>> fc.constraints.MinMaxNorm(2.0, 3.0, axis=1)([[3.0, 4.0]]).round(2)
    array([[1.8, 2.4]], dtype=float32)
    """

    def __init__(
        self,
        min_value: float = 0.0,
        max_value: float = 1.0,
        rate: float = 1.0,
        axis: Any = 0,
    ) -> None:
        self.min_value = _number(self, "min_value", min_value)
        self.max_value = _number(self, "max_value", max_value)
        self.rate, self.axis = _number(self, "rate", rate), axis
        if self.rate > 1 or self.min_value > self.max_value:
            raise ArgumentError(
                "MinMaxNorm: expected rate <= 1 and min_value <= max_value, received "
                f"{self}"
            )

    def wanted(self, norm: Any) -> Any:
        """The norm to have."""
        clipped = ops.minimum(ops.maximum(norm, self.min_value), self.max_value)
        kept = ops.multiply(norm, 1 - self.rate)
        return ops.add(ops.multiply(clipped, self.rate), kept)


class NonNeg(Constraint):
    """No negative weights: ``max(w, 0)``.

    >>> import fastconv as fc
    >>> fc.constraints.NonNeg()([-1.0, 2.0])
    array([0., 2.], dtype=float32)
    """

    def __call__(self, w: Any) -> Any:
        """The weights that satisfy the constraint."""
        return ops.maximum(w, 0.0)


def _number(owner: Constraint, what: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        raise ArgumentError(
            f"{type(owner).__name__}: expected {what}, a number >= 0, received "
            f"{value!r}"
        )
    return float(value)


_CLASSES = (MaxNorm, MinMaxNorm, NonNeg, UnitNorm)
_NAMES: dict[str, Any] = {
    **{cls.__name__: cls for cls in _CLASSES},
    "max_norm": MaxNorm, "min_max_norm": MinMaxNorm, "non_neg": NonNeg,
    "unit_norm": UnitNorm,
}  # fmt: skip


def get(identifier: Any) -> Any:
    """The constraint for a name, a class, a config, or any function; None for None.

    Names: "max_norm", "min_max_norm", "non_neg", "unit_norm".

    Raises
    ------
    UnknownNameError for an unknown name, ArgumentError for anything else.

    >>> import fastconv as fc
    >>> fc.constraints.get("max_norm")
    MaxNorm(max_value=2.0, axis=0)
    """
    if identifier is None:
        return None
    return custom_objects.lookup("constraint", identifier, _NAMES)


def serialize(constraint: Any) -> dict[str, Any]:
    """What a file holds of a constraint; `deserialize` takes it back.

    >>> import fastconv as fc
    >>> fc.constraints.serialize(fc.constraints.NonNeg())
    {'class_name': 'NonNeg', 'config': {}}
    """
    return {
        "class_name": type(constraint).__name__,
        "config": constraint.get_config(),
    }


deserialize = get
