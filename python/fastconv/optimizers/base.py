"""What all optimisers share: rates and schedules, slots, clipping, groups, saving.

An optimiser works inside a traced function, on whole blocks: weights that are
neighbours in memory are updated by one op. What may change from step to step (learning
rate, momentum) is a variable that the plan reads, so that assigning it costs nothing.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

import numpy as np

from fastconv import ops
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Tensor
from fastconv.graph.variable import Variable, check_variables, runs, span, together
from fastconv.optimizers import clipping, schedules

Schedule = Callable[[int], float]
Pairs = Iterable[tuple[Any, Variable]]


class Optimizer:
    """Base class of optimisers. A new one names its slots and writes `update`.

    `Model.fit` calls `before_step` and `after_step` around each step. A loop of your
    own must do so as well if the learning rate follows a schedule, or the optimiser
    counts its steps (Adam, AdamW, Adamax, Nadam).

    Parameters
    ----------
    learning_rate: a number >= 0, a schedule (`fastconv.optimizers.schedules`) or any
        function of the step number that gives one; it is evaluated on the host before
        each step. May be assigned at any time.
    weight_decay: each step first multiplies the weights by
        ``1 - learning_rate * weight_decay`` (Loshchilov, Hutter, "Decoupled weight
        decay regularization", ICLR 2019); default none.
    clipnorm: largest Euclidean norm of the gradient of one weight; default none.
    clipvalue: largest absolute value of a gradient's element; default none.
    global_clipnorm: largest norm of all gradients together; default none.
    name: default the class name in lower case.
    lr, decay: Keras 1's names: the learning rate, and ``d`` of ``rate / (1 + d step)``.

    Attributes
    ----------
    iterations: steps done.
    slots: names of the arrays that it keeps, each of the size of the weights.
    hyper: the variable that plans read, with the scalars of the step; float32[2] with
        learning rate and 0, unless a class writes `scalars` and its ``n_scalars``.

    Raises
    ------
    ArgumentError for a number out of range, or more than one way of clipping.

    >>> import fastconv as fc
    >>> optimizer = fc.optimizers.SGD(learning_rate=0.1)
    >>> w = fc.Variable([1.0, 2.0])
    >>> @fc.function
    ... def step():
    ...     loss = fc.ops.sum(fc.ops.square(w))
    ...     optimizer.apply([(fc.grad(loss, w), w)])
    ...     return loss
    >>> float(step())
    5.0
    >>> w.numpy()
    array([0.8, 1.6], dtype=float32)
    """

    slots: tuple[str, ...] = ()
    slot_start: float = 0.0  # what new slots are filled with
    n_scalars: ClassVar[int] = 2
    fused_decay: ClassVar[bool] = False  # whether `update` does the weight decay

    def __init__(
        self,
        learning_rate: float | Schedule,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
        lr: float | None = None,
        decay: float | None = None,
    ) -> None:
        learning_rate = _old_names(type(self).__name__, learning_rate, lr, decay)
        self.name = name or type(self).__name__.lower()
        self.weight_decay = _optional("weight_decay", weight_decay)
        self.clipnorm = _optional("clipnorm", clipnorm)
        self.clipvalue = _optional("clipvalue", clipvalue)
        self.global_clipnorm = _optional("global_clipnorm", global_clipnorm)
        clips = (self.clipnorm, self.clipvalue, self.global_clipnorm)
        if sum(c is not None for c in clips) > 1:
            raise ArgumentError(
                f"optimizer {self.name!r}: expected at most one of clipnorm, clipvalue "
                "and global_clipnorm"
            )
        self.iterations = 0
        zeros = np.zeros(self.n_scalars, np.float32)
        self.hyper = Variable(zeros, f"{self.name}/hyper", False)
        self._schedules: dict[str, Schedule] = {}
        self._numbers: dict[str, float] = {}
        self._slots: dict[str, dict[Variable, Variable]] = {s: {} for s in self.slots}
        self._built = False
        self.learning_rate = learning_rate

    # What changes from step to step ---------------------------------------------------

    @property
    def learning_rate(self) -> float:
        """The learning rate in force; assign a number, or a function of the step."""
        return self._numbers["learning_rate"]

    @learning_rate.setter
    def learning_rate(self, value: float | Schedule) -> None:
        self._follow("learning_rate", value)

    @property
    def rate_source(self) -> float | Schedule:
        """What was assigned as learning rate: a number, or a function of the step."""
        return self._schedules.get("learning_rate", self.learning_rate)

    def _follow(self, what: str, value: Any) -> None:
        """Keeps a number, or the function of the step that gives it."""
        self._schedules.pop(what, None)
        if isinstance(value, Mapping):
            value = schedules.deserialize(value)
        if callable(value):
            self._schedules[what] = value
            value = value(self.iterations)
        self._numbers[what] = check_number(what, value)
        if self._built:
            self._refresh()

    def scalars(self) -> list[float]:
        """What `hyper` holds in this step, as `update` expects it."""
        return [self.learning_rate, 0.0]

    def _refresh(self) -> None:
        self.hyper.value[...] = self.scalars()

    def before_step(self) -> None:
        """Evaluates schedules and scalars; the training loop calls it each step."""
        for what, schedule in self._schedules.items():
            self._numbers[what] = check_number(what, schedule(self.iterations))
        self._refresh()

    def after_step(self) -> None:
        """Counts the step."""
        self.iterations += 1

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """After the with block slots, scalars, schedules and step are as before it.

        A slot that is made inside has its first values then.
        """
        made = [v for known in self._slots.values() for v in known.values()]
        values = {v: v.numpy() for v in (self.hyper, *made)}
        steps = self.iterations
        schedules, numbers = dict(self._schedules), dict(self._numbers)
        try:
            yield
        finally:
            self.iterations = steps
            self._schedules, self._numbers = schedules, numbers
            for known in self._slots.values():
                for slot in known.values():
                    slot.value[...] = values.get(slot, self.slot_start)
            self.hyper.value[...] = values[self.hyper]

    # The update -----------------------------------------------------------------------

    def build(self, variables: Iterable[Variable]) -> None:
        """Makes the slots of ``variables``, neighbours as the variables are."""
        ordered = [v for run in runs(variables) for v in run]
        made: list[Variable] = []
        for slot in self.slots:
            known = self._slots.setdefault(slot, {})
            for v in (v for v in ordered if v not in known):
                start = np.full(v.shape, self.slot_start, v.dtype)
                known[v] = Variable(start, f"{slot}/{v.name}", False, v.dtype)
                made.append(known[v])
        together(made)
        self._built = True
        self._refresh()

    def variables(self) -> dict[str, dict[Variable, Variable]]:
        """The slots: by name, then by weight."""
        return self._slots

    def apply(self, grads_and_vars: Pairs) -> None:
        """Assigns new values to variables, inside a traced function.

        Parameters
        ----------
        grads_and_vars: pairs (gradient, variable), the gradient of the variable's
            shape.
        """
        gradients = {variable: gradient for gradient, variable in grads_and_vars}
        variables = check_variables(gradients, f"optimizer {self.name!r}")
        self.build(variables)
        if self.clipnorm is not None:
            norm = self.clipnorm
            gradients = {v: clipping.by_norm(g, norm) for v, g in gradients.items()}
        groups = self._groups(variables)
        flat = [_joined([gradients[v] for v in group]) for group in groups]
        for group, gradient in zip(groups, self._clipped(flat), strict=True):
            self._update_group(group, gradient)

    apply_gradients = apply

    def update(
        self, weights: Any, gradients: Tensor, **slots: Variable
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The new values of ``weights`` and of the slots, all of one flat shape."""
        raise ArgumentError(f"optimizer {type(self).__name__} has no update()")

    def _update_group(self, group: list[Variable], gradient: Tensor) -> None:
        weights = span(group)
        flat = {
            slot: span([known[v] for v in group]) for slot, known in self._slots.items()
        }
        value: Any = weights
        if self.weight_decay is not None and not self.fused_decay:
            value = weights * (1.0 - self._rate() * self.weight_decay)
        new, states = self.update(value, gradient, **flat)
        weights.assign(new)
        for slot, state in states.items():
            flat[slot].assign(state)

    def _rate(self) -> Any:
        return ops.get_item(self.hyper, 0)

    def _groups(self, variables: list[Variable]) -> list[list[Variable]]:
        """Variables whose values, and whose slots, are neighbours."""
        groups: list[list[Variable]] = []
        for run in runs(variables):
            groups.append(run[:1])
            for before, v in itertools.pairwise(run):
                slots = self._slots.values()
                if all(len(runs([known[before], known[v]])) == 1 for known in slots):
                    groups[-1].append(v)
                else:
                    groups.append([v])
        return groups

    def _clipped(self, flat: list[Tensor]) -> list[Tensor]:
        if self.clipvalue is not None:
            return clipping.by_value(flat, self.clipvalue)
        if self.global_clipnorm is not None:
            return clipping.by_global_norm(flat, self.global_clipnorm)
        return flat

    # Saving ---------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; a plain function as its present value."""
        return {
            "name": self.name,
            "learning_rate": self._saved("learning_rate"),
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
            "global_clipnorm": self.global_clipnorm,
        }

    def _saved(self, what: str) -> Any:
        """A number or the config of its schedule."""
        schedule = own_schedule(self._schedules.get(what))
        if isinstance(schedule, schedules.LearningRateSchedule):
            return schedules.serialize(schedule)
        if schedule is None or callable(schedule):
            return self._numbers[what]
        return schedule

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        """An optimiser from what `get_config` returned."""
        return cls(**config)  # type: ignore[call-arg,unused-ignore]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} learning_rate={self.learning_rate:g}>"


def own_schedule(schedule: Any) -> Any:
    """What the user gave, if ``schedule`` drives the rate for a while by its source."""
    return getattr(schedule, "source", schedule)


def check_number(what: str, value: Any, below: float = math.inf) -> float:
    """``value`` as a float, which must be in [0, below)."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not 0 <= number < below:
        limit = "" if below == math.inf else f" and < {below:g}"
        raise ArgumentError(
            f"{what}: expected a number >= 0{limit}, received {value!r}"
        )
    return number


def _optional(what: str, value: Any) -> float | None:
    return None if value is None else check_number(what, value)


def _old_names(cls: str, rate: Any, lr: float | None, decay: float | None) -> Any:
    """The learning rate of Keras 1's arguments."""
    if lr is not None:
        _warn(f"{cls}(lr=) is the name of Keras 1; use learning_rate=")
        rate = lr
    if not decay:
        return rate
    _warn(f"{cls}(decay=) is of Keras 1; use learning_rate=schedules.InverseTimeDecay")
    return schedules.InverseTimeDecay(check_number("lr", rate), 1, decay)


def _warn(text: str) -> None:
    warnings.warn(text, DeprecationWarning, stacklevel=5)


def _joined(gradients: list[Tensor]) -> Tensor:
    """One flat gradient; the memory planner makes the parts in their places."""
    flat = [ops.reshape(g, (g.size,)) for g in gradients]
    return flat[0] if len(flat) == 1 else ops.concatenate(flat, axis=0)
