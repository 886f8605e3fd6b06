"""Losses: how far predictions are from targets, with Keras's names and reductions.

A loss works inside a traced function (training), and on arrays at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np

from fastconv import custom_objects as objects
from fastconv import ops
from fastconv.eager import op
from fastconv.errors import ArgumentError, ShapeError, unknown_name
from fastconv.graph.ir import Tensor
from fastconv.graph.trace import as_tensor, is_symbolic

__all__ = [
    "BinaryCrossentropy",
    "CategoricalCrossentropy",
    "FunctionLoss",
    "Loss",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "SparseCategoricalCrossentropy",
    "binary_crossentropy",
    "categorical_crossentropy",
    "deserialize",
    "get",
    "mean_absolute_error",
    "mean_squared_error",
    "serialize",
    "sparse_categorical_crossentropy",
]

REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "none")
EPSILON = 1e-7  # Keras's backend epsilon


# Functions: one value a sample --------------------------------------------------------


@op
def mean_squared_error(y_true: Any, y_pred: Any) -> Tensor:
    """The quadratic loss ``1/C sum_c (y_true_c - y_pred_c)^2``, shape (...).

    y_true, y_pred: shape (..., C); y_true without the last axis where C is 1.

    >>> import fastconv as fc
    >>> fc.losses.mean_squared_error([[0.0, 1.0]], [[0.0, 3.0]])
    array([2.], dtype=float32)
    """
    y_true, y_pred = _agreeing("mean_squared_error", y_true, y_pred)
    return ops.mean_squared_error(y_true, y_pred)


@op
def mean_absolute_error(y_true: Any, y_pred: Any) -> Tensor:
    """``1/C sum_c |y_true_c - y_pred_c|``, shape (...).

    y_true, y_pred: shape (..., C); y_true without the last axis where C is 1.

    >>> import fastconv as fc
    >>> fc.losses.mean_absolute_error([[0.0, 1.0]], [[0.0, 3.0]])
    array([1.], dtype=float32)
    """
    y_true, y_pred = _agreeing("mean_absolute_error", y_true, y_pred)
    return ops.mean(ops.abs(y_pred - y_true), axis=-1)


@op
def categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    """``-sum_c y_true_c log(y_pred_c)``, shape (...); see `CategoricalCrossentropy`.

    >>> import fastconv as fc
    >>> fc.losses.categorical_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
    array([0.6931472], dtype=float32)
    """
    y_true, y_pred = _agreeing("categorical_crossentropy", y_true, y_pred)
    if label_smoothing:
        rest = label_smoothing / y_pred.shape[-1]
        y_true = y_true * (1.0 - label_smoothing) + rest
    kernel = ops.softmax_cross_entropy if from_logits else ops.cross_entropy
    return kernel(y_pred, y_true)


@op
def sparse_categorical_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False
) -> Tensor:
    """``-log(y_pred[y_true])``, shape (...); see `SparseCategoricalCrossentropy`.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> fc.losses.sparse_categorical_crossentropy(np.array([1]), [[0.5, 0.5]])
    array([0.6931472], dtype=float32)
    """
    y_true, y_pred = as_tensor(y_true), as_tensor(y_pred)
    lead = y_pred.shape[:-1]
    if y_pred.ndim < 1 or y_true.shape not in (lead, (*lead, 1)):
        hint = ""
        if y_true.shape == y_pred.shape:
            hint = "; one-hot targets need loss='categorical_crossentropy'"
        raise ShapeError(
            f"sparse_categorical_crossentropy: expected class numbers of shape "
            f"{lead} for "
            f"predictions of shape {y_pred.shape}, received shape {y_true.shape}{hint}"
        )
    labels = y_true if y_true.dtype == "int64" else ops.cast(y_true, "int64")
    kernel = ops.softmax_cross_entropy if from_logits else ops.cross_entropy
    return kernel(y_pred, labels)


@op
def binary_crossentropy(
    y_true: Any, y_pred: Any, from_logits: bool = False, label_smoothing: float = 0.0
) -> Tensor:
    """``-mean_c(y log p + (1 - y) log(1 - p))``, shape (...); see `BinaryCrossentropy`.

    >>> import fastconv as fc
    >>> fc.losses.binary_crossentropy([[0.0, 1.0]], [[0.5, 0.5]])
    array([0.6931472], dtype=float32)
    """
    y, p = _agreeing("binary_crossentropy", y_true, y_pred)
    if label_smoothing:
        y = y * (1.0 - label_smoothing) + 0.5 * label_smoothing
    if from_logits:
        return ops.mean(ops.softplus(p) - p * y, axis=-1)
    p = ops.minimum(ops.maximum(p, EPSILON), 1.0 - EPSILON)
    terms = y * ops.log(p) + (1.0 - y) * ops.log(1.0 - p)
    return -ops.mean(terms, axis=-1)


# Classes ------------------------------------------------------------------------------


class Loss:
    """Base class of losses. A new one writes ``call(y_true, y_pred)``.

    Parameters
    ----------
    name: default made from the class name.
    reduction: of the values that ``call`` gives (one a sample, or any shape): their
        mean ("sum_over_batch_size", the default, or "mean"), "sum", or "none". Weights
        multiply the values before.

    Raises
    ------
    ArgumentError for another reduction.

    >>> import fastconv as fc
    >>> class Cubed(fc.losses.Loss):
    ...     def call(self, y_true, y_pred):
    ...         return fc.ops.mean(fc.ops.abs(y_true - y_pred) ** 3.0, axis=-1)
    >>> float(Cubed()([[0.0]], [[2.0]]))
    8.0
    """

    sparse: ClassVar[bool] = False  # whether targets are class numbers
    _compiled: Any = None  # the function that calls on arrays run

    def __init__(
        self, name: str | None = None, reduction: str | None = "sum_over_batch_size"
    ) -> None:
        self.name = name or _snake(type(self).__name__)
        self.reduction = "none" if reduction is None else reduction
        if self.reduction not in REDUCTIONS:
            raise ArgumentError(
                f"loss {self.name!r}: expected a reduction of {', '.join(REDUCTIONS)}; "
                f"received {reduction!r}"
            )

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """One value a sample; written by each loss."""
        raise ArgumentError(f"loss {type(self).__name__} has no call()")

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """The loss: a scalar, unless the reduction is "none"."""
        values = (y_true, y_pred, sample_weight)
        if not is_symbolic(values):
            values = tuple(map(_array, values))
        if self._compiled is None:
            vars(self)["_compiled"] = op(self._reduced)
        return self._compiled(*values)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        vars(self)["_compiled"] = None  # what it computes may have changed

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "_compiled"}

    def _reduced(self, y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
        values = self.call(y_true, y_pred)
        if sample_weight is not None:
            values = values * _weights_like(values, sample_weight)
        if self.reduction == "none":
            return values
        return ops.sum(values) if self.reduction == "sum" else ops.mean(values)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"name": self.name, "reduction": self.reduction}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Loss:
        """A loss from what `get_config` returned."""
        return cls(**config)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class FunctionLoss(Loss):
    """A loss made of a function ``f(y_true, y_pred)`` of tensors.

    `Model.compile` makes one of any function; it is needed for another reduction.

    Parameters
    ----------
    function: gives one value a sample, or any shape.
    name: default the function's.
    options: ``reduction``, as for `Loss`.

    >>> import fastconv as fc
    >>> def largest(y_true, y_pred):
    ...     return fc.ops.max(fc.ops.abs(y_true - y_pred), axis=-1)
    >>> loss = fc.losses.FunctionLoss(largest, reduction="sum")
    >>> float(loss([[0.0, 1.0], [2.0, 0.0]], [[0.0, 3.0], [1.0, 0.0]]))
    3.0
    """

    def __init__(
        self, function: Callable[..., Any], name: str | None = None, **options: Any
    ) -> None:
        given = getattr(function, "__name__", type(function).__name__)
        super().__init__(name or given, **options)
        self.function = function

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """What the function gives."""
        return self.function(y_true, y_pred)


class MeanSquaredError(Loss):
    """The quadratic loss: the mean of ``(y_true - y_pred)^2``.

    Shapes: predictions (N, ..., C), targets the same. Other names: "mse", "quadratic".

    >>> import fastconv as fc
    >>> float(fc.losses.MeanSquaredError()([[0.0, 1.0]], [[0.0, 3.0]]))
    2.0
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """See `mean_squared_error`."""
        return mean_squared_error(y_true, y_pred)


