"""Dropout."""

from __future__ import annotations

from typing import Any

from fastconv._core import DropoutAttrs, OpKind
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Spec, Tensor, emit, register
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor
from fastconv.ops.random import check_state, next_stream


@op
def dropout(x: Any, rate: float, random: Any, stream: int | None = None) -> Tensor:
    """Zeroes elements at random and scales up the others, so that the mean stays.

    Formula: ``y = x keep / (1 - rate)``, where ``keep`` is 1 with probability
    ``1 - rate``. Element ``i`` is kept if ``w >> 8 >= ceil(rate 2^24)``, where ``w`` is
    word ``i mod 4`` of Philox4x32-10 for the counter (``i // 4`` low, ``i // 4`` high,
    step low, stream) and the key (seed low, seed high): the same on every device.

    Parameters
    ----------
    x: any shape, floating.
    rate: fraction to drop, 0 <= rate < 1 (taken as a float32).
    random: int64 of shape (2,): seed and step.
    stream: tells the dropouts of one function apart, below 2^32; by default they are
        counted as they are traced, from 2^30 on.

    Returns
    -------
    Tensor of the shape of ``x``.

    Raises
    ------
    ArgumentError for a rate outside [0, 1); ShapeError or DtypeError for ``random``.

    Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout", JMLR 15 (2014),
    section 4. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> fc.ops.dropout(np.ones(6, np.float32), 0.5, np.array([7, 0]))
    array([2., 2., 2., 2., 0., 2.], dtype=float32)
    """
    x, random = as_tensor(x), as_tensor(random)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise ArgumentError(
            f"{who('dropout')}: expected 0 <= rate < 1, received {rate!r}"
        )
    if "float" not in x.dtype:
        raise DtypeError(
            f"{who('dropout')}: expected a floating input, received {x.dtype}"
        )
    check_state("dropout", random)
    attrs = DropoutAttrs(rate=rate, stream=next_stream() if stream is None else stream)
    if attrs.rate >= 1:
        raise ArgumentError(f"{who('dropout')}: rate {rate!r} is 1 as a float32")
    return emit(OpKind.dropout, attrs, x, random)[0]


def _shape(_: DropoutAttrs, src: Tensor, _random: Tensor) -> list[Spec]:
    return [(src.shape, src.dtype), (src.shape, "uint8")]


def _backward_shape(_: DropoutAttrs, ddst: Tensor, mask: Tensor) -> list[Spec]:
    if mask.shape != ddst.shape:
        raise ShapeError(
            f"{who('dropout_backward')}: expected a mask of shape {ddst.shape}, "
            "received "
            f"{mask.shape}"
        )
    return [(ddst.shape, ddst.dtype)]


def _gradient(node: Node, dy: Tensor | None, _: Tensor | None) -> list[Tensor | None]:
    if dy is None:
        return [None, None]
    return [emit(OpKind.dropout_backward, node.attrs, dy, node.outputs[1])[0], None]


def _second(node: Node, ddx: Tensor) -> list[Tensor | None]:
    return [emit(OpKind.dropout_backward, node.attrs, ddx, node.inputs[1])[0], None]


register(OpKind.dropout, Rule(_shape, _gradient))
register(OpKind.dropout_backward, Rule(_backward_shape, _second))
