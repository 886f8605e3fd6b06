"""Metrics: what is reported while training, computed with NumPy on the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastconv import custom_objects as objects
from fastconv.errors import ArgumentError, ShapeError, unknown_name

__all__ = [
    "Accuracy",
    "BinaryAccuracy",
    "CategoricalAccuracy",
    "FunctionMetric",
    "Mean",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Metric",
    "SparseCategoricalAccuracy",
    "SparseTopKCategoricalAccuracy",
    "TopKCategoricalAccuracy",
    "accuracy_for",
    "deserialize",
    "get",
    "serialize",
]


class Metric:
    """Base class of metrics. A new one writes ``update_state``, ``result``,
    ``reset_state``.

    Parameters
    ----------
    name: default the class name in lower case with underscores.

    >>> import fastconv as fc
    >>> class Largest(fc.metrics.Metric):
    ...     def reset_state(self):
    ...         self.largest = 0.0
    ...     def update_state(self, y_true, y_pred, sample_weight=None):
    ...         self.largest = max(self.largest, float(y_pred.max()))
    ...     def result(self):
    ...         return self.largest
    >>> Largest()([[0.0]], [[3.0]])
    3.0
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or _snake(type(self).__name__)
        self.reset_state()

    def reset_state(self) -> None:
        """Forgets everything; called before each epoch."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in one batch of arrays."""
        raise ArgumentError(f"metric {self.name!r} has no update_state()")

    def result(self) -> float:
        """The value over all batches since the last reset."""
        raise ArgumentError(f"metric {self.name!r} has no result()")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        """Takes in one batch, and gives the value so far."""
        self.update_state(np.asarray(y_true), np.asarray(y_pred), sample_weight)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        """A metric from what `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class _Averaged(Metric):
    """Keeps ``sum w v`` and ``sum w`` of values v with weights w."""

    def reset_state(self) -> None:
        """Back to nothing."""
        self.total = 0.0
        self.count = 0.0

    def _add(self, values: np.ndarray, sample_weight: Any = None) -> None:
        if sample_weight is None:
            self.total += float(values.sum(dtype=np.float64))
            self.count += values.size
            return
        weights = np.asarray(sample_weight, np.float64)
        if weights.ndim == values.ndim + 1 and weights.shape[-1] == 1:
            weights = weights[..., 0]
        weights = weights.reshape(weights.shape + (1,) * (values.ndim - weights.ndim))
        weights = np.broadcast_to(weights, values.shape)
        self.total += float((values * weights).sum(dtype=np.float64))
        self.count += float(weights.sum())

    def result(self) -> float:
        """The mean; 0 when there was nothing."""
        return self.total / self.count if self.count else 0.0


class Mean(_Averaged):
    """The mean ``sum w v / sum w`` of values, with weights w (default 1).

    >>> import fastconv as fc
    >>> mean = fc.metrics.Mean()
    >>> mean.update_state([1.0, 3.0])
    >>> mean.result()
    2.0
    """

    def update_state(  # type: ignore[override]
        self, values: Any, sample_weight: Any = None
    ) -> None:
        """Takes in values of any shape; weights of the shape of their first axes."""
        self._add(np.asarray(values), sample_weight)

    def __call__(  # type: ignore[override]
        self, values: Any, sample_weight: Any = None
    ) -> float:
        """Takes in values, and gives the mean so far."""
        self.update_state(values, sample_weight)
        return self.result()


class _MeanOf(_Averaged):
    """The mean over samples of ``values(y_true, y_pred)``."""

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """One value a sample."""
        raise ArgumentError(f"metric {self.name!r} has no values()")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in one batch of arrays."""
        values = self.values(np.asarray(y_true), np.asarray(y_pred))
        self._add(np.asarray(values), sample_weight)


class FunctionMetric(_MeanOf):
    """The mean of a function ``f(y_true, y_pred)`` of arrays.

    `Model.compile` makes one of any function; it is needed for another name.

    Parameters
    ----------
    function: gives one value a sample, or any shape.
    name: default the function's.

    >>> import fastconv as fc
    >>> def off_by_one(y_true, y_pred):
    ...     return abs(y_pred.argmax(-1) - y_true) <= 1
    >>> fc.metrics.FunctionMetric(off_by_one)([0, 2], [[0.3, 0.7, 0], [1, 0, 0]])
    0.5
    """

    def __init__(self, function: Callable[..., Any], name: str | None = None) -> None:
        super().__init__(name or getattr(function, "__name__", type(function).__name__))
        self.function = function

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """What the function gives."""
        return np.asarray(self.function(y_true, y_pred))


