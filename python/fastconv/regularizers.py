"""Penalties on weights and activations, which training adds to the loss.

Layers take one, or its name: ``Dense(10, kernel_regularizer="l2")``. A penalty may
start after some epochs: ``L2(1e-4, start_epoch=5)``. Any function of a tensor that
gives one number will do.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from fastconv import custom_objects, ops
from fastconv.errors import ArgumentError, ShapeError
from fastconv.graph.ir import Tensor
from fastconv.graph.variable import Variable

__all__ = [
    "L1", "L1L2", "L2", "OrthogonalRegularizer", "Regularizer", "deserialize", "get",
    "penalty", "serialize", "set_epoch",
]  # fmt: skip


class Regularizer:
    """Base class. A new one writes ``__call__(x)`` and keeps its arguments.

    start_epoch: the penalty counts from this epoch on (the first is 0); default 0.
        An epoch is one that the model has seen, or ``initial_epoch`` of `fit` where
        that is later; so that a training that was resumed goes on as it was.

    >>> import fastconv as fc
    >>> class Cubic(fc.regularizers.Regularizer):
    ...     def __call__(self, x):
    ...         return fc.ops.sum(fc.ops.abs(x) ** 3.0)
    >>> layer = fc.layers.Dense(1, "relu", True, "ones", kernel_regularizer=Cubic())
    >>> layer.build((None, 2))
    >>> layer.losses
    [array(2., dtype=float32)]
    """

    start_epoch: int = 0
    _switch: Variable | None = None

    def __call__(self, x: Any) -> Any:
        """The penalty, one number."""
        raise ArgumentError(f"regularizer {type(self).__name__} has no __call__(x)")

    @property
    def switch(self) -> Variable:
        """1 from `start_epoch` on, else 0; plans read it, so that they can stay."""
        if self._switch is None:
            name = f"{type(self).__name__}/switch"
            self._switch = Variable(np.float32(0), name, trainable=False)
        return self._switch

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        names = inspect.signature(type(self)).parameters
        config = {name: getattr(self, name) for name in names}
        if config.get("start_epoch") == 0:
            del config["start_epoch"]
        return config

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Regularizer:
        """A regularizer from what `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({given})"


class L1L2(Regularizer):
    """``l1 sum |x| + l2 sum x^2``.

    Zou, Hastie, "Regularization and variable selection via the elastic net", J. R.
    Stat. Soc. B 67 (2005), section 2.

    Parameters
    ----------
    l1, l2: numbers >= 0; default 0 (the name "l1_l2" stands for 0.01 both).
    start_epoch: see `Regularizer`; default 0.

    Raises
    ------
    ArgumentError for a number out of range.

    >>> import fastconv as fc
    >>> fc.regularizers.L1L2(l1=1.0, l2=2.0)([1.0, -3.0])
    array(24., dtype=float32)
    """

    def __init__(self, l1: float = 0.0, l2: float = 0.0, start_epoch: int = 0) -> None:
        self.l1, self.l2 = _number(self, "l1", l1), _number(self, "l2", l2)
        self.start_epoch = _epoch(self, start_epoch)

    def __call__(self, x: Any) -> Any:
        """The penalty, one number."""
        l1 = ops.multiply(ops.sum(ops.abs(x)), self.l1)
        l2 = ops.multiply(ops.sum(ops.square(x)), self.l2)
        if not self.l1 or not self.l2:
            return l1 if self.l1 else l2
        return ops.add(l1, l2)


class L1(L1L2):
    """``l1 sum |x|``, which makes small weights 0; see `L1L2`.

    Tibshirani, "Regression shrinkage and selection via the lasso", J. R. Stat. Soc. B
    58 (1996). l1: default 0.01.

    >>> import fastconv as fc
    >>> fc.regularizers.L1(0.5)([1.0, -3.0])
    array(2., dtype=float32)
    """

    def __init__(self, l1: float = 0.01, start_epoch: int = 0) -> None:
        super().__init__(l1, 0.0, start_epoch)


class L2(L1L2):
    """``l2 sum x^2``, which keeps weights small; see `L1L2`.

    Hoerl, Kennard, "Ridge regression", Technometrics 12 (1970). l2: default 0.01.

    >>> import fastconv as fc
    >>> fc.regularizers.L2(0.5)([1.0, -3.0])
    array(5., dtype=float32)
    """

    def __init__(self, l2: float = 0.01, start_epoch: int = 0) -> None:
        super().__init__(0.0, l2, start_epoch)


class OrthogonalRegularizer(Regularizer):
    """Keeps the rows, or columns, of a matrix at right angles.

    Formula: ``factor`` times the mean of ``|cos|`` over all pairs of different rows (or
    columns). For weights of two axes, at least two rows.

    Parameters
    ----------
    factor: >= 0; default 0.01.
    mode: "rows" (default) or "columns".
    start_epoch: see `Regularizer`; default 0.

    Raises
    ------
    ArgumentError for arguments out of range; ShapeError for weights of other axes.

    Brock et al., "Neural photo editing with introspective adversarial networks", ICLR
    2017, section 3.3.

    >>> import fastconv as fc
    >>> fc.regularizers.OrthogonalRegularizer(1.0)([[2.0, 0.0], [0.0, 3.0]])
    array(0., dtype=float32)
    """

    def __init__(
        self, factor: float = 0.01, mode: str = "rows", start_epoch: int = 0
    ) -> None:
        self.factor = _number(self, "factor", factor)
        if mode not in ("rows", "columns"):
            raise ArgumentError(
                "OrthogonalRegularizer: expected mode 'rows' or 'columns', received "
                f"{mode!r}"
            )
        self.mode, self.start_epoch = mode, _epoch(self, start_epoch)

    def __call__(self, x: Any) -> Any:
        """The penalty, one number."""
        shape = np.shape(x) if not hasattr(x, "shape") else tuple(x.shape)
        if len(shape) != 2:
            raise ShapeError(
                f"OrthogonalRegularizer: expected weights of 2 axes, received {shape}"
            )
        rows = ops.transpose(x) if self.mode == "columns" else x
        size = shape[0] if self.mode == "rows" else shape[1]
        norm = ops.maximum(ops.sum(ops.square(rows), axis=1, keepdims=True), 1e-12)
        unit = ops.multiply(rows, ops.rsqrt(norm))
        between = ops.matmul(unit, ops.transpose(unit))
        apart = ops.cast(1 - np.eye(size), between.dtype)
        others = ops.multiply(ops.abs(between), apart)
        pairs = max(size * (size - 1), 1)
        return ops.multiply(ops.sum(others), self.factor / pairs)


def penalty(regularizer: Callable[[Any], Any], x: Any) -> Tensor:
    """What ``regularizer`` adds to the loss now: nothing before its `start_epoch`.

    >>> import fastconv as fc
    >>> later = fc.regularizers.L2(0.5, start_epoch=3)
    >>> fc.regularizers.penalty(later, [1.0, 2.0])
    array(0., dtype=float32)
    >>> fc.regularizers.set_epoch([later], 3)
    >>> fc.regularizers.penalty(later, [1.0, 2.0])
    array(2.5, dtype=float32)
    """
    value: Any = regularizer(x)
    if not getattr(regularizer, "start_epoch", 0):
        return value
    assert isinstance(regularizer, Regularizer)
    return ops.multiply(value, regularizer.switch)


def set_epoch(regularizers: Any, epoch: int) -> None:
    """Switches each regularizer on, or off, as its `start_epoch` says; see `penalty`.

    `Model.fit` and `Model.evaluate` do so; a loop of your own must.

    >>> import fastconv as fc
    >>> fc.regularizers.set_epoch([fc.regularizers.L2(start_epoch=2)], 2)
    """
    for regularizer in regularizers:
        if getattr(regularizer, "start_epoch", 0):
            regularizer.switch.value[...] = epoch >= regularizer.start_epoch


def _number(owner: Regularizer, what: str, value: Any) -> float:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not 0 <= value < inf:
        raise ArgumentError(
            f"{type(owner).__name__}: expected {what}, a finite number >= 0, received "
            f"{value!r}"
        )
    return float(value)


def _epoch(owner: Regularizer, value: Any) -> int:
    if isinstance(value, bool) or not hasattr(value, "__index__") or int(value) < 0:
        raise ArgumentError(
            f"{type(owner).__name__}: expected start_epoch, an integer >= 0, received "
            f"{value!r}"
        )
    return int(value)


def _both() -> L1L2:
    return L1L2(0.01, 0.01)


_CLASSES = (L1, L1L2, L2, OrthogonalRegularizer)
_NAMES: dict[str, Any] = {
    **{cls.__name__: cls for cls in _CLASSES},
    "l1": L1, "l2": L2, "orthogonal_regularizer": OrthogonalRegularizer,
}  # fmt: skip


def get(identifier: Any) -> Any:
    """The regularizer for a name, a class, a config, or any function; None for None.

    Names: "l1", "l2", "l1_l2" (all with 0.01), "orthogonal_regularizer".

    Raises
    ------
    UnknownNameError for an unknown name, ArgumentError for anything else.

    >>> import fastconv as fc
    >>> fc.regularizers.get("l1_l2")
    L1L2(l1=0.01, l2=0.01)
    """
    if identifier is None:
        return None
    if identifier == "l1_l2":
        return _both()
    return custom_objects.lookup("regularizer", identifier, _NAMES)


def serialize(regularizer: Any) -> dict[str, Any]:
    """What a file holds of a regularizer; `deserialize` takes it back.

    >>> import fastconv as fc
    >>> fc.regularizers.serialize(fc.regularizers.L2(0.5))
    {'class_name': 'L2', 'config': {'l2': 0.5}}
    """
    name = type(regularizer).__name__
    return {"class_name": name, "config": regularizer.get_config()}


deserialize = get
