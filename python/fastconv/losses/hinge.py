"""Hinge losses: what lies on the right side of a margin costs nothing."""

from __future__ import annotations

from typing import Any

from fastconv import ops
from fastconv.execution.eager import op
from fastconv.graph.ir import Tensor
from fastconv.losses.base import Known, agreeing


def _margins(name: str, y_true: Any, y_pred: Any) -> Tensor:
    """``max(1 - y p, 0)``; targets that are all 0 or 1 become -1 and 1."""
    y, p = agreeing(name, y_true, y_pred)
    if y.size:
        binary = ops.min(ops.equal(y, 0.0) + ops.equal(y, 1.0))
        y = ops.where(binary, y * 2.0 - 1.0, y)
    return ops.maximum(1.0 - y * p, 0.0)


@op
def hinge(y_true: Any, y_pred: Any) -> Tensor:
    """``mean_c max(1 - y_c p_c, 0)``, shape (...); see `Hinge`.

    >>> import fastconv as fc
    >>> fc.losses.hinge([[1.0, -1.0]], [[0.5, -2.0]])
    array([0.25], dtype=float32)
    """
    return ops.mean(_margins("hinge", y_true, y_pred), axis=-1)


@op
def squared_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """``mean_c max(1 - y_c p_c, 0)^2``, shape (...); see `SquaredHinge`.

    >>> import fastconv as fc
    >>> fc.losses.squared_hinge([[1.0, -1.0]], [[0.5, -2.0]])
    array([0.125], dtype=float32)
    """
    return ops.mean(ops.square(_margins("squared_hinge", y_true, y_pred)), axis=-1)


@op
def categorical_hinge(y_true: Any, y_pred: Any) -> Tensor:
    """``max(max_c((1 - y_c) p_c) - sum_c(y_c p_c) + 1, 0)``, shape (...).

    >>> import fastconv as fc
    >>> fc.losses.categorical_hinge([[0.0, 1.0]], [[0.25, 0.5]])
    array([0.75], dtype=float32)
    """
    y, p = agreeing("categorical_hinge", y_true, y_pred)
    right = ops.sum(y * p, axis=-1)
    wrong = ops.max((1.0 - y) * p, axis=-1)
    return ops.maximum(wrong - right + 1.0, 0.0)


class Hinge(Known):
    """The mean of ``max(1 - y_true y_pred, 0)``.

    Shapes: predictions (N, ..., C), targets the same, -1 or 1; a batch of targets that
    are all 0 or 1 is taken as -1 and 1. Cortes and Vapnik, "Support-vector networks",
    Machine Learning 20, 1995, section 3.

    >>> import fastconv as fc
    >>> float(fc.losses.Hinge()([[1.0, -1.0]], [[0.5, -2.0]]))
    0.25
    """

    formula = hinge


class SquaredHinge(Known):
    """The mean of ``max(1 - y_true y_pred, 0)^2``; shapes and targets as `Hinge`.

    >>> import fastconv as fc
    >>> float(fc.losses.SquaredHinge()([[1.0, -1.0]], [[0.5, -2.0]]))
    0.125
    """

    formula = squared_hinge


class CategoricalHinge(Known):
    """The mean of ``max(wrong - right + 1, 0)``: the best wrong score, the right one.

    ``right = sum_c y_c p_c``, ``wrong = max_c (1 - y_c) p_c``. Shapes: predictions
    (N, ..., C), targets (one-hot) the same.

    >>> import fastconv as fc
    >>> float(fc.losses.CategoricalHinge()([[0.0, 1.0]], [[0.25, 0.5]]))
    0.75
    """

    formula = categorical_hinge
