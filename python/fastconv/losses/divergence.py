"""Losses of distributions and counts: Kullback-Leibler, Poisson."""

from __future__ import annotations

from typing import Any

from fastconv import ops
from fastconv.execution.eager import op
from fastconv.graph.ir import Tensor
from fastconv.losses.base import EPSILON, Known, agreeing


@op
def kl_divergence(y_true: Any, y_pred: Any) -> Tensor:
    """``sum_c y_c log(y_c / p_c)``, both within [1e-7, 1]; shape (...).

    >>> import fastconv as fc
    >>> fc.losses.kl_divergence([[0.0, 1.0]], [[0.5, 0.5]])
    array([0.69314...], dtype=float32)
    """
    both = agreeing("kl_divergence", y_true, y_pred)
    y, p = (ops.clip(t, EPSILON, 1.0) for t in both)
    return ops.sum(y * ops.log(y / p), axis=-1)


@op
def poisson(y_true: Any, y_pred: Any) -> Tensor:
    """``mean_c(p_c - y_c log(p_c + 1e-7))``, shape (...).

    >>> import fastconv as fc
    >>> fc.losses.poisson([[2.0, 0.0]], [[1.0, 3.0]])
    array([1.999...], dtype=float32)
    """
    y, p = agreeing("poisson", y_true, y_pred)
    return ops.mean(p - y * ops.log(p + EPSILON), axis=-1)


class KLDivergence(Known):
    """The Kullback-Leibler divergence ``sum_c y_c log(y_c / p_c)``.

    Shapes: predictions (N, ..., C), targets the same, both distributions; values are
    kept within [1e-7, 1]. Other name: "kld". Kullback and Leibler, "On information and
    sufficiency", Annals of Mathematical Statistics 22, 1951.

    >>> import fastconv as fc
    >>> float(fc.losses.KLDivergence()([[0.0, 1.0]], [[0.5, 0.5]]))
    0.6931...
    """

    formula = kl_divergence


class Poisson(Known):
    """The mean of ``y_pred - y_true log(y_pred + 1e-7)``, for counts.

    Shapes: predictions (N, ..., C), >= 0, targets the same.

    >>> import fastconv as fc
    >>> float(fc.losses.Poisson()([[2.0]], [[1.0]]))
    0.9999...
    """

    formula = poisson