class MeanAbsoluteError(Loss):
    """The mean of ``|y_true - y_pred|``.

    Shapes: predictions (N, ..., C), targets the same. Other name: "mae".

    >>> import fastconv as fc
    >>> float(fc.losses.MeanAbsoluteError()([[0.0, 1.0]], [[0.0, 3.0]]))
    1.0
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """See `mean_absolute_error`."""
        return mean_absolute_error(y_true, y_pred)


class _FromLogits(Loss):
    """A cross-entropy from probabilities, or with ``from_logits`` from scores."""

    def __init__(
        self,
        from_logits: bool = False,
        *,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
    ) -> None:
        super().__init__(name, reduction)
        self.from_logits = bool(from_logits)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "from_logits": self.from_logits}


class _Smoothed(_FromLogits):
    """A cross-entropy whose targets may be smoothed."""

    def __init__(
        self, from_logits: bool = False, label_smoothing: float = 0.0, **options: Any
    ) -> None:
        super().__init__(from_logits, **options)
        if not 0.0 <= label_smoothing <= 1.0:
            raise ArgumentError(
                f"loss {self.name!r}: expected label_smoothing in [0, 1], received "
                f"{label_smoothing!r}"
            )
        self.label_smoothing = float(label_smoothing)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


class SparseCategoricalCrossentropy(_FromLogits):
    """Cross-entropy between class numbers and probabilities: ``-log p[label]``.

    Parameters
    ----------
    from_logits: whether predictions are scores before softmax; default False.

    Shapes: predictions (N, ..., C); targets (N, ...) or (N, ..., 1), integers in [0,
    C). A target out of range is a DataError of the step that met it; weights are
    unchanged.

    >>> import fastconv as fc
    >>> float(fc.losses.SparseCategoricalCrossentropy()([1], [[0.5, 0.5]]))
    0.693...
    """

    sparse = True

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """See `sparse_categorical_crossentropy`."""
        return sparse_categorical_crossentropy(y_true, y_pred, self.from_logits)


class CategoricalCrossentropy(_Smoothed):
    """Cross-entropy between distributions: ``-sum_c y_c log p_c``.

    Parameters
    ----------
    from_logits: whether predictions are scores before softmax; default False.
    label_smoothing: s in [0, 1]: targets become ``y (1 - s) + s / C`` (Szegedy et al.,
        "Rethinking the Inception architecture", CVPR 2016, section 7); default 0.

    Shapes: predictions (N, ..., C), targets (one-hot or any distribution) the same.

    >>> import fastconv as fc
    >>> float(fc.losses.CategoricalCrossentropy()([[0.0, 1.0]], [[0.5, 0.5]]))
    0.693...
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """See `categorical_crossentropy`."""
        smoothing = self.label_smoothing
        return categorical_crossentropy(y_true, y_pred, self.from_logits, smoothing)


