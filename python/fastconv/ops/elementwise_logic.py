"""Truth values and rounding, made of the ops in elementwise.py.

Truth is 1 and falsehood 0, in the dtype of the operands, as in `equal`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.errors import ArgumentError
from fastconv.execution.eager import op
from fastconv.graph.ir import Tensor, dtype_name
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor
from fastconv.ops.elementwise import (
    abs,  # noqa: A004
    cast,
    equal,
    floor,
    maximum,
    minimum,
    negative,
    subtract,
)


@op
def not_equal(x1: Any, x2: Any) -> Tensor:
    """1 where ``x1 != x2``, else 0, in the dtype of the operands (see `add`).

    >>> import fastconv as fc
    >>> fc.ops.not_equal([1.0, 2.0], [1.0, 3.0])
    array([0., 1.], dtype=float32)
    """
    return logical_not(equal(x1, x2))


@op
def logical_not(x: Any) -> Tensor:
    """1 where ``x`` is 0, else 0.

    >>> import fastconv as fc
    >>> fc.ops.logical_not([0.0, 2.0])
    array([1., 0.], dtype=float32)
    """
    return equal(x, 0)


@op
def logical_and(x1: Any, x2: Any) -> Tensor:
    """1 where neither is 0, else 0; operands as in `add`.

    >>> import fastconv as fc
    >>> fc.ops.logical_and([1.0, 1.0], [0.0, 2.0])
    array([0., 1.], dtype=float32)
    """
    return minimum(_truth(x1), _truth(x2))


@op
def logical_or(x1: Any, x2: Any) -> Tensor:
    """1 where one of the two is not 0, else 0; operands as in `add`.

    >>> import fastconv as fc
    >>> fc.ops.logical_or([0.0, 0.0], [0.0, 2.0])
    array([0., 1.], dtype=float32)
    """
    return maximum(_truth(x1), _truth(x2))


@op
def logical_xor(x1: Any, x2: Any) -> Tensor:
    """1 where exactly one of the two is not 0, else 0; operands as in `add`.

    >>> import fastconv as fc
    >>> fc.ops.logical_xor([1.0, 1.0], [0.0, 2.0])
    array([1., 0.], dtype=float32)
    """
    return abs(subtract(_truth(x1), _truth(x2)))


@op
def isnan(x: Any) -> Tensor:
    """1 where ``x`` is NaN, else 0.

    >>> import fastconv as fc
    >>> fc.ops.isnan([0.0, float("nan")])
    array([0., 1.], dtype=float32)
    """
    x = as_tensor(x)
    return not_equal(x, x)


@op
def ceil(x: Any) -> Tensor:
    """The smallest whole number that is not below ``x``. No gradient.

    >>> import fastconv as fc
    >>> fc.ops.ceil([1.2, -1.2])
    array([ 2., -1.], dtype=float32)
    """
    return negative(floor(negative(x)))


@op
def one_hot(
    x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False
) -> Tensor:
    """Class numbers as rows: ``y[..., k] = 1 if x[...] == k else 0``.

    Parameters
    ----------
    x: whole numbers; those outside 0 .. num_classes - 1 give rows of zeros.
    num_classes: >= 1.
    axis: of the classes; only the last, -1.
    dtype: of the result; default "float32".
    sparse: only False.

    Raises
    ------
    ArgumentError for another axis, a sparse result or a bad number of classes.

    >>> import fastconv as fc
    >>> fc.ops.one_hot([0, 2], 3)
    array([[1., 0., 0.],
           [0., 0., 1.]], dtype=float32)
    """
    if not hasattr(num_classes, "__index__") or num_classes < 1:
        raise ArgumentError(
            f"{who('one_hot')}: expected num_classes >= 1, received {num_classes!r}"
        )
    x = as_tensor(x)
    if axis not in (-1, x.ndim) or sparse:
        raise ArgumentError(
            f"{who('one_hot')}: expected axis=-1 and sparse=False, received "
            f"axis={axis!r} and sparse={sparse!r}"
        )
    classes = np.arange(num_classes, dtype=np.float32)
    labels = cast(x, "float32")[..., None]
    return cast(equal(labels, classes), dtype_name(dtype or "float32"))


def _truth(x: Any) -> Tensor:
    """1 where ``x`` is not 0, as float32."""
    return not_equal(cast(x, "float32"), 0.0)
