"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

from fastconv import ops
from fastconv.errors import ArgumentError
from fastconv.graph.variable import Variable
from fastconv.optimizers.base import Optimizer, Schedule

__all__ = ["SGD"]


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum.

    Formula, with learning rate ``a`` and momentum ``m``: ``w <- w - a g``; with
    momentum ``v <- m v - a g`` and ``w <- w + v``, or with nesterov ``w <- w + m v - a
    g``.

    Parameters
    ----------
    learning_rate: default 0.01; see `Optimizer`.
    momentum: in [0, 1], default 0, or a schedule or function of the step
        number, such as the ``mu(t)`` of Sutskever et al.
    nesterov: Nesterov's momentum; default False.
    options: weight_decay, clipnorm, use_ema, name and others: see `Optimizer`.

    Raises
    ------
    ArgumentError if the momentum is not in [0, 1].

    Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum
    in deep learning", ICML 2013, section 2.

    >>> import fastconv as fc
    >>> fc.optimizers.SGD(0.1, momentum=0.9)
    <SGD learning_rate=0.1>
    """

    def __init__(
        self,
        learning_rate: float | Schedule = 0.01,
        momentum: float | Schedule = 0.0,
        nesterov: bool = False,
        **options: Any,
    ) -> None:
        self.slots = () if momentum == 0 else ("velocity",)
        super().__init__(learning_rate, **options)
        self.nesterov = bool(nesterov)
        self.momentum = momentum

    @property
    def momentum(self) -> float:
        """The momentum in force; assign a number, or a function of the step."""
        return self._numbers["momentum"]

    @momentum.setter
    def momentum(self, value: float | Schedule) -> None:
        if isinstance(value, int | float) and not 0.0 <= value <= 1.0:
            raise ArgumentError(f"momentum: expected a number in [0, 1], got {value!r}")
        if value != 0 and not self.slots:
            raise ArgumentError(
                "momentum: this SGD was made without momentum and keeps no velocity; "
                "make it with SGD(momentum=...)"
            )
        self._follow("momentum", value)

    def scalars(self, rate: float) -> list[float]:
        """Learning rate and momentum."""
        return [rate, self.momentum]

    def update(
        self, weights: Any, gradients: Any, hyper: Variable, **slots: Variable
    ) -> tuple[Any, dict[str, Any]]:
        """One `fastconv.ops.sgd`."""
        if not slots:
            return ops.sgd(weights, gradients, hyper), {}
        velocity = slots["velocity"]
        new, state = ops.sgd(weights, gradients, hyper, velocity, self.nesterov)
        return new, {"velocity": state}