class BinaryCrossentropy(_Smoothed):
    """Cross-entropy of yes-no targets: ``-mean(y log p + (1 - y) log(1 - p))``.

    Parameters
    ----------
    from_logits: whether predictions are scores before the sigmoid; default False.
    label_smoothing: s in [0, 1]: targets become ``y (1 - s) + s / 2``; default 0.

    Shapes: predictions (N, ..., C), targets the same, or (N, ...) where C is 1.

    >>> import fastconv as fc
    >>> float(fc.losses.BinaryCrossentropy()([[0.0, 1.0]], [[0.5, 0.5]]))
    0.693...
    """

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """See `binary_crossentropy`."""
        smoothing = self.label_smoothing
        return binary_crossentropy(y_true, y_pred, self.from_logits, smoothing)


LOSSES: dict[str, type[Loss]] = {
    "binary_crossentropy": BinaryCrossentropy,
    "bce": BinaryCrossentropy,
    "categorical_crossentropy": CategoricalCrossentropy,
    "mean_absolute_error": MeanAbsoluteError,
    "mae": MeanAbsoluteError,
    "mean_squared_error": MeanSquaredError,
    "mse": MeanSquaredError,
    "quadratic": MeanSquaredError,
    "sparse_categorical_crossentropy": SparseCategoricalCrossentropy,
}
CLASSES = {cls.__name__: cls for cls in LOSSES.values()}


