"""Optimisers: how gradients change weights.

An optimiser works inside a traced function, on whole blocks: weights that are
neighbours in memory are updated by one op. What may change from step to step (learning
rate, momentum) is a variable that the plan reads, so that assigning it costs nothing.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from fastconv import custom_objects as objects
from fastconv import ops
from fastconv.errors import ArgumentError, unknown_name
from fastconv.graph.ir import Tensor
from fastconv.graph.variable import Variable, check_variables, runs, span, together

__all__ = ["SGD", "Optimizer", "deserialize", "get", "serialize"]

Schedule = Callable[[int], float]
Pairs = Iterable[tuple[Any, Variable]]


class Optimizer:
    """Base class of optimisers. A new one names its slots and writes `update`.

    Parameters
    ----------
    learning_rate: a number >= 0, or a function of the step number that gives one; it is
        evaluated on the host before each step. May be assigned at any time.
    weight_decay: each step first multiplies the weights by
        ``1 - learning_rate * weight_decay`` (Loshchilov, Hutter, "Decoupled weight
        decay regularization", ICLR 2019); default none.
    clipnorm: largest Euclidean norm of the gradient of one weight; default none.
    clipvalue: largest absolute value of a gradient's element; default none.
    global_clipnorm: largest norm of all gradients together; default none.
    name: default the class name in lower case.

    Attributes
    ----------
    iterations: steps done.
    hyper: the variable float32[2] that plans read: learning rate and momentum.

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

    slots: ClassVar[tuple[str, ...]] = ()  # arrays of the size of each weight

    def __init__(
        self,
        learning_rate: float | Schedule,
        *,
        weight_decay: float | None = None,
        clipnorm: float | None = None,
        clipvalue: float | None = None,
        global_clipnorm: float | None = None,
        name: str | None = None,
    ) -> None:
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
        self.hyper = Variable(np.zeros(2, np.float32), f"{self.name}/hyper", False)
        self._schedules: dict[int, Schedule] = {}  # element of hyper -> its schedule
        self._numbers = [0.0, 0.0]
        self._slots: dict[str, dict[Variable, Variable]] = {s: {} for s in self.slots}
        self.learning_rate = learning_rate

    # What changes from step to step ---------------------------------------------------

    @property
    def learning_rate(self) -> float:
        """The learning rate in force; assign a number, or a function of the step."""
        return self._numbers[0]

    @learning_rate.setter
    def learning_rate(self, value: float | Schedule) -> None:
        self._set_hyper(0, "learning_rate", value)

    def _set_hyper(self, index: int, what: str, value: float | Schedule) -> None:
        self._schedules.pop(index, None)
        if callable(value):
            self._schedules[index] = value
            value = value(self.iterations)
        self._numbers[index] = _number(what, value)
        self.hyper.value[index] = self._numbers[index]

    def before_step(self) -> None:
        """Evaluates the schedules; the training loop calls it before each step."""
        for index, schedule in self._schedules.items():
            self._numbers[index] = _number("schedule", schedule(self.iterations))
            self.hyper.value[index] = self._numbers[index]

    def after_step(self) -> None:
        """Counts the step."""
        self.iterations += 1

    # The update -----------------------------------------------------------------------

    def build(self, variables: Iterable[Variable]) -> None:
        """Makes the slots of ``variables``, zeros, neighbours as the variables are."""
        ordered = [v for run in runs(variables) for v in run]
        for slot in self.slots:
            known = self._slots.setdefault(slot, {})
            missing = [v for v in ordered if v not in known]
            for v in missing:
                zeros = np.zeros(v.shape, v.dtype)
                known[v] = Variable(zeros, f"{slot}/{v.name}", False, v.dtype)
            together([known[v] for v in missing])

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
            gradients = {v: _clip(g, self.clipnorm) for v, g in gradients.items()}
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
        if self.weight_decay is not None:
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
            low, high = -self.clipvalue, self.clipvalue
            return [ops.minimum(ops.maximum(g, low), high) for g in flat]
        if self.global_clipnorm is None or not flat:
            return flat
        total = ops.sum(ops.square(flat[0]))
        for gradient in flat[1:]:
            total = total + ops.sum(ops.square(gradient))
        scale = _clip_scale(total, self.global_clipnorm)
        return [gradient * scale for gradient in flat]

    # Saving ---------------------------------------------------------------------------

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; a schedule is saved as its present value."""
        return {
            "name": self.name,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "clipnorm": self.clipnorm,
            "clipvalue": self.clipvalue,
            "global_clipnorm": self.global_clipnorm,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Optimizer:
        """An optimiser from what `get_config` returned."""
        return cls(**config)  # type: ignore[call-arg,unused-ignore]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} learning_rate={self.learning_rate:g}>"


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum.

    Formula, with learning rate ``a`` and momentum ``m``: ``w <- w - a g``; with
    momentum ``v <- m v - a g`` and ``w <- w + v``, or with nesterov ``w <- w + m v - a
    g``.

    Parameters
    ----------
    learning_rate: default 0.01; see `Optimizer`.
    momentum: in [0, 1], default 0, or a function of the step number.
    nesterov: Nesterov's momentum; default False.
    weight_decay, clipnorm, clipvalue, global_clipnorm, name: see `Optimizer`.

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
        *,
        lr: float | None = None,
        **options: Any,
    ) -> None:
        if lr is not None:
            warnings.warn(
                "SGD(lr=) is the name of Keras 1; use learning_rate=",
                DeprecationWarning,
                stacklevel=2,
            )
            learning_rate = lr
        super().__init__(learning_rate, **options)
        self.nesterov = bool(nesterov)
        if callable(momentum) or momentum:
            self._slots = {"velocity": {}}
        self._has_velocity = bool(self._slots)
        self.momentum = momentum

    @property
    def momentum(self) -> float:
        """The momentum in force; assign a number, or a function of the step."""
        return self._numbers[1]

    @momentum.setter
    def momentum(self, value: float | Schedule) -> None:
        if not callable(value) and not 0.0 <= value <= 1.0:
            raise ArgumentError(f"momentum: expected a number in [0, 1], got {value!r}")
        if (callable(value) or value) and not self._has_velocity:
            raise ArgumentError(
                "momentum: this SGD was made without momentum and keeps no velocity; "
                "make "
                "it with SGD(momentum=...)"
            )
        self._set_hyper(1, "momentum", value)

    def build(self, variables: Iterable[Variable]) -> None:
        """Makes the velocities, if there is momentum."""
        self.slots = ("velocity",) if self._has_velocity else ()  # type: ignore[misc]
        super().build(variables)

    def update(
        self, weights: Any, gradients: Tensor, **slots: Variable
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """One `fastconv.ops.sgd`."""
        if not slots:
            return ops.sgd(weights, gradients, self.hyper), {}
        velocity = slots["velocity"]
        new, state = ops.sgd(weights, gradients, self.hyper, velocity, self.nesterov)
        return new, {"velocity": state}

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        own = {"momentum": self.momentum, "nesterov": self.nesterov}
        return {**super().get_config(), **own}


OPTIMIZERS: dict[str, type[Optimizer]] = {"sgd": SGD}


def get(identifier: Any) -> Optimizer:
    """An optimiser from a name, a dict {"class_name", "config"}, or an optimiser.

    Raises
    ------
    UnknownNameError for a name that is not known; ArgumentError for another type.

    >>> import fastconv as fc
    >>> fc.optimizers.get("sgd")
    <SGD learning_rate=0.01>
    """
    if isinstance(identifier, Optimizer):
        return identifier
    if isinstance(identifier, str):
        return _named(identifier)()
    if isinstance(identifier, Mapping):
        return deserialize(identifier)
    raise ArgumentError(
        f"optimizer: expected a name, an Optimizer or its config, received "
        f"{identifier!r}"
    )


def serialize(optimizer: Optimizer) -> dict[str, Any]:
    """The optimiser as JSON-like data.

    >>> import fastconv as fc
    >>> config = fc.optimizers.serialize(fc.optimizers.SGD(0.1, momentum=0.9))
    >>> config["class_name"], config["config"]["momentum"]
    ('SGD', 0.9)
    """
    return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> Optimizer:
    """An optimiser from what `serialize` returned; own ones are custom objects.

    Raises
    ------
    UnknownNameError for a class that is not known.

    >>> import fastconv as fc
    >>> fc.optimizers.deserialize(fc.optimizers.serialize(fc.optimizers.SGD(0.1)))
    <SGD learning_rate=0.1>
    """
    name = config.get("class_name", "")
    custom = {**objects.known(), **(custom_objects or {})}.get(name)
    cls = custom if custom is not None else _named(name)
    return cls.from_config(dict(config.get("config", {})))


def _named(name: Any) -> Any:
    cls = OPTIMIZERS.get(str(name).lower())
    if cls is None:
        raise unknown_name("optimizer", name, list(OPTIMIZERS))
    return cls


def _number(what: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise ArgumentError(f"{what}: expected a number >= 0, received {value!r}")
    return number


def _optional(what: str, value: Any) -> float | None:
    return None if value is None else _number(what, value)


def _joined(gradients: list[Tensor]) -> Tensor:
    """One flat gradient; the memory planner makes the parts in their places."""
    flat = [ops.reshape(g, (g.size,)) for g in gradients]
    return flat[0] if len(flat) == 1 else ops.concatenate(flat, axis=0)


def _clip(gradient: Tensor, norm: float) -> Tensor:
    return gradient * _clip_scale(ops.sum(ops.square(gradient)), norm)


def _clip_scale(squares: Tensor, norm: float) -> Tensor:
    """min(1, norm / sqrt(squares)), also where the squares are 0."""
    return norm / ops.maximum(ops.sqrt(squares), norm)