class Accuracy(_MeanOf):
    """The share of predictions that are equal to their targets, shapes alike.

    >>> import fastconv as fc
    >>> fc.metrics.Accuracy()([1, 2], [1, 3])
    0.5
    """

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 where equal."""
        return _like(y_true, y_pred) == y_pred


class BinaryAccuracy(_MeanOf):
    """The share of predictions on the right side of ``threshold`` (default 0.5).

    >>> import fastconv as fc
    >>> fc.metrics.BinaryAccuracy()([1, 0], [0.7, 0.6])
    0.5
    """

    def __init__(
        self, name: str | None = "binary_accuracy", threshold: float = 0.5
    ) -> None:
        super().__init__(name)
        self.threshold = threshold

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 where the sides agree."""
        return _like(y_true, y_pred) == (y_pred > self.threshold)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "threshold": self.threshold}


class CategoricalAccuracy(_MeanOf):
    """The share of samples whose largest prediction is the largest target.

    Shapes: targets (one-hot) and predictions (N, ..., C).

    >>> import fastconv as fc
    >>> fc.metrics.CategoricalAccuracy()([[0, 1], [1, 0]], [[0.1, 0.9], [0.2, 0.8]])
    0.5
    """

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 where the maxima agree."""
        return y_true.argmax(-1) == y_pred.argmax(-1)


class SparseCategoricalAccuracy(_MeanOf):
    """The share of samples whose largest prediction is at the target's class number.

    Shapes: targets (N, ...) or (N, ..., 1), predictions (N, ..., C).

    >>> import fastconv as fc
    >>> fc.metrics.SparseCategoricalAccuracy()([1, 0], [[0.1, 0.9], [0.2, 0.8]])
    0.5
    """

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 where the class is right."""
        found = y_pred.argmax(-1)
        return y_true.reshape(found.shape) == found


class _TopK(_MeanOf):
    def __init__(self, k: int = 5, name: str | None = None) -> None:
        super().__init__(name)
        if k < 1:
            raise ArgumentError(
                f"metric {self.name!r}: expected k >= 1, received {k!r}"
            )
        self.k = int(k)

    def _found(self, labels: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """Whether fewer than k classes score higher than the label's."""
        labels = labels.reshape(y_pred.shape[:-1]).astype(np.int64)
        own = np.take_along_axis(y_pred, labels[..., None], -1)
        return (y_pred > own).sum(-1) < self.k

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "k": self.k}


