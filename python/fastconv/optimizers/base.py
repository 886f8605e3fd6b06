"""What all optimisers share: rates and schedules, slots, clipping, groups, saving.

An optimiser works inside a traced function, on whole blocks: weights that are
neighbours in memory are updated by one op. What may change from step to step (learning
rate, momentum) is a variable that the plan reads, so that assigning it costs nothing.
The function that is traced tells its optimisers of each run (`Trace.involve`).
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
from fastconv.graph.scope import current_trace
from fastconv.graph.variable import Variable, check_variables, runs, span
from fastconv.layers.arguments import parameters
from fastconv.optimizers import clipping, schedules, slots

Schedule = Callable[[int], float]
Gradients = dict[Variable, Any]
Group = list[Variable]  # neighbours that one op updates

AVERAGE, GRADIENTS = "ema", "gradient_accumulator"  # slots that any optimiser may have


class Optimizer:
    """Base class of optimisers. A new one names its slots and writes `update`.

    Parameters
    ----------
    learning_rate: a number >= 0, a schedule (`fastconv.optimizers.schedules`) or any
        function of the step number that gives one; it is evaluated on the host before
        each step. May be assigned at any time. Of a layer or variable it is multiplied
        by its ``learning_rate_multiplier``.
    weight_decay: each step first multiplies the weights by
        ``1 - learning_rate * weight_decay`` (Loshchilov, Hutter, "Decoupled weight
        decay regularization", ICLR 2019); default none.
    clipnorm: largest Euclidean norm of the gradient of one weight; default none.
    clipvalue: largest absolute value of a gradient's element; default none.
    global_clipnorm: largest norm of all gradients together; default none.
    use_ema: whether to keep an exponential moving average of the weights, which `fit`
        puts in their place at its end (`finalize_variable_values`); default False.
    ema_momentum: ``ema <- ema_momentum ema + (1 - ema_momentum) w`` after each step,
        in [0, 1]; default 0.99. The first average is the weights themselves.
    ema_overwrite_frequency: every so many steps the averages are put in the place of
        the weights, too; default None, never.
    gradient_accumulation_steps: an integer >= 2: only every so many calls the weights
        change, by the mean of the gradients of these calls; default None, each call.
    name: default the class name in lower case.
    lr, decay: Keras 1's names: the learning rate, and ``d`` of ``rate / (1 + d step)``.

    Attributes
    ----------
    calls: calls so far, which is what schedules see.
    slots: names of the arrays that it keeps, each of the size of the weights.
    n_scalars: how many numbers `scalars` gives.
    layerwise: whether `update` is called for each weight, and not for whole blocks.

    Raises
    ------
    ArgumentError for a number out of range, or more than one way of clipping.

    >>> import fastconv as fc
    >>> optimizer = fc.optimizers.Adam(learning_rate=0.1)
    >>> w = fc.Variable([1.0, 2.0])
    >>> @fc.function
    ... def step():
    ...     loss = fc.ops.sum(fc.ops.square(w))
    ...     optimizer.apply([fc.grad(loss, w)], [w])
    ...     return loss
    >>> float(step())
    5.0
    >>> w.numpy().round(3), optimizer.iterations
    (array([0.9, 1.9], dtype=float32), 1)
    """

    slots: tuple[str, ...] = ()
    slot_start: float = 0.0  # what new slots are filled with
    n_scalars: ClassVar[int] = 2
    fused_decay: ClassVar[bool] = False  # whether `update` does the weight decay
    layerwise: ClassVar[bool] = False

    def __init__(
        self,
        learning_rate: float | Schedule,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        use_ema: bool = False,
        ema_momentum: float = 0.99,
        ema_overwrite_frequency: int | None = None,
        gradient_accumulation_steps: int | None = None,
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
        self.use_ema = bool(use_ema)
        self.ema_momentum = check_number("ema_momentum", ema_momentum, most=1.0)
        self.ema_overwrite_frequency = check_count(
            "ema_overwrite_frequency", ema_overwrite_frequency, 1
        )
        self.gradient_accumulation_steps = check_count(
            "gradient_accumulation_steps", gradient_accumulation_steps, 2
        )
        self.calls = 0
        self.averaged = False  # whether weights and averages have changed places
        self._hypers: dict[float, Variable] = {}  # by learning_rate_multiplier
        self._ema_rates = Variable(np.zeros(2), f"{self.name}/ema", False)
        self._schedules: dict[str, Schedule] = {}
        self._numbers: dict[str, float] = {}
        extra = (AVERAGE,) * self.use_ema + (GRADIENTS,) * bool(self._accumulated)
        self._slots: dict[str, dict[Variable, Variable]] = {
            slot: {} for slot in (*self.slots, *extra)
        }
        self._variables: dict[Variable, None] = {}
        self._applies: Any = None  # 1 or 0: whether the step that is traced counts
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
            value = value(self.calls)
        self._numbers[what] = check_number(what, value)

    @property
    def _accumulated(self) -> int:
        return self.gradient_accumulation_steps or 0

    @property
    def iterations(self) -> int:
        """Updates of the weights so far; may be assigned."""
        return self.calls // (self._accumulated or 1)

    @iterations.setter
    def iterations(self, value: int) -> None:
        self.calls = int(value) * (self._accumulated or 1)

    def _keep(self, below: float = math.inf, **numbers: Any) -> None:
        """Checked numbers of the constructor as attributes."""
        for name, value in numbers.items():
            setattr(self, name, check_number(name, value, below))

    def scalars(self, rate: float) -> list[float]:
        """What `update` is given as ``hyper`` in this step, for a learning rate."""
        return [rate, 0.0]

    def plan_key(self) -> tuple[Any, ...]:
        """What this step does; a traced function has one plan for each."""
        rates = (v.learning_rate_multiplier for v in self._variables)
        return self._only_accumulates, self._overwrites, tuple(rates)

    @property
    def _only_accumulates(self) -> bool:
        steps = self._accumulated
        return steps > 0 and (self.calls + 1) % steps > 0

    @property
    def _overwrites(self) -> bool:
        every = self.ema_overwrite_frequency
        return self.use_ema and every is not None and (self.iterations + 1) % every == 0

    def before_run(self) -> None:
        """Evaluates schedules and scalars; traced functions call it before a step."""
        self.swap_averages(False)
        for what, schedule in self._schedules.items():
            self._numbers[what] = check_number(what, schedule(self.calls))
        for factor, hyper in self._hypers.items():
            hyper.value[...] = self.scalars(self.learning_rate * factor)
        if self.use_ema:
            keep = self.ema_momentum if self.iterations else 0.0
            self._ema_rates.value[...] = keep, 1.0 - keep

    def after_run(self) -> None:
        """Counts the step; traced functions call it after a step."""
        self.calls += 1

    @contextlib.contextmanager
    def unchanged(self) -> Iterator[None]:
        """After the with block slots, scalars, schedules and step are as before it.

        A slot that is made inside has its first values then.
        """
        made = [v for known in self._slots.values() for v in known.values()]
        values = {v: v.numpy() for v in made}
        steps = self.calls
        averaged = self.averaged
        schedules, numbers = dict(self._schedules), dict(self._numbers)
        try:
            yield
        finally:
            self.calls, self.averaged = steps, averaged
            self._schedules, self._numbers = schedules, numbers
            for name, known in self._slots.items():
                start = self.slot_start if name in self.slots else 0.0
                for slot in known.values():
                    slot.value[...] = values.get(slot, start)

    # The update -----------------------------------------------------------------------

    def build(self, variables: Iterable[Variable]) -> None:
        """Makes the slots of ``variables``, neighbours as the variables are."""
        ordered = [v for run in runs(variables) for v in run]
        self._variables |= dict.fromkeys(ordered)
        lacking = [
            (slot, known, v)
            for slot, known in self._slots.items()
            for v in ordered if v not in known
        ]  # fmt: skip
        zeros = slots.zeros([(f"{slot}/{v.name}", v) for slot, _, v in lacking])
        for (slot, known, v), made in zip(lacking, zeros, strict=True):
            known[v] = made
            if slot in self.slots and self.slot_start:
                made.value[...] = self.slot_start

    def variables(self) -> dict[str, dict[Variable, Variable]]:
        """The slots: by name, then by weight."""
        return self._slots

    def counters(self) -> dict[str, Variable]:
        """What it keeps beside slots, by name."""
        return {}

    def scale_loss(self, loss: Any) -> Any:
        """The loss to take gradients of; `LossScaleOptimizer` multiplies it."""
        return loss

    def apply(self, grads: Iterable[Any], trainable_variables: Any = None) -> None:
        """Assigns new values to variables: one step.

        It belongs into a traced function, `fastconv.function`, whose runs are then the
        steps; on arrays it does a step at once.

        Their constraints hold afterwards.

        Parameters
        ----------
        grads: the gradient of each variable, of its shape; or pairs (gradient,
            variable).
        trainable_variables: the variables; default those of pairs, or those that
            `build` was given, in its order.

        Raises
        ------
        ArgumentError if gradients and variables are not equally many.
        """
        gradients = self._paired(list(grads), trainable_variables)
        variables = check_variables(gradients, f"optimizer {self.name!r}")
        self.build(variables)
        trace = current_trace()
        if trace is not None:
            trace.involve(self)
            return self._step(variables, gradients)
        for v in variables:
            self._hyper(v)
        self.before_run()
        self._step(variables, gradients)
        return self.after_run()

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Variable]]) -> None:
        """`apply`, of pairs (gradient, variable)."""
        self.apply(grads_and_vars)

    def _paired(self, grads: list[Any], variables: Any) -> Gradients:
        if variables is None and all(isinstance(g, tuple | list) for g in grads):
            return {variable: gradient for gradient, variable in grads}
        variables = list(self._variables if variables is None else variables)
        if len(grads) != len(variables):
            raise ArgumentError(
                f"optimizer {self.name!r}: expected a gradient for each of the "
                f"{len(variables)} variables, received {len(grads)} gradients"
            )
        return dict(zip(variables, grads, strict=True))

    def update(
        self, weights: Any, gradients: Any, hyper: Variable, **slots: Variable
    ) -> tuple[Any, dict[str, Any]]:
        """The new values of ``weights`` and of the slots, all of one shape.

        ``hyper`` is float32[n_scalars], with what `scalars` gives in the step.
        """
        raise ArgumentError(f"optimizer {type(self).__name__} has no update()")

    def _step(self, variables: list[Variable], gradients: Gradients) -> None:
        groups = self._groups(variables)
        self._update(groups, self._of_groups(groups, gradients))

    def _of_groups(self, groups: list[Group], gradients: Gradients) -> list[Any]:
        """One gradient for each group that is trained."""
        whole = not self._only_accumulates
        if self._accumulated and whole:
            sums, share = self._slots[GRADIENTS], 1.0 / self._accumulated
            gradients = {v: (g + sums[v]) * share for v, g in gradients.items()}
        if self.clipnorm is not None and whole:
            norm = self.clipnorm
            gradients = {v: clipping.by_norm(g, norm) for v, g in gradients.items()}
        return [self._joined(group, gradients) for group in _trained(groups)]

    def _update(self, groups: list[Group], gradients: list[Any]) -> None:
        trained = _trained(groups)
        if self._only_accumulates:
            for group, gradient in zip(trained, gradients, strict=True):
                sums = self._slot(GRADIENTS, group)
                self._assign(sums, sums + gradient)
        else:
            for group, gradient in zip(trained, self._clipped(gradients), strict=True):
                self._update_group(group, gradient)
        for group in groups if self.use_ema else ():
            self._average(group)

    def _assign(self, variable: Variable, value: Any) -> None:
        """In a step that does not count it keeps its value."""
        if self._applies is not None:
            value = ops.where(self._applies, value, variable)
        variable.assign(value)

    def _update_group(self, group: list[Variable], gradient: Any) -> None:
        weights, hyper = self._whole(group), self._hyper(group[0])
        slots = {slot: self._slot(slot, group) for slot in self.slots}
        value: Any = weights
        if self.weight_decay is not None and not self.fused_decay:
            value = weights * (1.0 - ops.get_item(hyper, 0) * self.weight_decay)
        new, states = self.update(value, gradient, hyper, **slots)
        if group[0].constraint is not None:  # its group is the weight alone
            allowed = group[0].constraint(ops.reshape(new, group[0].shape))
            new = ops.reshape(allowed, weights.shape)
        self._assign(weights, new)
        for slot, state in states.items():
            self._assign(slots[slot], state)
        if self._accumulated:
            sums = self._slot(GRADIENTS, group)
            self._assign(sums, ops.zeros(sums.shape))

    def _average(self, group: list[Variable]) -> None:
        weights, average = self._whole(group), self._slot(AVERAGE, group)
        keep, take = (ops.get_item(self._ema_rates, i) for i in (0, 1))
        mean = average * keep + weights * take
        self._assign(average, mean)
        if self._overwrites:
            self._assign(weights, mean)

    def swap_averages(self, averaged: bool) -> None:
        """Makes the weights the averages, or what they were before that.

        The averages keep the other one meanwhile (`callbacks.SwapEMAWeights`). Before
        the first step there are none, and nothing changes.
        """
        if self.averaged == averaged or not self.calls:
            return
        for weight, average in self._slots.get(AVERAGE, {}).items():
            before = weight.value.copy()
            weight.assign(average.value)
            average.assign(before)
        self.averaged = averaged

    def finalize_variable_values(self, var_list: Iterable[Variable]) -> None:
        """Puts the averages in the place of the weights, if ``use_ema`` is on.

        `Model.fit` does so after its last step.
        """
        averages = self._slots.get(AVERAGE, {})
        for v in var_list if self.calls else ():
            if v in averages and self.averaged:
                averages[v].assign(v.value)
            elif v in averages:
                v.assign(averages[v].value)
        self.averaged = False

    def _hyper(self, variable: Variable) -> Variable:
        """The scalars of the step, for the rate of a variable."""
        factor = check_number(
            f"learning_rate_multiplier of {variable.name!r}",
            variable.learning_rate_multiplier,
        )
        if factor not in self._hypers:
            zeros = np.zeros(self.n_scalars, np.float32)
            self._hypers[factor] = Variable(zeros, f"{self.name}/hyper", False)
        return self._hypers[factor]

    def _groups(self, variables: list[Variable]) -> list[Group]:
        """Variables of one rate whose values, and whose slots, are neighbours.

        A weight with a constraint is alone.
        """
        groups: list[Group] = []
        for run in runs(variables):
            groups.append(run[:1])
            for before, v in itertools.pairwise(run):
                free = before.constraint is None and v.constraint is None
                if free and not self.layerwise and self._adjacent(before, v):
                    groups[-1].append(v)
                else:
                    groups.append([v])
        return groups

    def _adjacent(self, a: Variable, b: Variable) -> bool:
        slots = self._slots.values()
        return a.learning_rate_multiplier == b.learning_rate_multiplier and all(
            len(runs([known[a], known[b]])) == 1 for known in slots
        )

    def _whole(self, group: list[Variable]) -> Variable:
        """The variables of a group as one."""
        return group[0] if self.layerwise else span(group)

    def _slot(self, slot: str, group: list[Variable]) -> Variable:
        return self._whole([self._slots[slot][v] for v in group])

    def _joined(self, group: list[Variable], gradients: Gradients) -> Any:
        """One gradient; the memory planner makes the parts in their places."""
        if self.layerwise:
            return gradients[group[0]]
        flat = [ops.reshape(gradients[v], (v.size,)) for v in group]
        return flat[0] if len(flat) == 1 else ops.concatenate(flat, axis=0)

    def _clipped(self, flat: list[Any]) -> list[Any]:
        if self.clipvalue is not None:
            return clipping.by_value(flat, self.clipvalue)
        if self.global_clipnorm is not None:
            return clipping.by_global_norm(flat, self.global_clipnorm)
        return flat

    # Saving ---------------------------------------------------------------------------

    def numbers(self) -> dict[str, dict[str, float]]:
        """The numbers in force, apart those that follow a schedule: for `set_numbers`.

        They differ from `get_config` where a callback has changed them.
        """
        follow = {what: self._numbers[what] for what in self._schedules}
        fixed = {w: n for w, n in self._numbers.items() if w not in follow}
        return {"fixed": fixed, "scheduled": follow}

    def set_numbers(self, numbers: Mapping[str, Mapping[str, float]]) -> None:
        """Puts back what `numbers` gave; a schedule that was replaced is dropped."""
        for what, value in numbers["fixed"].items():
            self._follow(what, value)
        self._numbers.update(numbers["scheduled"])

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; a plain function as its present value.

        Those of a class of your own are read from the attributes of the same names.
        """
        known = [name for name, _ in parameters(Optimizer, object) if name not in OLD]
        own = [name for name, _ in parameters(type(self), Optimizer)]
        names = dict.fromkeys(("name", *known, *own))
        return {name: self._saved(name) for name in names if hasattr(self, name)}

    def _saved(self, what: str) -> Any:
        """A number or the config of its schedule."""
        schedule = own_schedule(self._schedules.get(what))
        if isinstance(schedule, schedules.LearningRateSchedule):
            return schedules.serialize(schedule)
        if schedule is None or callable(schedule):
            return getattr(self, what)
        return schedule

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        """An optimiser from what `get_config` returned."""
        return cls(**config)  # type: ignore[call-arg,unused-ignore]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} learning_rate={self.learning_rate:g}>"


OLD = ("lr", "decay")  # arguments of Keras 1


def own_schedule(schedule: Any) -> Any:
    """What the user gave, if ``schedule`` drives the rate for a while by its source."""
    return getattr(schedule, "source", schedule)


def check_number(
    what: str, value: Any, below: float = math.inf, most: float = math.inf
) -> float:
    """``value`` as a float, which must be in [0, below), and at most ``most``."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (0 <= number < below and number <= most):
        limit = "" if below == math.inf else f" and < {below:g}"
        limit += "" if most == math.inf else f" and <= {most:g}"
        raise ArgumentError(
            f"{what}: expected a number >= 0{limit}, received {value!r}"
        )
    return number


def _trained(groups: list[Group]) -> list[Group]:
    return [group for group in groups if group[0].learning_rate_multiplier]


def _optional(what: str, value: Any) -> float | None:
    return None if value is None else check_number(what, value)


def check_count(what: str, value: Any, least: int) -> int | None:
    """``value`` as an integer of at least ``least``, or None."""
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if value is not None and not (whole and value >= least):
        raise ArgumentError(
            f"{what}: expected None or an integer >= {least}, received {value!r}"
        )
    return None if value is None else int(value)


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
