"""Ops and operators in the description of a model: each becomes a layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastconv import ops
from fastconv.errors import ArgumentError, unknown_name
from fastconv.layers.base import KerasTensor, Layer, unique_name
from fastconv.operators import OPERATORS
from fastconv.tree import decode, encode, flatten

__all__ = ["OpLayer", "record"]


def record(op: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The result of an op of `fastconv.ops` on `KerasTensor`s, by an `OpLayer`.

    >>> import fastconv as fc
    >>> x = fc.Input((8,))
    >>> (fc.ops.relu(x) * 2.0)[:, :3].shape
    (None, 3)
    """
    tensors = flatten((args, kwargs), KerasTensor)
    distinct = list({id(t): t for t in tensors}.values())
    name = _name(op)
    given = _encode(tuple(args), distinct, name), _encode(kwargs, distinct, name)
    return OpLayer(name, *given)(*distinct)


class OpLayer(Layer):
    """One op of `fastconv.ops` as a layer; `record` makes it.

    Parameters
    ----------
    op: name of the op.
    args, kwargs: its arguments as JSON-like data: tensors as ``{"tensor": number}``,
        and weights of the layer, which are 0 at first, as ``{"weight": shape}``.

    Raises
    ------
    UnknownNameError for an op that there is not.

    >>> import fastconv as fc
    >>> fc.layers.OpLayer("add", {"tuple": [{"tensor": 0}, 1.0]})([2.0])
    array([3.], dtype=float32)
    """

    def __init__(
        self, op: str, args: Any = None, kwargs: Any = None, **options: Any
    ) -> None:
        options["name"] = options.get("name") or unique_name(op)
        super().__init__(**options)
        self.op = op
        self.args = {"tuple": [{"tensor": 0}]} if args is None else args
        self.kwargs = {"dict": {}} if kwargs is None else kwargs
        self.function = _function(op)
        self.held: list[Any] = []

    def build(self, input_shape: Any) -> None:
        """Makes the weights that are among the arguments."""
        found: list[Any] = []
        decode([self.args, self.kwargs], lambda leaf: found.append(leaf.get("weight")))
        shapes = [tuple(shape) for shape in found if shape is not None]
        self.held = [self.add_weight(shape, "zeros") for shape in shapes]

    def call(self, *tensors: Any) -> Any:
        """The op of the tensors, the weights and the constants."""
        weights = iter(self.held)
        args = _decode(self.args, tensors, weights)
        return self.function(*args, **_decode(self.kwargs, tensors, weights))


def _name(op: Callable[..., Any]) -> str:
    """The name under which `_function` finds an op."""
    operators = [name for name, function in OPERATORS.items() if function is op]
    name = operators[0] if operators else getattr(op, "__name__", repr(op))
    if operators or getattr(ops, name, None) is op:
        return name
    raise ArgumentError(
        f"{name!r} is no op of fastconv.ops; use a Lambda layer for functions of your "
        "own"
    )


def _function(name: str) -> Callable[..., Any]:
    if name in OPERATORS:
        return OPERATORS[name]
    if not name.startswith("_") and callable(getattr(ops, name, None)):
        return getattr(ops, name)
    raise unknown_name("op", name, [*OPERATORS, *ops.__all__])


def _encode(value: Any, tensors: list[KerasTensor], op: str) -> Any:
    """``value`` as JSON-like data: what JSON has not is a dict of one key."""

    def leaf(value: Any) -> Any:
        if isinstance(value, KerasTensor):
            return {"tensor": next(i for i, t in enumerate(tensors) if t is value)}
        if isinstance(value, slice):
            parts = (value.start, value.stop, value.step)
            return {"slice": [_encode(v, tensors, op) for v in parts]}
        if value is Ellipsis:
            return {"ellipsis": True}
        if isinstance(value, type | np.dtype):
            return np.dtype(value).name
        if isinstance(value, np.ndarray | np.generic):
            return {"array": value.tolist(), "dtype": value.dtype.name}
        raise ArgumentError(
            f"{op}: expected a model's tensors, numbers and arrays, received "
            f"{value!r:.80}; weights and functions belong in a layer"
        )

    return encode(value, leaf)


def _decode(value: Any, tensors: Any, weights: Iterator[Any]) -> Any:
    """What `_encode` encoded, with tensors and weights in their places."""

    def leaf(value: dict[str, Any]) -> Any:
        kind, content = next(iter(value.items()))
        if kind == "tensor":
            return tensors[content]
        if kind == "weight":
            return next(weights)
        if kind == "array":
            return np.array(content, value["dtype"])
        if kind == "ellipsis":
            return Ellipsis
        return slice(*_decode(content, tensors, weights))

    return decode(value, leaf)


KerasTensor.recorder = staticmethod(record)