class TopKCategoricalAccuracy(_TopK):
    """The share of samples whose class is among the ``k`` (default 5) best predictions.

    Shapes: targets (one-hot) and predictions (N, ..., C).

    >>> import fastconv as fc
    >>> fc.metrics.TopKCategoricalAccuracy(k=2)([[0, 0, 1]], [[0.1, 0.5, 0.4]])
    1.0
    """

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 where the class is among them."""
        return self._found(y_true.argmax(-1), y_pred)


class SparseTopKCategoricalAccuracy(_TopK):
    """As `TopKCategoricalAccuracy`, for class numbers (N, ...) or (N, ..., 1).

    >>> import fastconv as fc
    >>> fc.metrics.SparseTopKCategoricalAccuracy(k=1)([2], [[0.1, 0.5, 0.4]])
    0.0
    """

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """1 where the class is among them."""
        return self._found(y_true, y_pred)


class MeanSquaredError(_MeanOf):
    """The mean of ``(y_true - y_pred)^2``; other name "mse".

    >>> import fastconv as fc
    >>> fc.metrics.MeanSquaredError()([[0.0, 1.0]], [[0.0, 3.0]])
    2.0
    """

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """The mean over the last axis."""
        return np.square(_like(y_true, y_pred) - y_pred).mean(-1)


class MeanAbsoluteError(_MeanOf):
    """The mean of ``|y_true - y_pred|``; other name "mae".

    >>> import fastconv as fc
    >>> fc.metrics.MeanAbsoluteError()([[0.0, 1.0]], [[0.0, 3.0]])
    1.0
    """

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """The mean over the last axis."""
        return np.abs(_like(y_true, y_pred) - y_pred).mean(-1)


CLASSES: dict[str, type[Metric]] = {
    cls.__name__: cls
    for cls in (
        Accuracy, BinaryAccuracy, CategoricalAccuracy, Mean, MeanAbsoluteError,
        MeanSquaredError, SparseCategoricalAccuracy, SparseTopKCategoricalAccuracy,
        TopKCategoricalAccuracy,
    )
}  # fmt: skip
AUTOMATIC = ("accuracy", "acc")  # chosen from the shapes, see accuracy_for


def accuracy_for(y_true: np.ndarray, y_pred: np.ndarray, name: str) -> Metric:
    """The accuracy that "accuracy" means for such targets and predictions, as in Keras.

    One prediction a sample: `BinaryAccuracy`; targets that are class numbers:
    `SparseCategoricalAccuracy`; else `CategoricalAccuracy`.

    >>> import numpy as np
    >>> accuracy_for(np.zeros(2), np.zeros((2, 3)), "accuracy")
    <SparseCategoricalAccuracy 'accuracy'>
    """
    if y_pred.ndim < 2 or y_pred.shape[-1] == 1:
        return BinaryAccuracy(name)
    if y_true.ndim < y_pred.ndim or y_true.shape[-1] == 1:
        return SparseCategoricalAccuracy(name)
    return CategoricalAccuracy(name)


def get(identifier: Any) -> Metric:
    """A metric from a name, a config, a function ``f(y_true, y_pred)``, or a metric.

    Raises
    ------
    UnknownNameError for a name that is not known; ArgumentError for another type.

    >>> import fastconv as fc
    >>> fc.metrics.get("mse")
    <MeanSquaredError 'mse'>
    """
    if isinstance(identifier, Metric):
        return identifier
    if isinstance(identifier, str):
        cls = _by_name().get(identifier)
        if cls is None:
            raise unknown_name("metric", identifier, [*AUTOMATIC, *_by_name()])
        return cls(name=None if identifier in CLASSES else identifier)
    if isinstance(identifier, Mapping) and "class_name" in identifier:
        return deserialize(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Metric):
        return identifier()
    if callable(identifier):
        return FunctionMetric(identifier)
    raise ArgumentError(
        f"metric: expected a name, a Metric or a function, received {identifier!r}"
    )


def serialize(metric: Metric) -> dict[str, Any]:
    """The metric as JSON-like data; a function by its name only.

    >>> import fastconv as fc
    >>> fc.metrics.serialize(fc.metrics.BinaryAccuracy(threshold=0.7))
    {'class_name': 'BinaryAccuracy', 'config': {'name': 'binary_accuracy',
    'threshold': 0.7}}
    """
    if isinstance(metric, FunctionMetric):
        return {"function": getattr(metric.function, "__name__", metric.name)}
    return {"class_name": type(metric).__name__, "config": metric.get_config()}


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> Metric:
    """A metric from what `serialize` returned; own ones are custom objects.

    Raises
    ------
    UnknownNameError for a class or function that is not known.

    >>> import fastconv as fc
    >>> metric = fc.metrics.TopKCategoricalAccuracy(k=3, name="top3")
    >>> fc.metrics.deserialize(fc.metrics.serialize(metric))
    <TopKCategoricalAccuracy 'top3'>
    """
    name = config.get("class_name") or config.get("function")
    known = {**CLASSES, **objects.known(), **(custom_objects or {})}
    if name not in known:
        raise unknown_name("metric", name, list(known))
    if "function" in config:
        return FunctionMetric(known[name])
    return known[name].from_config(dict(config.get("config", {})))


def _by_name() -> dict[str, type[Metric]]:
    short = {"mse": MeanSquaredError, "mae": MeanAbsoluteError}
    snake = {_snake(name): cls for name, cls in CLASSES.items()}
    return {**snake, **CLASSES, **short}


def _like(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    """Targets with the axes of the predictions."""
    if y_true.shape == y_pred.shape:
        return y_true
    if y_true.size != y_pred.size or abs(y_true.ndim - y_pred.ndim) != 1:
        raise ShapeError(
            f"metric: expected targets of the shape of the predictions {y_pred.shape}, "
            f"received {y_true.shape}"
        )
    return y_true.reshape(y_pred.shape)


def _snake(name: str) -> str:
    letters = [("_" + c.lower() if c.isupper() else c) for c in name]
    return "".join(letters).lstrip("_")
