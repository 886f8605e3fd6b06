"""Values that are known before the model runs: what shapes are made of, in NumPy.

The size of the batch is open, so a value is a pair, for a batch of 2 and of 3: what
differs follows the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from fastconv.errors import FormatError

__all__ = ["BATCHES", "FOLDED", "LARGEST", "fold"]

BATCHES = (2, 3)
LARGEST = 1 << 24  # elements of a value that is worked out


def fold(op: str, node: Any, arrays: list[Any]) -> Any:
    """The result of an operator on arrays; node: its `NodeView`."""
    made = FOLDED[op](node, *arrays)
    if isinstance(made, list):
        return [np.asarray(part) for part in made]
    return np.asarray(made)


def _axes(node: Any, given: Any) -> tuple[int, ...]:
    axes = node.attrs.get("axes") if given is None else given.reshape(-1).tolist()
    return () if axes is None else tuple(int(a) for a in axes)


def _squeeze(node: Any, x: Any, axes: Any = None) -> Any:
    return np.squeeze(x, _axes(node, axes) or None)


def _unsqueeze(node: Any, x: Any, axes: Any = None) -> Any:
    return np.expand_dims(x, _axes(node, axes))


def _slice(
    node: Any, x: Any, starts: Any = None, ends: Any = None, axes: Any = None,
    steps: Any = None,
) -> Any:  # fmt: skip
    starts, ends = (
        node.attrs[name] if given is None else given.tolist()
        for name, given in (("starts", starts), ("ends", ends))
    )
    places = _axes(node, axes) or range(len(starts))
    steps = [1] * len(starts) if steps is None else steps.tolist()
    key = [slice(None)] * x.ndim
    for axis, *part in zip(places, starts, ends, steps, strict=True):
        key[axis] = slice(*_limits(*part))
    return x[tuple(key)]


def _limits(start: int, end: int, step: int) -> tuple[int, int | None, int]:
    """An end before the first element is None for Python."""
    return start, None if step < 0 and end < -(1 << 30) else end, step


def _reshape(node: Any, x: Any, shape: Any) -> Any:
    zero = node.attrs.get("allowzero", 0)
    sizes = [
        x.shape[i] if n == 0 and not zero and i < x.ndim else int(n)
        for i, n in enumerate(shape)
    ]
    return x.reshape(sizes)


def _filled(node: Any, shape: Any) -> Any:
    value = node.attrs.get("value")
    value = np.zeros(1, np.float32) if value is None else value
    sizes = _small(tuple(int(n) for n in shape))
    return np.full(sizes, value.reshape(()), value.dtype)


def _small(shape: tuple[int, ...]) -> tuple[int, ...]:
    if min(shape, default=0) < 0 or prod(shape) > LARGEST:
        raise FormatError(f"a constant of shape {shape}")
    return shape


def _expand(node: Any, x: Any, shape: Any) -> Any:
    sizes = np.broadcast_shapes(x.shape, tuple(int(n) for n in shape))
    return np.broadcast_to(x, _small(sizes))


def _tile(node: Any, x: Any, repeats: Any) -> Any:
    _small(tuple(int(n) * s for n, s in zip(repeats, x.shape, strict=True)))
    return np.tile(x, repeats)


def _range(node: Any, start: Any, limit: Any, step: Any) -> Any:
    _small((max(int((limit - start) / step) + 1, 0),))
    first, last, by = start.item(), limit.item(), step.item()
    return np.arange(first, last, by).astype(start.dtype)


def _divide(node: Any, a: Any, b: Any) -> Any:
    if np.asarray(a).dtype.kind != "i":
        return a / b
    return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)


def _reduced(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(node: Any, x: Any, axes: Any = None) -> Any:
        keep = bool(node.attrs.get("keepdims", 1))
        return function(x, axis=_axes(node, axes) or None, keepdims=keep)

    return reduce


def _plain(function: Callable[..., Any]) -> Callable[..., Any]:
    def apply(node: Any, *arrays: Any) -> Any:
        _small(np.broadcast_shapes(*(np.shape(a) for a in arrays)))
        return function(*arrays)

    return apply


def _concat(node: Any, *arrays: Any) -> Any:
    _small((sum(a.size for a in arrays),))
    return np.concatenate(arrays, node.attrs["axis"])


def _gather(node: Any, x: Any, index: Any) -> Any:
    axis = node.attrs.get("axis", 0)
    _small((x.size // max(x.shape[axis], 1) * index.size,))
    return np.take(x, index, axis)


def _split(node: Any, x: Any, sizes: Any = None) -> list[Any]:
    axis = node.attrs.get("axis", 0)
    given = node.attrs.get("split") if sizes is None else sizes.tolist()
    parts = np.cumsum(given)[:-1] if given is not None else len(node.outputs)
    return np.array_split(x, parts, axis)


FOLDED: dict[str, Callable[..., Any]] = {
    "Add": _plain(np.add), "Sub": _plain(np.subtract), "Mul": _plain(np.multiply),
    "Div": _divide, "Min": _plain(np.minimum), "Max": _plain(np.maximum),
    "Mod": _plain(np.mod), "Neg": _plain(np.negative), "Abs": _plain(np.abs),
    "Pow": _plain(np.power), "Sqrt": _plain(np.sqrt), "Exp": _plain(np.exp),
    "Floor": _plain(np.floor), "Ceil": _plain(np.ceil), "Round": _plain(np.round),
    "Reciprocal": _plain(np.reciprocal), "Equal": _plain(np.equal),
    "Greater": _plain(np.greater), "Less": _plain(np.less), "Not": _plain(np.invert),
    "And": _plain(np.logical_and), "Or": _plain(np.logical_or),
    "Where": _plain(np.where), "Identity": lambda node, x: x, "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze, "Slice": _slice, "Reshape": _reshape, "Split": _split,
    "ConstantOfShape": _filled, "Expand": _expand, "Tile": _tile, "Range": _range,
    "ReduceProd": _reduced(np.prod), "ReduceSum": _reduced(np.sum),
    "ReduceMax": _reduced(np.max), "ReduceMin": _reduced(np.min),
    "Concat": _concat, "Gather": _gather,
    "Transpose": lambda node, x: np.transpose(x, node.attrs.get("perm")),
    "Cast": lambda node, x: x.astype(node.dtype()),
    "Size": lambda node, x: np.int64(x.size),
}  # fmt: skip
