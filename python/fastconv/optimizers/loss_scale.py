"""Loss scaling: gradients of float16 that do not vanish."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv import ops
from fastconv.errors import ArgumentError
from fastconv.graph.variable import Variable
from fastconv.optimizers.base import (
    Gradients,
    Optimizer,
    check_count,
    check_number,
)

__all__ = ["LossScaleOptimizer"]

SMALLEST, LARGEST = 2.0**-126, 2.0**127  # scales, powers of two that float32 has


class LossScaleOptimizer(Optimizer):
    """An optimiser whose loss is scaled, by as much as float16 allows.

    Formula: the loss is multiplied by the scale ``s``, and so are all gradients; small
    ones, which float16 would make 0, are not. The optimiser inside gets the gradients
    divided by ``s``. If one of them is not finite, the step is skipped, that is,
    weights, slots, averages and ``iterations`` stay as they are, and ``s <- s / 2``.
    After ``dynamic_growth_steps`` steps without that, ``s <- 2 s``.

    All of it happens inside the traced step. Under "mixed_float16", `Model.compile`
    makes one of the optimizer that it is given. A `train_step` of your own has to take
    the gradients of ``self.optimizer.scale_loss(loss)``.

    Parameters
    ----------
    inner_optimizer: an `Optimizer`, which keeps the weights' slots, the learning rate
        and all else; attributes that are not listed here are its own.
    initial_scale: the first ``s``, a number > 0; default 32,768.
    dynamic_growth_steps: an integer >= 1; default 2,000.
    name: default the class name in lower case.

    Raises
    ------
    ArgumentError if there is no optimiser inside, for a number out of range, and in
    `apply` if the loss was never scaled.

    P. Micikevicius et al., "Mixed precision training", ICLR 2018, section 3.2. The
    name, the defaults and what is skipped are those of Keras.

    >>> import fastconv as fc
    >>> optimizer = fc.optimizers.LossScaleOptimizer(fc.optimizers.SGD(0.5))
    >>> w = fc.Variable(1.0)
    >>> @fc.function
    ... def step(slope):
    ...     loss = optimizer.scale_loss(w * slope)
    ...     optimizer.apply([fc.grad(loss, w)], [w])
    >>> for slope in (1.0, float("inf")):
    ...     _ = step(slope)
    >>> float(w.value), optimizer.iterations, optimizer.dynamic_scale
    (0.5, 1, 16384.0)
    """

    def __init__(
        self,
        inner_optimizer: Optimizer,
        initial_scale: float = 2.0**15,
        dynamic_growth_steps: int = 2000,
        name: str | None = None,
    ) -> None:
        plain = isinstance(inner_optimizer, Optimizer)
        if not plain or isinstance(inner_optimizer, LossScaleOptimizer):
            raise ArgumentError(
                "LossScaleOptimizer: expected an optimizer without loss scaling, "
                f"received {inner_optimizer!r}"
            )
        self.name = name or type(self).__name__.lower()
        self.initial_scale = check_number("initial_scale", initial_scale, 2.0**128)
        if not self.initial_scale:
            raise ArgumentError("initial_scale: expected a number > 0, received 0")
        growth = check_count("dynamic_growth_steps", dynamic_growth_steps, 1)
        if growth is None:
            raise ArgumentError(
                "dynamic_growth_steps: expected an integer >= 1, received None"
            )
        self.dynamic_growth_steps = growth
        self._scaled = False  # whether `scale_loss` was called
        self._scale = self._number("dynamic_scale", self.initial_scale)
        self._counter = self._number("step_counter", 0.0)
        self._finite = self._number("finite", 1.0)  # whether the last step counted
        self.inner_optimizer = inner_optimizer  # whose the attributes are from here on

    def _number(self, name: str, value: float) -> Variable:
        return Variable(np.full(1, value), f"{self.name}/{name}", False)

    def __getattr__(self, name: str) -> Any:
        if name == "inner_optimizer":  # while a copy is made
            raise AttributeError(name)
        return getattr(self.inner_optimizer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        inner = vars(self).get("inner_optimizer")
        own = inner is None or name in vars(self) or not hasattr(inner, name)
        super().__setattr__(name, value) if own else setattr(inner, name, value)

    @property
    def dynamic_scale(self) -> float:
        """The scale in force."""
        return float(self._scale.value[0])

    @property
    def step_counter(self) -> int:
        """Steps since the scale changed."""
        return int(self._counter.value[0])

    def counters(self) -> dict[str, Variable]:
        """The scale, and the steps since it changed."""
        return {"dynamic_scale": self._scale, "step_counter": self._counter}

    def scale_loss(self, loss: Any) -> Any:
        """The loss times the scale, of which gradients are to be taken."""
        self._scaled = True
        return loss * ops.get_item(self._scale, 0)

    def before_run(self) -> None:
        """As for the optimiser inside."""
        self.inner_optimizer.before_run()

    def after_run(self) -> None:
        """Counts the step, unless it was skipped."""
        if self._finite.value[0]:
            self.inner_optimizer.after_run()

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """After the with block all is as before it."""
        numbers = (self._scale, self._counter, self._finite)
        values = [v.numpy() for v in numbers]
        try:
            with self.inner_optimizer.unchanged():
                yield
        finally:
            for variable, value in zip(numbers, values, strict=True):
                variable.value[...] = value

    def _step(self, variables: list[Variable], gradients: Gradients) -> None:
        if not self._scaled:
            raise ArgumentError(
                f"optimizer {self.name!r}: expected gradients of a scaled loss; take "
                "them of optimizer.scale_loss(loss)"
            )
        inner, scale = self.inner_optimizer, ops.get_item(self._scale, 0)
        by_weight = inner.clipnorm is not None or inner._accumulated
        if by_weight:
            gradients = {v: g / scale for v, g in gradients.items()}
        groups = inner._groups(variables)
        joined = inner._of_groups(groups, gradients)
        if not by_weight:
            joined = [g / scale for g in joined]
        finite = _all_finite(joined)
        inner._applies = finite
        try:
            inner._update(groups, joined)
        finally:
            inner._applies = None
        self._rescale(finite)

    def _rescale(self, finite: Any) -> None:
        """Halves the scale, or doubles it when its time has come."""
        count = (self._counter + 1.0) * finite
        grows = ops.equal(count, self.dynamic_growth_steps)
        factor = finite * 0.5 + 0.5 + grows
        self._scale.assign(ops.clip(self._scale * factor, SMALLEST, LARGEST))
        self._counter.assign(count * (1.0 - grows))
        self._finite.assign(finite)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, that of the optimiser inside as a config."""
        inner = self.inner_optimizer
        return {
            "name": self.name,
            "inner_optimizer": {
                "class_name": type(inner).__name__,
                "config": inner.get_config(),
            },
            "initial_scale": self.initial_scale,
            "dynamic_growth_steps": self.dynamic_growth_steps,
        }

    def __repr__(self) -> str:
        return f"<LossScaleOptimizer of {self.inner_optimizer!r}>"


def _all_finite(gradients: list[Any]) -> Any:
    """1 if all elements are, else 0: maximum and minimum show infinities and NaN."""
    finite = ops.ones((1,))
    for gradient in gradients:
        for extreme in (ops.max(gradient), ops.min(gradient)):
            finite = finite * ops.cast(ops.is_finite(extreme), "float32")
    return finite


def _of_inner(name: str) -> property:
    """What `Optimizer` has under that name, taken from the optimiser inside."""
    doc = f"``{name}`` of the optimiser inside."
    return property(lambda self: getattr(self.inner_optimizer, name), doc=doc)


for _name in (
    "_hyper", "_paired", "build", "finalize_variable_values", "iterations",
    "learning_rate", "numbers", "plan_key", "rate_source", "set_numbers", "slots",
    "swap_averages", "variables",
):  # fmt: skip
    setattr(LossScaleOptimizer, _name, _of_inner(_name))
