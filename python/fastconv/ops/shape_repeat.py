"""Copies side by side, swapped axes, and arrays in and out: made of shape.py's ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.errors import ArgumentError
from fastconv.execution.eager import op
from fastconv.graph.ir import Tensor, dtype_name
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor, is_symbolic
from fastconv.ops.elementwise import cast
from fastconv.ops.shape import (
    broadcast_to,
    expand_dims,
    normal_axis,
    reshape,
    squeeze,
    transpose,
)
from fastconv.ops.shape_slice import concatenate, split


@op
def swapaxes(x: Any, axis1: int, axis2: int) -> Tensor:
    """``x`` with two axes in each other's place.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.ops.swapaxes(np.zeros((2, 3, 4)), 0, -1).shape
    (4, 3, 2)
    """
    x = as_tensor(x)
    a, b = (normal_axis("swapaxes", axis, x.ndim) for axis in (axis1, axis2))
    order = list(range(x.ndim))
    order[a], order[b] = b, a
    return transpose(x, order)


@op
def ravel(x: Any) -> Tensor:
    """All elements in one axis, in row-major order; `flatten` keeps the first axis.

    >>> import fastconv as fc
    >>> fc.ops.ravel([[1.0, 2.0], [3.0, 4.0]])
    array([1., 2., 3., 4.], dtype=float32)
    """
    return reshape(x, (-1,))


@op
def repeat(x: Any, repeats: int, axis: int | None = None) -> Tensor:
    """Each element ``repeats`` times, one after the other.

    Parameters
    ----------
    x: tensor of any shape.
    repeats: >= 1, the same for all elements.
    axis: default none, which repeats the elements of `ravel`.

    Raises
    ------
    ArgumentError for another number of copies.

    >>> import fastconv as fc
    >>> fc.ops.repeat([1.0, 2.0], 2)
    array([1., 1., 2., 2.], dtype=float32)
    """
    _check_copies("repeat", repeats)
    x = ravel(x) if axis is None else as_tensor(x)
    i = normal_axis("repeat", 0 if axis is None else axis, x.ndim)
    before, after = x.shape[: i + 1], x.shape[i + 1 :]
    copies = broadcast_to(expand_dims(x, i + 1), (*before, repeats, *after))
    return reshape(copies, (*x.shape[:i], x.shape[i] * repeats, *after))


@op
def tile(x: Any, repeats: Any) -> Tensor:
    """Copies of the whole tensor side by side: ``repeats[i]`` along axis i.

    repeats: a number, or one an axis, >= 1; fewer than axes are those of the last axes,
        more give axes in front.

    Raises
    ------
    ArgumentError for other numbers.

    >>> import fastconv as fc
    >>> fc.ops.tile([1.0, 2.0], 2)
    array([1., 2., 1., 2.], dtype=float32)
    """
    x = as_tensor(x)
    counts = list(repeats) if isinstance(repeats, list | tuple) else [repeats]
    for count in counts:
        _check_copies("tile", count)
    x = reshape(x, ((1,) * (len(counts) - x.ndim)) + x.shape)
    counts = [1] * (x.ndim - len(counts)) + counts
    for axis, count in enumerate(counts):
        if count > 1:
            x = concatenate([x] * count, axis)
    return x


@op
def unstack(x: Any, num: int | None = None, axis: int = 0) -> list[Tensor]:
    """The parts along an axis, as a list, without that axis: `stack` undone.

    num: how many there are, if it is to be checked.

    >>> import fastconv as fc
    >>> fc.ops.unstack([[1.0, 2.0], [3.0, 4.0]])
    [array([1., 2.], dtype=float32), array([3., 4.], dtype=float32)]
    """
    x = as_tensor(x)
    i = normal_axis("unstack", axis, x.ndim)
    if num not in (None, x.shape[i]):
        raise ArgumentError(
            f"{who('unstack')}: expected {x.shape[i]} parts along axis {axis} of a "
            f"tensor of shape {x.shape}, received num={num!r}"
        )
    return [squeeze(part, i) for part in split(x, x.shape[i], i)]


def shape(x: Any) -> tuple[int, ...]:
    """The shape of a tensor or array, as a tuple.

    >>> import fastconv as fc
    >>> fc.ops.shape([[1.0, 2.0]])
    (1, 2)
    """
    return tuple(x.shape if hasattr(x, "shape") else np.shape(x))


def arange(
    start: float, stop: float | None = None, step: float = 1, dtype: Any = None
) -> np.ndarray:
    """Numbers from ``start`` (0 if only one is given) to before ``stop``.

    dtype: default int32 for whole numbers, else float32.

    >>> import fastconv as fc
    >>> fc.ops.arange(3)
    array([0, 1, 2], dtype=int32)
    """
    first, last = (0, start) if stop is None else (start, stop)
    whole = all(isinstance(v, int | np.integer) for v in (first, last, step))
    name = dtype_name(dtype or ("int32" if whole else "float32"))
    return np.arange(first, last, step).astype(name)


def convert_to_tensor(x: Any, dtype: Any = None) -> Any:
    """``x`` as a tensor inside a traced function, else as an array.

    >>> import fastconv as fc
    >>> fc.ops.convert_to_tensor([1, 2], "float32")
    array([1., 2.], dtype=float32)
    """
    if is_symbolic(x) or hasattr(x, "__fastconv_op__"):
        return x if dtype is None else cast(x, dtype)
    array = np.asarray(x)
    narrow = dtype is None and array.dtype == np.float64
    return array.astype("float32" if narrow else dtype_name(dtype or array.dtype))


def convert_to_numpy(x: Any) -> np.ndarray:
    """The value of a variable or array as an array of its own.

    Raises
    ------
    ArgumentError for a tensor of a traced function or model, which has no value yet.

    >>> import fastconv as fc
    >>> fc.ops.convert_to_numpy(fc.Variable([1.0]))
    array([1.], dtype=float32)
    """
    if isinstance(x, Tensor) or hasattr(x, "__fastconv_op__"):
        raise ArgumentError(
            f"convert_to_numpy: {x!r} has no value while a function is traced or a "
            "model described; fastconv.ops.callback calls NumPy code in a plan"
        )
    return np.array(x)


def _check_copies(name: str, count: Any) -> None:
    if isinstance(count, bool) or not hasattr(count, "__index__") or count < 1:
        raise ArgumentError(
            f"{who(name)}: expected copies, integers >= 1, received {count!r}"
        )
