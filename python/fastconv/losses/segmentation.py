"""Losses of overlapping regions: Dice, Tversky."""

from __future__ import annotations

from typing import Any

from fastconv import ops
from fastconv.execution.eager import op
from fastconv.graph.ir import Tensor
from fastconv.losses.base import EPSILON, Known, agreeing


@op
def dice(y_true: Any, y_pred: Any, axis: Any = None) -> Tensor:
    """``1 - 2 sum(y p) / (sum y + sum p + 1e-7)`` over axes, all by default.

    >>> import fastconv as fc
    >>> float(fc.losses.dice([[0.0, 1.0]], [[0.0, 0.5]]))
    0.3333...
    """
    y, p = agreeing("dice", y_true, y_pred)
    common = ops.sum(y * p, axis=axis)
    both = ops.sum(y, axis=axis) + ops.sum(p, axis=axis)
    return 1.0 - common * 2.0 / (both + EPSILON)


@op
def tversky(
    y_true: Any, y_pred: Any, alpha: float = 0.5, beta: float = 0.5, axis: Any = None
) -> Tensor:
    """``1 - tp / (tp + alpha sum y (1 - p) + beta sum p (1 - y) + 1e-7)``.

    >>> import fastconv as fc
    >>> float(fc.losses.tversky([[0.0, 1.0]], [[0.0, 0.5]]))
    0.3333...
    """
    y, p = agreeing("tversky", y_true, y_pred)
    common = ops.sum(y * p, axis=axis)
    only_y = ops.sum((1.0 - p) * y, axis=axis)
    only_p = ops.sum(p * (1.0 - y), axis=axis)
    return 1.0 - common / (common + only_y * alpha + only_p * beta + EPSILON)


class Dice(Known):
    """One minus the Dice coefficient ``2 sum(y p) / (sum y + sum p + 1e-7)``.

    Parameters
    ----------
    axis: a number or several to sum over; default all, so the batch has one value.
        ``axis=(1, 2, 3)`` gives one an image; sample weights need that.

    Shapes: predictions in [0, 1] of any shape, targets the same. Two empty regions
    cost 1, as in Keras. Milletari et al., "V-Net", 3DV 2016, section 3.

    >>> import fastconv as fc
    >>> float(fc.losses.Dice()([[0.0, 1.0]], [[0.0, 0.5]]))
    0.3333...
    """

    formula = dice

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "dice",
        axis: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(reduction, name, dtype, axis=_plain(axis))


class Tversky(Known):
    """One minus the Tversky index: a Dice that prices the two kinds of error apart.

    ``1 - tp / (tp + alpha sum y (1 - p) + beta sum p (1 - y) + 1e-7)``, tp = sum(y p).

    Parameters
    ----------
    alpha: the price of what is missed (targets not predicted), as Keras computes it;
        default 0.5.
    beta: the price of what is predicted wrongly; default 0.5 (both: Dice).
    axis: as for `Dice`.

    Shapes: predictions in [0, 1] of any shape, targets the same. Salehi et al.,
    "Tversky loss function for image segmentation", MLMI 2017, section 2.

    >>> import fastconv as fc
    >>> float(fc.losses.Tversky(alpha=1.0)([[0.0, 1.0]], [[0.0, 0.5]]))
    0.5...
    """

    formula = tversky

    def __init__(
        self,
        alpha: float = 0.5,
        beta: float = 0.5,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = "tversky",
        axis: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(
            reduction, name, dtype, alpha=alpha, beta=beta, axis=_plain(axis)
        )


def _plain(axis: Any) -> Any:
    """Axes as a number or a list, which can be saved."""
    return axis if axis is None or isinstance(axis, int) else list(axis)
