"""The base of all metrics, sums and means, and metrics made of functions."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, ShapeError
from fastconv.graph.trace import is_symbolic
from fastconv.losses.base import snake

EPSILON = 1e-7  # Keras's backend epsilon
_local = threading.local()


class Deferred:
    """Inside a with block metrics note the tensors that they are given, in ``updates``.

    Whoever runs what was traced has them counted afterwards.
    """

    def __init__(self) -> None:
        self.updates: list[tuple[Metric, tuple[Any, Any]]] = []

    def __enter__(self) -> Any:
        self._before = getattr(_local, "deferred", None)
        _local.deferred = self
        return self

    def __exit__(self, *_: object) -> None:
        _local.deferred = self._before


@dataclass(frozen=True)
class Pending:
    """Stands for what ``metric.result()`` will be after the step."""

    metric: Metric


class Metric:
    """Base class of metrics. A new one writes ``update_state``, ``result``,
    ``reset_state``.

    Parameters
    ----------
    name: default the class name in lower case with underscores.
    dtype: as Keras takes it; sums are kept in float64 whatever it is.

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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, wrap in (("update_state", _deferring), ("result", _awaiting)):
            if name in vars(cls):
                setattr(cls, name, wrap(vars(cls)[name]))

    def __init__(self, name: str | None = None, dtype: Any = None) -> None:
        self.name = name or snake(type(self).__name__)
        self.dtype = dtype
        self.reset_state()

    def reset_state(self) -> None:
        """Forgets everything; called before each epoch."""

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in one batch of arrays."""
        raise ArgumentError(f"metric {self.name!r} has no update_state()")

    def result(self) -> Any:
        """The value over all batches since the last reset."""
        raise ArgumentError(f"metric {self.name!r} has no result()")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Takes in one batch, and gives the value so far."""
        if not is_symbolic((y_true, y_pred)):
            y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = {"name": self.name}
        return config if self.dtype is None else {**config, "dtype": str(self.dtype)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Metric:
        """A metric from what `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


def _deferring(update_state: Callable[..., None]) -> Callable[..., None]:
    """Notes tensors for later: see `Deferred`."""

    @functools.wraps(update_state)
    def update(self: Metric, *args: Any, **options: Any) -> None:
        if is_symbolic((args, options)):
            deferred = getattr(_local, "deferred", None)
            if deferred is None:
                raise ArgumentError(
                    f"metric {self.name!r}: expected arrays, received tensors; those "
                    "are taken inside train_step and test_step of a model only"
                )
            deferred.updates.append((self, (args, options)))
        else:
            update_state(self, *args, **options)

    return update


def _awaiting(result: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(result)
    def get(self: Metric) -> Any:
        waits = getattr(_local, "deferred", None) is not None
        return Pending(self) if waits else result(self)

    return get


class Averaged(Metric):
    """Keeps ``sum w v`` and ``sum w`` of values v, one a sample, with weights w."""

    def reset_state(self) -> None:
        """Back to nothing."""
        self.total = 0.0
        self.count = 0.0

    def _add(self, values: Any, sample_weight: Any = None) -> None:
        values, weights = samplewise(self.name, values, sample_weight, np.mean)
        self.total += float(values.sum())
        self.count += values.size if weights is None else float(weights.sum())

    def result(self) -> float:
        """The mean; 0 when there was nothing."""
        return self.total / self.count if self.count else 0.0


class Mean(Averaged):
    """The mean ``sum w v / sum w`` of values, with weights w (default 1).

    Values with several axes count as one a sample, their mean.

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
        self._add(values, sample_weight)

    def __call__(  # type: ignore[override]
        self, values: Any, sample_weight: Any = None
    ) -> float:
        """Takes in values, and gives the mean so far."""
        self.update_state(values, sample_weight)
        return self.result()


class Sum(Metric):
    """The sum ``sum w v`` of values, with weights w (default 1).

    >>> import fastconv as fc
    >>> fc.metrics.Sum()([1.0, 3.0], sample_weight=[1.0, 2.0])
    7.0
    """

    def reset_state(self) -> None:
        """Back to 0."""
        self.total = 0.0

    def update_state(  # type: ignore[override]
        self, values: Any, sample_weight: Any = None
    ) -> None:
        """Takes in values of any shape; weights of the shape of their first axes."""
        values, _ = samplewise(self.name, values, sample_weight, np.sum)
        self.total += float(values.sum())

    def __call__(  # type: ignore[override]
        self, values: Any, sample_weight: Any = None
    ) -> float:
        """Takes in values, and gives the sum so far."""
        self.update_state(values, sample_weight)
        return self.result()

    def result(self) -> float:
        """The sum."""
        return self.total


class MeanOf(Averaged):
    """The mean over samples of ``values(y_true, y_pred)``."""

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """One value a sample."""
        raise ArgumentError(f"metric {self.name!r} has no values()")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Takes in one batch of arrays."""
        values = self.values(np.asarray(y_true), np.asarray(y_pred))
        self._add(values, sample_weight)


class FunctionMetric(MeanOf):
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

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None = None,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        given = getattr(function, "__name__", type(function).__name__)
        super().__init__(name or given, dtype)
        self.function = function
        self.options = options

    def values(self, y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
        """What the function gives."""
        return np.asarray(self.function(y_true, y_pred, **self.options))


class MeanMetricWrapper(FunctionMetric):
    """The mean of ``fn(y_true, y_pred, **kwargs)``, any function or loss.

    Parameters
    ----------
    fn: gives one value a sample, or any shape.
    name: default the function's.
    kwargs: further arguments of the function.

    >>> import fastconv as fc
    >>> metric = fc.metrics.MeanMetricWrapper(fc.losses.huber, delta=2.0)
    >>> metric([[0.0]], [[3.0]])
    4.0
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        name: str | None = None,
        dtype: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(fn, name, dtype, **kwargs)


def samplewise(
    name: str, values: Any, sample_weight: Any, reduce: Callable[..., Any]
) -> tuple[np.ndarray, np.ndarray | None]:
    """One weighted value a sample, and one weight, as Keras reduces them."""
    values = np.asarray(values).astype(np.float64)
    if sample_weight is None:
        return _first_axis(values, reduce), None
    weights = np.asarray(sample_weight, np.float64)
    shapes = values.shape, weights.shape
    if weights.ndim == values.ndim + 1 and weights.shape[-1] == 1:
        weights = weights[..., 0]
    elif values.ndim == weights.ndim + 1 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim > weights.ndim:
        values = reduce(values, axis=tuple(range(weights.ndim, values.ndim)))
    try:
        weights = np.broadcast_to(weights, values.shape)
    except ValueError:
        raise ShapeError(
            f"metric {name!r}: expected a sample_weight for values of shape "
            f"{shapes[0]}, received shape {shapes[1]}"
        ) from None
    return _first_axis(values * weights, reduce), _first_axis(weights, reduce)


def _first_axis(values: np.ndarray, reduce: Callable[..., Any]) -> np.ndarray:
    if values.ndim < 2:
        return values
    return reduce(values, axis=tuple(range(1, values.ndim)))


def like(y_true: np.ndarray, y_pred: np.ndarray) -> np.ndarray:
    """Targets with the axes of the predictions."""
    if y_true.shape == y_pred.shape:
        return y_true
    if y_true.size != y_pred.size or abs(y_true.ndim - y_pred.ndim) != 1:
        raise ShapeError(
            f"metric: expected targets of the shape of the predictions {y_pred.shape}, "
            f"received {y_true.shape}"
        )
    return y_true.reshape(y_pred.shape)


def ratio(a: Any, b: Any) -> Any:
    """``a / b``, and 0 where b is 0."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.divide(a, b, out=np.zeros(np.broadcast(a, b).shape), where=b != 0)


def plain(values: np.ndarray) -> Any:
    """A float where there is one value, else the array."""
    values = np.asarray(values)
    return float(values) if values.ndim == 0 else values
