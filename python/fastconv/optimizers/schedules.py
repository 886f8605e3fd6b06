"""Schedules: numbers that follow the step, as a learning rate or momentum does.

A schedule is a function of the step number (from 0). These are objects, so that they
are saved with a model; any other Python function does as well, and is saved as the
number that it gives at that moment.
"""

from __future__ import annotations

import bisect
import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

from fastconv import custom_objects as objects
from fastconv.errors import ArgumentError, unknown_name

__all__ = [
    "ConstantSchedule",
    "CosineDecay",
    "CosineDecayRestarts",
    "ExponentialDecay",
    "InverseTimeDecay",
    "LearningRateSchedule",
    "OneCycle",
    "PiecewiseConstantDecay",
    "PolynomialDecay",
    "StepDecay",
    "deserialize",
    "serialize",
]


class LearningRateSchedule:
    """Base class of schedules: keeps the arguments, and is called with the step.

    A new one takes arguments that are JSON-like, stores each under its own name, and
    writes ``__call__(step)``.

    >>> import fastconv as fc
    >>> class Halving(fc.optimizers.schedules.LearningRateSchedule):
    ...     def __init__(self, start):
    ...         self.start = start
    ...     def __call__(self, step):
    ...         return self.start / 2**step
    >>> Halving(1.0).get_config(), Halving(1.0)(2)
    ({'start': 1.0}, 0.25)
    """

    def __call__(self, step: int) -> float:
        """The value in a step."""
        raise ArgumentError(f"schedule {type(self).__name__} has no __call__(step)")

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {n: getattr(self, n) for n in inspect.signature(type(self)).parameters}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LearningRateSchedule:
        """A schedule from what `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({given})"


class ConstantSchedule(LearningRateSchedule):
    """Always ``value``.

    >>> from fastconv.optimizers import schedules
    >>> schedules.ConstantSchedule(0.1)(1000)
    0.1
    """

    def __init__(self, value: float) -> None:
        self.value = float(value)

    def __call__(self, step: int) -> float:
        """The value in a step."""
        return self.value


class ExponentialDecay(LearningRateSchedule):
    """``initial * decay_rate ** (step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate: the value at step 0.
    decay_steps: steps after which it has been multiplied by ``decay_rate``.
    decay_rate: that factor.
    staircase: whether the exponent is rounded down; default False.
    name: as in Keras, without effect.

    >>> from fastconv.optimizers import schedules
    >>> schedules.ExponentialDecay(1.0, 10, 0.25)(5)
    0.5
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "ExponentialDecay",
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def __call__(self, step: int) -> float:
        """The value in a step."""
        p = step / self.decay_steps
        p = math.floor(p) if self.staircase else p
        return float(self.initial_learning_rate * self.decay_rate**p)


class StepDecay(LearningRateSchedule):
    """``initial * factor ** (step // every)``: a drop every so many steps.

    Parameters
    ----------
    initial_learning_rate: the value at step 0.
    every: steps from one drop to the next.
    factor: what each drop multiplies by; default 0.1.

    >>> from fastconv.optimizers import schedules
    >>> schedule = schedules.StepDecay(1.0, 100, 0.5)
    >>> [schedule(step) for step in (0, 99, 100, 200)]
    [1.0, 1.0, 0.5, 0.25]
    """

    def __init__(
        self, initial_learning_rate: float, every: int, factor: float = 0.1
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.every = _positive("every", every)
        self.factor = factor

    def __call__(self, step: int) -> float:
        """The value in a step."""
        return float(self.initial_learning_rate * self.factor ** (step // self.every))


class InverseTimeDecay(LearningRateSchedule):
    """``initial / (1 + decay_rate * step / decay_steps)``.

    Parameters
    ----------
    initial_learning_rate, decay_steps, decay_rate: as in the formula.
    staircase: whether ``step / decay_steps`` is rounded down; default False.
    name: as in Keras, without effect.

    >>> from fastconv.optimizers import schedules
    >>> schedules.InverseTimeDecay(1.0, 1, 0.5)(2)
    0.5
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        decay_rate: float,
        staircase: bool = False,
        name: str = "InverseTimeDecay",
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.decay_rate = decay_rate
        self.staircase = staircase
        self.name = name

    def __call__(self, step: int) -> float:
        """The value in a step."""
        p = step / self.decay_steps
        p = math.floor(p) if self.staircase else p
        return float(self.initial_learning_rate / (1 + self.decay_rate * p))


class PolynomialDecay(LearningRateSchedule):
    """``(initial - end) * (1 - step / decay_steps) ** power + end``, then ``end``.

    Parameters
    ----------
    initial_learning_rate, decay_steps, end_learning_rate, power: as in the formula;
        default a straight line to 0.0001.
    cycle: whether ``decay_steps`` grows to the next multiple that is not below the
        step, instead of staying at the end; default False.
    name: as in Keras, without effect.

    >>> from fastconv.optimizers import schedules
    >>> schedules.PolynomialDecay(1.0, 10, 0.0)(5)
    0.5
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        end_learning_rate: float = 0.0001,
        power: float = 1.0,
        cycle: bool = False,
        name: str = "PolynomialDecay",
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.end_learning_rate = end_learning_rate
        self.power = power
        self.cycle = cycle
        self.name = name

    def __call__(self, step: int) -> float:
        """The value in a step."""
        total = self.decay_steps
        if self.cycle:
            total *= max(1, math.ceil(step / total))
        left = 1 - min(step, total) / total
        start, end = self.initial_learning_rate, self.end_learning_rate
        return float((start - end) * left**self.power + end)


class PiecewiseConstantDecay(LearningRateSchedule):
    """``values[i]`` while the step is at most ``boundaries[i]``, then the last value.

    Parameters
    ----------
    boundaries: steps, increasing.
    values: one more than boundaries.
    name: as in Keras, without effect.

    >>> from fastconv.optimizers import schedules
    >>> schedule = schedules.PiecewiseConstantDecay([10, 20], [1.0, 0.5, 0.1])
    >>> [schedule(step) for step in (10, 11, 21)]
    [1.0, 0.5, 0.1]
    """

    def __init__(
        self,
        boundaries: Sequence[float],
        values: Sequence[float],
        name: str = "PiecewiseConstant",
    ) -> None:
        self.boundaries, self.values = list(boundaries), list(values)
        self.name = name
        if len(self.values) != len(self.boundaries) + 1:
            raise ArgumentError(
                f"values: expected {len(self.boundaries) + 1}, one more than "
                f"boundaries; received {len(self.values)}"
            )
        if self.boundaries != sorted(self.boundaries):
            raise ArgumentError(
                f"boundaries: expected increasing steps, received {self.boundaries}"
            )

    def __call__(self, step: int) -> float:
        """The value in a step."""
        return float(self.values[bisect.bisect_left(self.boundaries, step)])


class CosineDecay(LearningRateSchedule):
    """``initial * ((1 - alpha) (1 + cos(pi step / decay_steps)) / 2 + alpha)``.

    With ``warmup_target`` the value first rises in a straight line, over
    ``warmup_steps``, from ``initial_learning_rate`` to the target, and then decays from
    there over ``decay_steps``.

    Parameters
    ----------
    initial_learning_rate, decay_steps, alpha: as in the formula; default alpha 0.
    name: as in Keras, without effect.
    warmup_target: default None, no warm-up.
    warmup_steps: default 0.

    Loshchilov, Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR
    2017; warm-up: Goyal et al., "Accurate, large minibatch SGD", 2017, section 2.2.

    >>> from fastconv.optimizers import schedules
    >>> schedule = schedules.CosineDecay(0.0, 10, warmup_target=1.0, warmup_steps=4)
    >>> [round(schedule(step), 3) for step in (0, 2, 4, 9, 14)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        decay_steps: float,
        alpha: float = 0.0,
        name: str = "CosineDecay",
        warmup_target: float | None = None,
        warmup_steps: int = 0,
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.decay_steps = _positive("decay_steps", decay_steps)
        self.alpha = alpha
        self.name = name
        self.warmup_target = warmup_target
        self.warmup_steps = warmup_steps

    def __call__(self, step: int) -> float:
        """The value in a step."""
        start: float = self.initial_learning_rate
        if self.warmup_target is not None:
            if step < self.warmup_steps:
                part = step / self.warmup_steps
                return float(start + (self.warmup_target - start) * part)
            start, step = self.warmup_target, step - self.warmup_steps
        cosine = _cosine(min(step, self.decay_steps) / self.decay_steps)
        return float(start * ((1 - self.alpha) * cosine + self.alpha))


class CosineDecayRestarts(LearningRateSchedule):
    """Cosine decay again and again, each period ``t_mul`` times as long.

    Parameters
    ----------
    initial_learning_rate: the value at step 0.
    first_decay_steps: length of the first period.
    t_mul: factor of the length from one period to the next; default 2.
    m_mul: factor of the height from one period to the next; default 1.
    alpha: lowest value, as a share of the initial; default 0.
    name: as in Keras, without effect.

    Loshchilov, Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR
    2017.

    >>> from fastconv.optimizers import schedules
    >>> schedule = schedules.CosineDecayRestarts(1.0, 10)
    >>> [round(schedule(step), 3) for step in (0, 5, 10, 20, 30)]
    [1.0, 0.5, 1.0, 0.5, 1.0]
    """

    def __init__(
        self,
        initial_learning_rate: float,
        first_decay_steps: float,
        t_mul: float = 2.0,
        m_mul: float = 1.0,
        alpha: float = 0.0,
        name: str = "SGDRDecay",
    ) -> None:
        self.initial_learning_rate = initial_learning_rate
        self.first_decay_steps = _positive("first_decay_steps", first_decay_steps)
        self.t_mul = _positive("t_mul", t_mul)
        self.m_mul = m_mul
        self.alpha = alpha
        self.name = name
        if self.t_mul < 1:
            raise ArgumentError(f"t_mul: expected a number >= 1, received {t_mul!r}")

    def __call__(self, step: int) -> float:
        """The value in a step."""
        length, height, left = float(self.first_decay_steps), 1.0, float(step)
        if self.t_mul == 1.0:
            periods = math.floor(left / length)
            left, height = left - periods * length, self.m_mul**periods
        while left >= length:  # a few times: the periods grow
            left -= length
            length, height = length * self.t_mul, height * self.m_mul
        decayed = (1 - self.alpha) * height * _cosine(left / length) + self.alpha
        return float(self.initial_learning_rate * decayed)


class OneCycle(LearningRateSchedule):
    """Up to a maximum and down to almost nothing, each along half a cosine.

    The values of PyTorch's OneCycleLR: from ``max / div_factor`` up to ``max`` at step
    ``pct_start * total_steps - 1``, then down to ``max / div_factor /
    final_div_factor`` at step ``total_steps - 1``.

    Parameters
    ----------
    max_learning_rate: the highest value.
    total_steps: steps of the whole cycle, at least 2.
    pct_start: share of the steps that rise; default 0.3.
    div_factor, final_div_factor: as above; default 25 and 10,000.

    Smith, Topin, "Super-convergence: very fast training of neural networks using large
    learning rates", 2018.

    >>> from fastconv.optimizers import schedules
    >>> schedule = schedules.OneCycle(1.0, 100)
    >>> [round(schedule(step), 4) for step in (0, 29, 99)]
    [0.04, 1.0, 0.0]
    """

    def __init__(
        self,
        max_learning_rate: float,
        total_steps: int,
        pct_start: float = 0.3,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
    ) -> None:
        self.max_learning_rate = max_learning_rate
        self.total_steps = total_steps
        self.pct_start = pct_start
        self.div_factor = _positive("div_factor", div_factor)
        self.final_div_factor = _positive("final_div_factor", final_div_factor)
        if not (total_steps >= 2 and 0 <= pct_start <= 1):
            raise ArgumentError(
                "OneCycle: expected total_steps >= 2 and pct_start in [0, 1], received "
                f"{total_steps!r} and {pct_start!r}"
            )

    def __call__(self, step: int) -> float:
        """The value in a step."""
        low, high = self.max_learning_rate / self.div_factor, self.max_learning_rate
        top, end = self.pct_start * self.total_steps - 1, self.total_steps - 1
        if step < top:
            return float(high + (low - high) * _cosine(step / top))
        last = low / self.final_div_factor
        part = 1.0 if top >= end else min(1.0, (step - top) / (end - top))
        return float(last + (high - last) * _cosine(part))


SCHEDULES = {
    cls.__name__: cls
    for cls in (
        ConstantSchedule, CosineDecay, CosineDecayRestarts, ExponentialDecay,
        InverseTimeDecay, OneCycle, PiecewiseConstantDecay, PolynomialDecay, StepDecay,
    )
}  # fmt: skip


def serialize(learning_rate_schedule: LearningRateSchedule) -> dict[str, Any]:
    """The schedule as JSON-like data.

    >>> from fastconv.optimizers import schedules
    >>> schedules.serialize(schedules.ConstantSchedule(0.5))
    {'class_name': 'ConstantSchedule', 'config': {'value': 0.5}}
    """
    schedule = learning_rate_schedule
    return {"class_name": type(schedule).__name__, "config": schedule.get_config()}


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> LearningRateSchedule:
    """A schedule from what `serialize` returned; own ones are custom objects.

    Raises
    ------
    UnknownNameError for a class that is not known.

    >>> from fastconv.optimizers import schedules
    >>> schedules.deserialize(schedules.serialize(schedules.ConstantSchedule(0.5)))
    ConstantSchedule(value=0.5)
    """
    name = str(config.get("class_name"))
    known = {**SCHEDULES, **objects.known(), **(custom_objects or {})}
    if name not in known:
        raise unknown_name("learning rate schedule", name, list(known))
    made: LearningRateSchedule = known[name].from_config(dict(config.get("config", {})))
    return made


def _positive(what: str, value: Any) -> Any:
    if not (isinstance(value, int | float) and 0 < value < math.inf):
        raise ArgumentError(f"{what}: expected a number > 0, received {value!r}")
    return value


def _cosine(part: float) -> float:
    """From 1 at 0 to 0 at 1, along half a cosine."""
    return 0.5 * (1.0 + math.cos(math.pi * part))
