"""Optimisers that adapt the rate of each weight: one fused op over the block each."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

from fastconv import ops
from fastconv.graph.variable import Variable
from fastconv.optimizers.base import Optimizer, Schedule, check_number

__all__ = [
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "Nadam",
    "RMSprop",
]


class Adaptive(Optimizer):
    """What they share: the op, and the decay ``learning_rate * weight_decay``."""

    fused_decay: ClassVar[bool] = True
    operation: ClassVar[Callable[..., Any]]
    rho: float
    momentum: float
    beta_1: float
    beta_2: float
    epsilon: float

    def _decay(self, rate: float) -> float:
        return rate * (self.weight_decay or 0.0)

    def update(
        self, weights: Any, gradients: Any, hyper: Variable, **slots: Variable
    ) -> tuple[Any, dict[str, Any]]:
        """One op of `fastconv.ops`."""
        new, *states = type(self).operation(weights, gradients, hyper, **slots)
        return new, dict(zip(slots, states, strict=True))


class RMSprop(Adaptive):
    """RMSprop: the gradient over the root of its running mean square.

    Formula: ``v <- rho v + (1 - rho) g^2`` and ``w <- w - a g / sqrt(v + epsilon)``;
    with momentum ``mu``: ``m <- mu m + a g / sqrt(v + epsilon)`` and ``w <- w - m``;
    centered: ``v - mean(g)^2`` in place of ``v``, with the running mean.

    Parameters
    ----------
    learning_rate: default 0.001; see `Optimizer`.
    rho: in [0, 1), default 0.9.
    momentum: default 0.
    epsilon: default 1e-7.
    centered: default False.
    options: weight_decay, clipnorm, use_ema, name and others: see `Optimizer`.

    Raises
    ------
    ArgumentError for a number out of range.

    Tieleman, Hinton, "Lecture 6.5, RMSProp", Coursera 2012; centered: Graves,
    "Generating sequences with recurrent neural networks", 2013.

    >>> import fastconv as fc
    >>> fc.optimizers.RMSprop(0.01, momentum=0.9)
    <RMSprop learning_rate=0.01>
    """

    n_scalars: ClassVar[int] = 6
    operation = ops.rmsprop

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        rho: float = 0.9,
        momentum: float = 0.0,
        epsilon: float = 1e-7,
        centered: bool = False,
        **options: Any,
    ) -> None:
        self._keep(1.0, rho=rho)
        self._keep(momentum=momentum, epsilon=epsilon)
        self.centered = bool(centered)
        wanted = {"velocity": True, "momentum": momentum, "average": centered}
        self.slots = tuple(name for name, there in wanted.items() if there)
        super().__init__(learning_rate, **options)

    def scalars(self, rate: float) -> list[float]:
        """Those of `fastconv.ops.rmsprop`."""
        rho = (self.rho, 1.0 - self.rho)
        return [rate, self._decay(rate), *rho, self.epsilon, self.momentum]


class Adagrad(Adaptive):
    """Adagrad: the gradient over the root of the sum of all its squares.

    Formula: ``s <- s + g^2`` and ``w <- w - a g / sqrt(s + epsilon)``.

    Parameters
    ----------
    learning_rate: default 0.001; see `Optimizer`.
    initial_accumulator_value: what ``s`` starts with; default 0.1.
    epsilon: default 1e-7.
    options: weight_decay, clipnorm, use_ema, name and others: see `Optimizer`.

    Raises
    ------
    ArgumentError for a number out of range.

    Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization", JMLR 12, 2011.

    >>> import fastconv as fc
    >>> fc.optimizers.Adagrad(0.01).initial_accumulator_value
    0.1
    """

    n_scalars: ClassVar[int] = 3
    slots = ("accumulator",)
    operation = ops.adagrad

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        initial_accumulator_value: float = 0.1,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        start = check_number("initial_accumulator_value", initial_accumulator_value)
        self.initial_accumulator_value = self.slot_start = start
        self._keep(epsilon=epsilon)
        super().__init__(learning_rate, **options)

    def scalars(self, rate: float) -> list[float]:
        """Those of `fastconv.ops.adagrad`."""
        return [rate, self._decay(rate), self.epsilon]


class Adadelta(Adaptive):
    """Adadelta: steps as large as the earlier ones were, per gradient.

    Formula: ``s <- rho s + (1 - rho) g^2``, ``d = g sqrt(u + epsilon) / sqrt(s +
    epsilon)``, ``u <- rho u + (1 - rho) d^2`` and ``w <- w - a d``.

    Parameters
    ----------
    learning_rate: default 0.001, as in Keras; the paper has 1. See `Optimizer`.
    rho: in [0, 1), default 0.95.
    epsilon: default 1e-7.
    options: weight_decay, clipnorm, use_ema, name and others: see `Optimizer`.

    Raises
    ------
    ArgumentError for a number out of range.

    Zeiler, "ADADELTA: an adaptive learning rate method", 2012.

    >>> import fastconv as fc
    >>> fc.optimizers.Adadelta(1.0).rho
    0.95
    """

    n_scalars: ClassVar[int] = 5
    slots = ("accumulated_grad", "accumulated_delta")
    operation = ops.adadelta

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        rho: float = 0.95,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        self._keep(1.0, rho=rho)
        self._keep(epsilon=epsilon)
        super().__init__(learning_rate, **options)

    def scalars(self, rate: float) -> list[float]:
        """Those of `fastconv.ops.adadelta`."""
        rho = (self.rho, 1.0 - self.rho)
        return [rate, self._decay(rate), *rho, self.epsilon]


class Moments(Adaptive):
    """The Adam family: betas, and bias corrections that count the steps."""

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        **options: Any,
    ) -> None:
        self._keep(1.0, beta_1=beta_1, beta_2=beta_2)
        self._keep(epsilon=epsilon)
        super().__init__(learning_rate, **options)

    def _corrections(self) -> tuple[float, float]:
        """``1 - beta^t`` of both, in the step that comes."""
        step = self.iterations + 1
        return 1.0 - self.beta_1**step, 1.0 - self.beta_2**step


class Adam(Moments):
    """Adam: the running mean of the gradient over the root of its mean square.

    Formula, in step ``t`` from 1: ``m <- m + (1 - beta_1) (g - m)``,
    ``v <- v + (1 - beta_2) (g^2 - v)`` and ``w <- w - a sqrt(1 - beta_2^t) /
    (1 - beta_1^t) m / (sqrt(v) + epsilon)``; with amsgrad the largest ``v`` so far.

    Parameters
    ----------
    learning_rate: default 0.001; see `Optimizer`.
    beta_1, beta_2: in [0, 1), default 0.9 and 0.999.
    epsilon: default 1e-7; the "epsilon hat" of the paper.
    amsgrad: default False.
    options: weight_decay, clipnorm, use_ema, name and others: see `Optimizer`.

    Raises
    ------
    ArgumentError for a number out of range.

    Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015; amsgrad: Reddi,
    Kale, Kumar, "On the convergence of Adam and beyond", ICLR 2018.

    >>> import fastconv as fc
    >>> fc.optimizers.get("adam")
    <Adam learning_rate=0.001>
    """

    n_scalars: ClassVar[int] = 7
    operation = ops.adam

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        self.amsgrad = bool(amsgrad)
        hat = ("velocity_hat",) if amsgrad else ()
        self.slots = ("momentum", "velocity", *hat)
        super().__init__(learning_rate, beta_1, beta_2, epsilon, **options)

    def scalars(self, rate: float) -> list[float]:
        """Those of `fastconv.ops.adam`."""
        first, second = self._corrections()
        step = rate * math.sqrt(second) / first
        rests = (1.0 - self.beta_1, 1.0 - self.beta_2)
        return [step, self._decay(rate), 0.0, *rests, 1.0, self.epsilon]


class AdamW(Adam):
    """Adam with weight decay, apart from the gradient.

    Formula: ``w <- (1 - a weight_decay) w``, then as `Adam`.

    Parameters
    ----------
    learning_rate: default 0.001; see `Optimizer`.
    weight_decay: default 0.004.
    beta_1, beta_2, epsilon, amsgrad: as `Adam`.
    options: clipnorm, use_ema, name and others: see `Optimizer`.

    Raises
    ------
    ArgumentError for a number out of range.

    Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019.

    >>> import fastconv as fc
    >>> fc.optimizers.AdamW().weight_decay
    0.004
    """

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        weight_decay: float = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        **options: Any,
    ) -> None:
        options["weight_decay"] = check_number("weight_decay", weight_decay)
        super().__init__(learning_rate, beta_1, beta_2, epsilon, amsgrad, **options)


class Adamax(Moments):
    """Adam with the largest absolute gradient in place of the mean square.

    Formula, in step ``t`` from 1: ``m <- m + (1 - beta_1) (g - m)``,
    ``u <- max(beta_2 u, |g|)`` and ``w <- w - a / (1 - beta_1^t) m / (u + epsilon)``.

    Parameters
    ----------
    learning_rate: default 0.001; see `Optimizer`.
    beta_1, beta_2: in [0, 1), default 0.9 and 0.999.
    epsilon: default 1e-7.
    options: weight_decay, clipnorm, use_ema, name and others: see `Optimizer`.

    Raises
    ------
    ArgumentError for a number out of range.

    Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015, section 7.1.

    >>> import fastconv as fc
    >>> fc.optimizers.Adamax()
    <Adamax learning_rate=0.001>
    """

    n_scalars: ClassVar[int] = 5
    slots = ("momentum", "norm")
    operation = ops.adamax

    def scalars(self, rate: float) -> list[float]:
        """Those of `fastconv.ops.adamax`."""
        step = rate / self._corrections()[0]
        return [step, self._decay(rate), 1.0 - self.beta_1, self.beta_2, self.epsilon]


class Nadam(Moments):
    """Adam with Nesterov's momentum.

    Formula, in step ``t`` from 1, with ``u(t) = beta_1 (1 - 0.96^t / 2)`` and ``U(t)``
    the product of ``u(1)`` to ``u(t)``: ``m`` and ``v`` as in `Adam`, ``n = u(t + 1) m
    / (1 - U(t + 1)) + (1 - u(t)) g / (1 - U(t))`` and ``w <- w - a n / (sqrt(v / (1 -
    beta_2^t)) + epsilon)``.

    Parameters
    ----------
    learning_rate: default 0.001; see `Optimizer`.
    beta_1, beta_2: in [0, 1), default 0.9 and 0.999.
    epsilon: default 1e-7.
    options: weight_decay, clipnorm, use_ema, name and others: see `Optimizer`.

    Raises
    ------
    ArgumentError for a number out of range.

    Dozat, "Incorporating Nesterov momentum into Adam", ICLR workshop 2016.

    >>> import fastconv as fc
    >>> fc.optimizers.Nadam()
    <Nadam learning_rate=0.001>
    """

    n_scalars: ClassVar[int] = 7
    slots = ("momentum", "velocity")
    operation = ops.adam
    _known = (0, 0.0, 1.0)  # step, beta_1, U(step): the product goes on from there

    def _u(self, step: int) -> float:
        return self.beta_1 * (1.0 - 0.5 * 0.96**step)

    def _product(self, step: int) -> float:
        """U(step)."""
        start, beta, product = self._known
        if start > step or beta != self.beta_1:
            start, product = 0, 1.0
        for i in range(start + 1, step + 1):
            product *= self._u(i)
            if product == 0.0:
                break
        self._known = (step, self.beta_1, product)
        return product

    def scalars(self, rate: float) -> list[float]:
        """Those of `fastconv.ops.adam`."""
        step = self.iterations + 1
        now, after = self._u(step), self._u(step + 1)
        product = self._product(step)
        momentum = rate * after / (1.0 - product * after)
        gradient = rate * (1.0 - now) / (1.0 - product)
        rests = (1.0 - self.beta_1, 1.0 - self.beta_2)
        scale = 1.0 / math.sqrt(self._corrections()[1])
        return [momentum, self._decay(rate), gradient, *rests, scale, self.epsilon]


class Lion(Adaptive):
    """Lion: the sign of the momentum; wants 3 to 10 times smaller rates than Adam.

    Formula: ``w <- w - a sign(beta_1 m + (1 - beta_1) g)``, then
    ``m <- beta_2 m + (1 - beta_2) g``.

    Parameters
    ----------
    learning_rate: default 0.001; see `Optimizer`.
    beta_1, beta_2: in [0, 1), default 0.9 and 0.99.
    options: weight_decay, clipnorm, use_ema, name and others: see `Optimizer`.

    Raises
    ------
    ArgumentError for a number out of range.

    Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023.

    >>> import fastconv as fc
    >>> fc.optimizers.Lion(1e-4)
    <Lion learning_rate=0.0001>
    """

    n_scalars: ClassVar[int] = 6
    slots = ("momentum",)
    operation = ops.lion

    def __init__(
        self,
        learning_rate: float | Schedule = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.99,
        **options: Any,
    ) -> None:
        self._keep(1.0, beta_1=beta_1, beta_2=beta_2)
        super().__init__(learning_rate, **options)

    def scalars(self, rate: float) -> list[float]:
        """Those of `fastconv.ops.lion`."""
        betas = (self.beta_1, 1.0 - self.beta_1, self.beta_2, 1.0 - self.beta_2)
        return [rate, self._decay(rate), *betas]
