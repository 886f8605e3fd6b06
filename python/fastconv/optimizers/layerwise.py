"""Optimisers for large batches: the rate of each weight follows from norms."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from fastconv import ops
from fastconv.graph.variable import Variable
from fastconv.optimizers.adaptive import Moments
from fastconv.optimizers.base import Schedule
from fastconv.optimizers.sgd import SGD

__all__ = ["LARS", "Lamb"]


class LARS(SGD):
    """Layer-wise adaptive rate scaling: SGD with momentum for large batches.

    Formula, for each weight ``w`` of two and more axes, with trust coefficient ``c``
    and weight decay ``d``: ``r = c |w| / (|g| + d |w| + epsilon)``,
    ``v <- m v - a r (g + d w)`` and ``w <- w + v``, or with nesterov
    ``w <- w + m v - a r (g + d w)``. Where ``|w|`` or ``|g|`` is 0, and for weights of
    one axis (biases, those of normalisations), ``r = 1``; the latter do not decay.

    Parameters
    ----------
    learning_rate: default 0.01; see `Optimizer`. Large: ``r`` is near 0.001.
    momentum: in [0, 1], default 0.9, or a schedule.
    nesterov: Nesterov's momentum; default False.
    trust_coefficient: default 0.001.
    epsilon: default 0.
    options: weight_decay (of this formula: part of the gradient, not apart from it),
        clipnorm, use_ema, name and others: see `Optimizer`.

    Raises
    ------
    ArgumentError for a number out of range.

    You, Gitman, Ginsburg, "Large batch training of convolutional networks", 2017,
    section 4 and algorithm 1.

    >>> import fastconv as fc
    >>> fc.optimizers.LARS(2.0, weight_decay=5e-4)
    <LARS learning_rate=2>
    """

    fused_decay: ClassVar[bool] = True
    layerwise: ClassVar[bool] = True
    trust_coefficient: float
    epsilon: float

    def __init__(
        self,
        learning_rate: float | Schedule = 0.01,
        momentum: float | Schedule = 0.9,
        nesterov: bool = False,
        trust_coefficient: float = 0.001,
        epsilon: float = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(learning_rate, momentum, nesterov, **options)
        self._keep(trust_coefficient=trust_coefficient, epsilon=epsilon)

    def update(
        self, weights: Any, gradients: Any, hyper: Variable, **slots: Variable
    ) -> tuple[Any, dict[str, Any]]:
        """One `fastconv.ops.sgd`, on the scaled gradient."""
        if weights.ndim > 1:
            decay = self.weight_decay or 0.0
            size, slope = _norm(weights), _norm(gradients)
            full = slope + size * decay + self.epsilon
            ratio = _ratio(size * self.trust_coefficient, full, size, slope)
            gradients = (gradients + weights * decay) * ratio
        return super().update(weights, gradients, hyper, **slots)


class Lamb(Moments):
    """Adam with a rate for each weight from its norm, for large batches.

    Formula, in step ``t`` from 1: ``m`` and ``v`` as in `Adam`, for each weight
    ``u = m / (1 - beta_1^t) / (sqrt(v / (1 - beta_2^t)) + epsilon)`` and
    ``w <- w - a (|w| / |u|) u``; where ``|w|`` or ``|u|`` is 0, ``w <- w - a u``.
    Weight decay comes before and apart, as in Keras; the paper adds it to ``u``.

    Parameters
    ----------
    learning_rate: default 0.001; see `Optimizer`.
    beta_1, beta_2: in [0, 1), default 0.9 and 0.999.
    epsilon: default 1e-7.
    options: weight_decay, clipnorm, use_ema, name and others: see `Optimizer`.

    Raises
    ------
    ArgumentError for a number out of range.

    You et al., "Large batch optimization for deep learning: training BERT in 76
    minutes", ICLR 2020, algorithm 2.

    >>> import fastconv as fc
    >>> fc.optimizers.Lamb(0.01)
    <Lamb learning_rate=0.01>
    """

    fused_decay: ClassVar[bool] = False
    layerwise: ClassVar[bool] = True
    n_scalars: ClassVar[int] = 8
    slots = ("momentum", "velocity")

    def scalars(self, rate: float) -> list[float]:
        """The rate, and what `fastconv.ops.adam` needs to give ``-u``."""
        first, second = self._corrections()
        rests = (1.0 - self.beta_1, 1.0 - self.beta_2)
        adam = [1.0 / first, 0.0, 0.0, *rests, 1.0 / math.sqrt(second), self.epsilon]
        return [rate, *adam]

    def update(
        self, weights: Any, gradients: Any, hyper: Variable, **slots: Variable
    ) -> tuple[Any, dict[str, Any]]:
        """One `fastconv.ops.adam` from 0, and the step of the right length."""
        start = ops.zeros(weights.shape)
        move, *states = ops.adam(start, gradients, hyper[1:], **slots)
        size, length = _norm(weights), _norm(move)
        step = _ratio(size, length, size, length) * hyper[0]
        return weights + move * step, dict(zip(slots, states, strict=True))


def _norm(x: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(x)))


def _ratio(top: Any, bottom: Any, *norms: Any) -> Any:
    """``top / bottom``, and 1 where one of the norms is 0."""
    both = ops.minimum(*norms) > 0.0
    return ops.where(both, top / ops.where(both, bottom, 1.0), 1.0)
