"""What happens in one step of training, evaluation and prediction, to be overridden.

The steps are traced once into plans. Metrics are computed on the host: what a step
gives them is an output of its plan, and they take it in when the plan has run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.errors import ArgumentError
from fastconv.graph.autodiff import grad
from fastconv.graph.ir import Tensor
from fastconv.graph.scope import scope
from fastconv.metrics import Metric
from fastconv.metrics.base import Deferred, Pending, _local
from fastconv.training.call_graph import align
from fastconv.training.objectives import (
    Objective,
    Scores,
    attributes,
    numbers,
    set_attributes,
)
from fastconv.tree import flatten


class Steps:
    """The part of `Model` that says what a step is.

    A class of your own may write `train_step`, `test_step`, `compute_loss` and
    `compute_metrics`; they are traced, as in `fastconv.function`.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> class Fitted(fc.Model):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.dense = fc.layers.Dense(1)
    ...     def call(self, x):
    ...         return self.dense(x)
    ...     def train_step(self, data):
    ...         x, y = data
    ...         y_pred = self(x, training=True)
    ...         loss = fc.ops.mean(fc.ops.abs(y - y_pred))
    ...         gradients = fc.grad(loss, self.trainable_weights)
    ...         self.optimizer.apply(gradients, self.trainable_weights)
    ...         return {"distance": loss}
    >>> model = Fitted()
    >>> model.compile("sgd")
    >>> history = model.fit(np.zeros((4, 2)), np.ones((4, 1)), verbose=0)
    >>> history.history["distance"]
    [1.0]
    """

    if TYPE_CHECKING:  # what the other parts of Model bring
        name: str
        optimizer: Any
        trainable_weights: Any
        compiled_loss: Objective | None
        compiled_metrics: Scores | None
        losses: list[Tensor]
        _forward: Any
        _held: Any

        @property
        def output_names(self) -> list[str]:
            """A name for each output."""

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step of training on tensors; what it returns is logged.

        Parameters
        ----------
        data: (x,), (x, y) or (x, y, sample_weight), in the structures given to `fit`.

        Returns
        -------
        dict of scalar tensors, of which `fit` logs the means over the samples of an
        epoch, and of what metrics give as ``result()``. What `compute_metrics` counted
        is logged beside them.
        """
        x, y, sample_weight = unpack(data)
        y_pred = self._forward(x)
        loss = self._loss(x, y, y_pred, sample_weight, True)
        weights = self.trainable_weights
        with scope("loss"):
            scaled = self.optimizer.scale_loss(loss)
        gradients = grad(scaled, weights)
        with scope("optimizer"):
            self.optimizer.apply(gradients, weights)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def test_step(self, data: Any) -> dict[str, Any]:
        """One step of `evaluate`; as `train_step`, but nothing changes."""
        x, y, sample_weight = unpack(data)
        y_pred = self._forward(x)
        self._loss(x, y, y_pred, sample_weight, False)
        return self.compute_metrics(x, y, y_pred, sample_weight)

    def predict_step(self, data: Any) -> Any:
        """One step of `predict`: the outputs for the tensors ``(x,)``."""
        return self._forward(unpack(data)[0])

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """The loss given to `compile`, and what `add_loss` was given in this step.

        Raises
        ------
        ArgumentError if there is neither.
        """
        record, added = Record.current(), self.losses
        total: Tensor | None = None
        parts: list[Tensor] = []
        if self.compiled_loss is not None:
            if y is None:
                raise ArgumentError(f"model {self.name!r}: expected targets y beside x")
            names, predictions = self.output_names, flatten(y_pred, Tensor)
            targets, weights = self._aligned(y, sample_weight)
            with scope("loss"):
                total, parts = self.compiled_loss.total(
                    names, targets, predictions, weights, record.shares
                )
        elif not added:
            raise ArgumentError(
                f"model {self.name!r} has no loss yet: call compile(optimizer, loss) "
                "first, or add_loss in a layer"
            )
        with scope("loss"):
            for value in added:
                one = value if record.shares is None else value * record.shares[-1]
                total = one if total is None else total + one
        assert total is not None
        record.loss, record.parts = total, parts
        return total

    def _loss(self, *args: Any) -> Tensor:
        """What `compute_loss` gives, which is also what is logged."""
        loss = Record.current().loss = self.compute_loss(*args)
        return loss

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Has loss and metrics of `compile` counted; they are logged without more.

        Returns
        -------
        An empty dict, for values of your own.
        """
        record = Record.current()
        if record.loss is None:
            raise ArgumentError(
                f"model {self.name!r}: compute_metrics needs the loss; call "
                "compute_loss before it"
            )
        targets, weights = self._aligned(y, sample_weight)
        record.scored = (targets, flatten(y_pred, Tensor), weights)
        return {}

    def _aligned(self, y: Any, w: Any) -> tuple[list[Any], list[Any]]:
        """Targets and weights as lists in the order of the outputs."""
        names = self.output_names
        if len(names) == 1 and not isinstance(y, list | tuple | dict):
            return [y], [w]
        if y is None:
            return [None] * len(names), [None] * len(names)
        given = w if isinstance(w, list | tuple | dict) else [w] * len(names)
        return align(y, names, "y"), align(given, names, "sample_weight")

    @property
    def metrics(self) -> list[Metric]:
        """The metrics in attributes of the model, then those given to `compile`.

        "accuracy" is among them from the first step on, which shows its kind.
        """
        compiled = (
            [] if self.compiled_metrics is None else self.compiled_metrics.metrics
        )
        return [*self._held(Metric), *compiled]

    def reset_metrics(self) -> None:
        """Forgets what all metrics counted; `fit` does so before each epoch."""
        for metric in self.metrics:
            metric.reset_state()


class Record(Deferred):
    """What a step, while it is traced, leaves for the time after each run.

    given: targets and weights that the host has, too, so that plans need not return
    them; shares: for `Objective.total`.
    """

    def __init__(self, given: tuple[Any, Any], shares: Tensor | None = None) -> None:
        super().__init__()
        self.given = flatten(given, Tensor)
        self.shares = shares
        self.loss: Tensor | None = None
        self.parts: list[Tensor] = []
        self.scored: tuple[Any, Any, Any] | None = None

    @staticmethod
    def current() -> Record:
        """That of the step that is traced; a new one outside of steps."""
        return getattr(_local, "deferred", None) or Record((None, None))

    def result(self, logs: Any) -> dict[str, Any]:
        """What the plan returns; objects stand as keys, which structures keep."""
        if logs is not None and not isinstance(logs, dict):
            raise ArgumentError(f"a step returns a dict of logs, received {logs!r:.80}")
        logs = logs or {}
        pending = {k: {v.metric: None} for k, v in logs.items() if type(v) is Pending}
        scored = None
        if self.scored is not None:
            targets, predictions, weights = self.scored
            scored = self._unknown(targets), predictions, self._unknown(weights)
        return {
            "loss": None if scored is None else (self.loss, self.parts),
            "scored": scored,
            "updates": [{metric: arguments} for metric, arguments in self.updates],
            "logs": {k: v for k, v in logs.items() if k not in pending},
            "pending": pending,
        }

    def _unknown(self, tensors: list[Any]) -> list[Any]:
        known = set(self.given)
        return [None if t is None or t in known else t for t in tensors]


class Counted:
    """Takes in, over one pass, what the runs of a step's plan returned."""

    def __init__(self, model: Any, scores: Scores) -> None:
        self.model = model
        self.scores = scores
        self.reset()

    def reset(self) -> None:
        """Forgets all batches."""
        self.scores.reset()
        self.model.reset_metrics()
        self.scored = False
        self._sums: dict[str, float] = {}
        self._samples: dict[str, int] = {}
        self._pending: dict[str, Metric] = {}

    def update(self, result: dict[str, Any], x: Any, y: Any, w: Any) -> None:
        """Takes in what one run returned, for this batch."""
        samples = len(next(iter(flatten(x, np.ndarray)), ()))
        if result["scored"] is not None:
            self.scored = True
            targets, predictions, weights = result["scored"]
            given = self.model._aligned(y, w)
            targets, weights = map(_filled, (targets, weights), given)
            total, parts = result["loss"]
            results = (total, parts, predictions)
            names = self.model.output_names
            self.scores.update(names, results, targets, weights)
        for update in result["updates"]:
            for metric, (arguments, options) in update.items():
                metric.update_state(*arguments, **options)
        for name, value in result["logs"].items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value) * samples
            self._samples[name] = self._samples.get(name, 0) + samples
        self._pending |= {k: next(iter(v)) for k, v in result["pending"].items()}

    def logs(self) -> dict[str, float]:
        """Means, and results of metrics, since the last reset."""
        found = self.scores.logs() if self.scored else {}
        for name, total in self._sums.items():
            found[name] = total / max(self._samples[name], 1)
        for name, metric in self._pending.items():
            found |= numbers(name, metric.result())
        return found

    def state(self) -> dict[str, Any]:
        """What was taken in so far, for `restore`."""
        held = self.model._held(Metric)
        return {
            "scored": self.scored,
            "scores": self.scores.state(),
            "sums": self._sums,
            "samples": self._samples,
            "pending": {k: held.index(metric) for k, metric in self._pending.items()},
            "held": [attributes(metric) for metric in held],
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Puts back what `state` gave."""
        self.reset()
        if state is None:
            return
        held = self.model._held(Metric)
        self.scored, self._sums = state["scored"], state["sums"]
        self._samples = state["samples"]
        self.scores.restore(state["scores"])
        self._pending = {k: held[i] for k, i in state["pending"].items()}
        for metric, values in zip(held, state["held"], strict=True):
            set_attributes(metric, values)


def _filled(values: list[Any], given: list[Any]) -> list[Any]:
    return [g if v is None else v for v, g in zip(values, given, strict=True)]


def unpack(data: Any) -> tuple[Any, Any, Any]:
    """x, y and sample_weight of what a step is given; None where there is none."""
    x, y, w = (*data, None, None)[:3] if isinstance(data, tuple) else (data, None, None)
    return x, y, w


def packed(x: Any, y: Any, w: Any) -> tuple[Any, ...]:
    """What a step is given: without the parts that are not there."""
    if w is not None:
        return x, y, w
    return (x,) if y is None else (x, y)