def get(identifier: Any) -> Loss | None:
    """A loss from a name, a config, a function ``f(y_true, y_pred)``, or a loss.

    Raises
    ------
    UnknownNameError for a name that is not known; ArgumentError for another type.

    >>> import fastconv as fc
    >>> fc.losses.get("mse")
    <MeanSquaredError 'mean_squared_error'>
    """
    if identifier is None or isinstance(identifier, Loss):
        return identifier
    if isinstance(identifier, str):
        cls = LOSSES.get(identifier.lower()) or CLASSES.get(identifier)
        if cls is None:
            raise unknown_name("loss", identifier, [*LOSSES, *CLASSES])
        return cls()
    if isinstance(identifier, Mapping) and "class_name" in identifier:
        return deserialize(identifier)
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if callable(identifier):
        return FunctionLoss(identifier)
    raise ArgumentError(
        f"loss: expected a name, a Loss or a function, received {identifier!r}"
    )


def serialize(loss: Loss) -> dict[str, Any]:
    """The loss as JSON-like data; a function by its name only.

    >>> import fastconv as fc
    >>> fc.losses.serialize(fc.losses.MeanSquaredError(reduction="sum"))
    {'class_name': 'MeanSquaredError', 'config': {'name': 'mean_squared_error',
    'reduction': 'sum'}}
    """
    if isinstance(loss, FunctionLoss):
        return {"function": getattr(loss.function, "__name__", loss.name)}
    return {"class_name": type(loss).__name__, "config": loss.get_config()}


def deserialize(
    config: Mapping[str, Any], custom_objects: Mapping[str, Any] | None = None
) -> Loss:
    """A loss from what `serialize` returned; own ones are custom objects.

    Raises
    ------
    UnknownNameError for a class or function that is not known.

    >>> import fastconv as fc
    >>> def distance(y_true, y_pred):
    ...     return fc.ops.abs(y_true - y_pred)
    >>> fc.losses.deserialize({"function": "distance"}, {"distance": distance})
    <FunctionLoss 'distance'>
    """
    name = config.get("class_name") or config.get("function")
    known = {**CLASSES, **objects.known(), **(custom_objects or {})}
    if name not in known:
        raise unknown_name("loss", name, list(known))
    if "function" in config:
        return FunctionLoss(known[name])
    return known[name].from_config(dict(config.get("config", {})))


def _agreeing(name: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """Targets with the dtype and the axes of the predictions."""
    y_true, y_pred = as_tensor(y_true), as_tensor(y_pred)
    if y_true.dtype != y_pred.dtype:
        y_true = ops.cast(y_true, y_pred.dtype)
    if y_true.shape == y_pred.shape:
        return y_true, y_pred
    if y_true.ndim + 1 == y_pred.ndim and y_pred.shape[-1] == 1:
        y_true = ops.reshape(y_true, (*y_true.shape, 1))
    elif y_true.ndim == y_pred.ndim + 1 and y_true.shape[-1] == 1:
        y_true = ops.reshape(y_true, y_true.shape[:-1])
    if y_true.shape != y_pred.shape:
        hint = ""
        if y_true.shape in (y_pred.shape[:-1], (*y_pred.shape[:-1], 1)):
            hint = (
                "; class numbers need loss='sparse_categorical_crossentropy', or "
                "fastconv.utils.to_categorical"
            )
        raise ShapeError(
            f"{name}: expected targets of the shape of the predictions {y_pred.shape}, "
            f"received {y_true.shape}{hint}"
        )
    return y_true, y_pred


def _weights_like(values: Tensor, weights: Any) -> Tensor:
    """Weights of samples, with as many axes as the values that they multiply."""
    weights = as_tensor(weights)
    if weights.dtype != values.dtype:
        weights = ops.cast(weights, values.dtype)
    shape = weights.shape
    if len(shape) == values.ndim + 1 and shape[-1] == 1:
        shape = shape[:-1]
    shape = shape + (1,) * (values.ndim - len(shape))
    fits = len(shape) == values.ndim and all(
        w in (1, v) for w, v in zip(shape, values.shape, strict=True)
    )
    if not fits:
        raise ShapeError(
            f"sample_weight: expected weights for losses of shape {values.shape}, "
            "received "
            f"shape {weights.shape}"
        )
    return weights if weights.shape == shape else ops.reshape(weights, shape)


def _array(value: Any) -> Any:
    return None if value is None else np.asarray(value)


def _snake(name: str) -> str:
    letters = [("_" + c.lower() if c.isupper() else c) for c in name]
    return "".join(letters).lstrip("_")
