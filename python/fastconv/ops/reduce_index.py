"""Reductions made of those in reduce.py: where the extremes are, spread, truth."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastconv.execution.eager import op
from fastconv.graph.ir import Tensor
from fastconv.ops.elementwise import (
    add,
    cast,
    equal,
    exp,
    floating,
    log,
    sqrt,
    subtract,
    where,
)
from fastconv.ops.elementwise_fill import stop_gradient
from fastconv.ops.elementwise_logic import not_equal
from fastconv.ops.reduce import (
    max,  # noqa: A004
    min,  # noqa: A004
    sum,  # noqa: A004
    variance,
)
from fastconv.ops.shape import normal_axis, reshape


@op
def argmax(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the largest element along an axis is; the first of several. No gradient.

    Parameters
    ----------
    x: floating-point tensor.
    axis: a number; default all elements, in row-major order.
    keepdims: whether the axis stays, with size 1.

    Returns
    -------
    int32; the size of the axis where all is NaN.

    >>> import fastconv as fc
    >>> fc.ops.argmax([[1.0, 5.0, 2.0]], axis=-1)
    array([1], dtype=int32)
    """
    return _where(max, x, axis, keepdims)


@op
def argmin(x: Any, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the smallest element along an axis is; as `argmax`.

    >>> import fastconv as fc
    >>> fc.ops.argmin([[1.0, 5.0, 2.0]], axis=-1)
    array([0], dtype=int32)
    """
    return _where(min, x, axis, keepdims)


def _where(extreme: Any, x: Any, axis: int | None, keepdims: bool) -> Tensor:
    x = floating("argmax" if extreme is max else "argmin", x)
    kept = (1,) * x.ndim if keepdims else ()
    if axis is None:
        x = reshape(x, (prod(x.shape),))
        found = _where(extreme, x, 0, False)
        return reshape(found, kept)
    i = normal_axis("argmax", axis, x.ndim)
    size = x.shape[i]
    numbers = np.arange(size, dtype=np.float32).reshape(-1, *(1,) * (x.ndim - i - 1))
    among = equal(x, extreme(x, i, True))
    return cast(min(where(among, numbers, float(size)), i, keepdims), "int32")


@op
def std(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """Standard deviation, the square root of `variance`.

    >>> import fastconv as fc
    >>> fc.ops.std([1.0, 3.0])
    array(1., dtype=float32)
    """
    return sqrt(variance(x, axis, keepdims))


@op
def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` over axes, without overflow; arguments as in `sum`.

    >>> import fastconv as fc
    >>> round(float(fc.ops.logsumexp([1000.0, 1000.0])), 2)
    1000.69
    """
    x = floating("logsumexp", x)
    top = stop_gradient(max(x, axis, True))
    small = log(sum(exp(subtract(x, top)), axis, keepdims))
    return add(small, top if keepdims else reshape(top, small.shape))


@op
def any(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:  # noqa: A001
    """1 where an element along the axes is not 0, else 0, as float32.

    >>> import fastconv as fc
    >>> fc.ops.any([[0.0, 2.0], [0.0, 0.0]], axis=1)
    array([1., 0.], dtype=float32)
    """
    return max(not_equal(cast(x, "float32"), 0.0), axis, keepdims)


@op
def all(x: Any, axis: Any = None, keepdims: bool = False) -> Tensor:  # noqa: A001
    """1 where no element along the axes is 0, else 0, as float32.

    >>> import fastconv as fc
    >>> fc.ops.all([[1.0, 2.0], [0.0, 2.0]], axis=1)
    array([1., 0.], dtype=float32)
    """
    return min(not_equal(cast(x, "float32"), 0.0), axis, keepdims)
