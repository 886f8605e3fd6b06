"""What is minimised, and what is reported, for each output of a model."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import losses, metrics
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Tensor
from fastconv.losses import Loss
from fastconv.metrics import Metric
from fastconv.tree import flatten


class Objective:
    """The losses of all outputs, as given to `compile`, and their weighted sum.

    loss: one for all outputs, or a list or dict of them (None: the output has none).
    weights: a list or dict of numbers, default 1.
    """

    def __init__(self, loss: Any, weights: Any = None) -> None:
        self.given = _resolve(loss, _loss)
        self.weights = weights

    def of(self, names: list[str]) -> tuple[list[Loss | None], list[float]]:
        """The loss and the weight of each output."""
        given = self.given
        if not isinstance(given, list | dict):
            given = [given] * len(names)
        found = _by_name(given, names, "loss")
        if all(loss is None for loss in found):
            raise ArgumentError("compile: expected a loss, received none")
        weights = self.weights
        if weights is None:
            return found, [1.0] * len(names)
        if not isinstance(weights, list | tuple | dict):
            weights = [weights]
        numbers = _by_name(weights, names, "loss_weights")
        if any(isinstance(w, str) for w in numbers):
            raise ArgumentError(
                f"compile: loss_weights expected numbers, received {weights!r}; "
                "metrics are the argument after it: metrics=[...]"
            )
        return found, [1.0 if w is None else float(w) for w in numbers]

    def total(
        self,
        names: list[str],
        targets: list[Any],
        predictions: list[Tensor],
        sample_weights: list[Any],
        shares: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """The sum to minimise, and the loss of each output that has one.

        ``shares`` multiplies them, one for each output.
        """
        if len(predictions) != len(names):
            raise ArgumentError(
                f"the model gives {len(predictions)} outputs; expected {len(names)}: "
                f"{names}"
            )
        found, weights = self.of(names)
        parts = []
        total: Tensor | None = None
        for i, loss in enumerate(found):
            if loss is None:
                continue
            if targets[i] is None:
                raise ArgumentError(
                    f"output {names[i]!r} has a loss ({loss.name}), but y holds no "
                    "targets "
                    "for it"
                )
            part = loss(targets[i], predictions[i], sample_weights[i])
            if part.shape:
                raise ArgumentError(
                    f"output {names[i]!r}: loss {loss.name!r} gives values of shape "
                    f"{part.shape}; training needs a reduction to one number"
                )
            part = part if shares is None else part * shares[i]
            parts.append(part)
            part = part if weights[i] == 1.0 else part * weights[i]
            total = part if total is None else total + part
        assert total is not None
        return total, parts

    def get_config(self) -> Any:
        """The losses and weights as JSON-like data."""
        given = _map(self.given, lambda v: None if v is None else losses.serialize(v))
        return {"loss": given, "loss_weights": self.weights}


class Scores:
    """The running values of one pass over data: losses and metrics, as a dict.

    given, weighted: metrics as given to `compile`; the second take sample weights.
    """

    def __init__(
        self, objective: Objective | None, given: Any, weighted: Any = None
    ) -> None:
        self.objective = objective
        self.given = (_resolve(given, _metric), _resolve(weighted, _metric))
        self._metrics: list[tuple[int, str, Metric, bool]] | None = None
        self._loss_names: list[str] = []
        self.reset()

    def reset(self) -> None:
        """Forgets all batches."""
        self.samples = 0
        self._loss = 0.0
        self._parts = [0.0] * len(self._loss_names)
        for _, _, metric, _ in self._metrics or ():
            metric.reset_state()

    def unbind(self) -> None:
        """Forgets which metric is of which output, after layers changed."""
        self._metrics, self._loss_names = None, []
        self.reset()

    def update(
        self,
        names: list[str],
        results: tuple[Any, list[Any], list[np.ndarray]],
        targets: list[Any],
        sample_weights: list[Any],
    ) -> None:
        """Takes in the results of one step: total loss, its parts, predictions."""
        total, parts, predictions = results
        if self._metrics is None:
            self._bind(names, targets, predictions)
        samples = len(predictions[0])
        self.samples += samples
        self._loss += float(total) * samples
        for i, part in enumerate(parts if self._parts else ()):
            self._parts[i] += float(part) * samples
        for output, _, metric, weighted in self._metrics or ():
            weights = sample_weights[output] if weighted else None
            metric.update_state(targets[output], predictions[output], weights)

    @property
    def metrics(self) -> list[Metric]:
        """All metrics, without those that wait for the shapes."""
        if self._metrics is None:
            return flatten(self.given, Metric)
        return [metric for _, _, metric, _ in self._metrics]

    def logs(self) -> dict[str, float]:
        """The means since the last reset: loss, losses of outputs, metrics.

        A metric that gives several values is logged as ``name_0``, ``name_1`` and so
        on, one that gives a matrix not at all.
        """
        samples = max(self.samples, 1)
        found = {"loss": self._loss / samples}
        for name, part in zip(self._loss_names, self._parts, strict=True):
            found[name] = part / samples
        for _, name, metric, _ in self._metrics or ():
            found |= numbers(name, metric.result())
        return found

    def state(self) -> dict[str, Any] | None:
        """The sums so far, for `restore`; None if there are none yet."""
        if self._metrics is None:
            return None
        return {
            "bound": self._bound,
            "samples": self.samples,
            "loss": self._loss,
            "parts": self._parts,
            "metrics": [attributes(metric) for _, _, metric, _ in self._metrics],
        }

    def restore(self, state: dict[str, Any] | None) -> None:
        """Puts back what `state` gave."""
        self.reset()
        if state is None:
            return
        if self._metrics is None or self._bound != state["bound"]:
            names, *kinds = state["bound"]
            targets, predictions = ([_example(k) for k in kind] for kind in kinds)
            self._bind(names, targets, predictions)
        self.samples, self._loss = state["samples"], state["loss"]
        self._parts = state["parts"]
        bound = zip(self._metrics or (), state["metrics"], strict=True)
        for (_, _, metric, _), values in bound:
            set_attributes(metric, values)

    def _bind(
        self, names: list[str], targets: list[Any], predictions: list[Any]
    ) -> None:
        """Settles which metric is of which output, at the first batch."""
        kinds = ([_kind(a) for a in part] for part in (targets, predictions))
        self._bound = [names, *kinds]
        several = len(names) > 1
        if several and self.objective is not None:
            losses_found, _ = self.objective.of(names)
            pairs = zip(names, losses_found, strict=True)
            self._loss_names = [f"{name}_loss" for name, loss in pairs if loss]
            self._parts = [0.0] * len(self._loss_names)
        self._metrics = []
        for given, weighted in zip(self.given, (False, True), strict=True):
            for output, wanted in enumerate(_per_output(given, names)):
                for one in wanted:
                    metric = _settled(one, targets[output], predictions[output])
                    prefix = f"{names[output]}_" if several else ""
                    name = self._free_name(prefix + metric.name)
                    self._metrics.append((output, name, metric, weighted))
        for _, _, metric, _ in self._metrics:
            metric.reset_state()

    def _free_name(self, name: str) -> str:
        taken = {n for _, n, _, _ in self._metrics or ()}
        number = 1
        unique = name
        while unique in taken:
            unique, number = f"{name}_{number}", number + 1
        return unique

    def get_config(self) -> Any:
        """The metrics as JSON-like data."""

        def plain(value: Any) -> Any:
            return value if isinstance(value, str) else metrics.serialize(value)

        given, weighted = (_map(g, plain) for g in self.given)
        return {"metrics": given, "weighted_metrics": weighted}


def _kind(array: Any) -> Any:
    """Dtype and shape of a sample."""
    return None if array is None else [array.dtype.name, list(array.shape[1:])]


def _example(kind: Any) -> Any:
    """An array of one sample of a kind."""
    return None if kind is None else np.zeros((1, *kind[1]), kind[0])


def attributes(metric: Metric) -> dict[str, Any]:
    """The attributes that can be the state of a metric: numbers, arrays and so on."""
    found = {}
    for name, value in vars(metric).items():
        if isinstance(value, Metric):
            found[name] = attributes(value)
        elif _is_data(value):
            found[name] = value
    return found


def set_attributes(metric: Metric, values: dict[str, Any]) -> None:
    """Puts back what `attributes` gave."""
    for name, value in values.items():
        inner = getattr(metric, name, None)
        if isinstance(inner, Metric):
            set_attributes(inner, value)
        else:
            setattr(metric, name, value)


def _is_data(value: Any) -> bool:
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_data(v) for k, v in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_data, value))
    if isinstance(value, np.ndarray):
        return not value.dtype.hasobject
    return value is None or isinstance(value, bool | int | float | str | np.generic)


def numbers(name: str, result: Any) -> dict[str, float]:
    """What a metric gives as numbers to log."""
    values = np.asarray(result)
    if values.ndim == 1:
        return {f"{name}_{i}": float(value) for i, value in enumerate(values)}
    return {} if values.ndim else {name: float(values)}


def _loss(value: Any) -> Loss | None:
    if isinstance(value, dict) and "function" in value:
        return losses.deserialize(value)
    return losses.get(value)


def _metric(value: Any) -> Any:
    """A metric; "accuracy" stays a string until the shapes are known."""
    if value is None or value in metrics.AUTOMATIC:
        return value
    if isinstance(value, dict) and "function" in value:
        return metrics.deserialize(value)
    return metrics.get(value)


def _settled(metric: Any, y_true: Any, y_pred: Any) -> Metric:
    """A metric whose choice waited for the shapes."""
    if isinstance(metric, str):
        return metrics.accuracy_for(y_true, y_pred, metric)
    return metric


def _is_config(value: Any) -> bool:
    return isinstance(value, dict) and bool({"class_name", "function"} & set(value))


def _resolve(value: Any, resolve: Any) -> Any:
    if isinstance(value, tuple):
        value = list(value)
    if isinstance(value, list):
        return [_resolve(v, resolve) for v in value]
    if isinstance(value, dict) and not _is_config(value):
        return {k: _resolve(v, resolve) for k, v in value.items()}
    return resolve(value)


def _map(value: Any, function: Any) -> Any:
    if isinstance(value, list):
        return [_map(v, function) for v in value]
    if isinstance(value, dict):
        return {k: _map(v, function) for k, v in value.items()}
    return None if value is None else function(value)


def _by_name(given: Any, names: list[str], what: str) -> list[Any]:
    if isinstance(given, dict):
        unknown = [key for key in given if key not in names]
        if unknown:
            raise ArgumentError(
                f"{what}: the model has the outputs {names}, received {sorted(given)}"
            )
        return [given.get(name) for name in names]
    if len(given) != len(names):
        raise ArgumentError(
            f"{what}: the model has {len(names)} outputs ({', '.join(names)}), "
            "received "
            f"{len(given)} values"
        )
    return list(given)


def _per_output(given: Any, names: list[str]) -> list[list[Any]]:
    """The metrics of each output: from one, a list, a list of lists, or a dict."""
    if given is None:
        return [[] for _ in names]
    if isinstance(given, dict):
        return [_as_list(v) for v in _by_name(given, names, "metrics")]
    given = _as_list(given)
    nested = any(isinstance(v, list) or v is None for v in given)
    if nested or (len(names) > 1 and len(given) == len(names)):
        return [_as_list(v) for v in _by_name(given, names, "metrics")]
    if len(names) > 1:
        raise ArgumentError(
            f"metrics: the model has the outputs {names}; expected a list for each, "
            "or a "
            f"dict by name, received {len(given)} metrics"
        )
    return [given]


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
