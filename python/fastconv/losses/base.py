"""The base of all losses, and how targets and weights meet predictions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from fastconv import ops
from fastconv.errors import ArgumentError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Tensor
from fastconv.graph.trace import as_tensor, is_symbolic

REDUCTIONS = ("sum_over_batch_size", "mean", "mean_with_sample_weight", "sum", "none")
EPSILON = 1e-7  # Keras's backend epsilon


class Loss:
    """Base class of losses. A new one writes ``call(y_true, y_pred)``.

    Parameters
    ----------
    name: default made from the class name.
    reduction: of the values that ``call`` gives (one a sample, or any shape): their
        mean ("sum_over_batch_size", the default, or "mean"), "sum", or "none". Weights
        multiply the values before; "mean_with_sample_weight" divides by their sum.
    dtype: predictions are cast to it first; default that of the predictions.

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
        self,
        name: str | None = None,
        reduction: str | None = "sum_over_batch_size",
        dtype: Any = None,
    ) -> None:
        self.name = name or snake(type(self).__name__)
        self.reduction = "none" if reduction is None else reduction
        self.dtype = dtype
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
        values: tuple[Any, ...] = (y_true, y_pred, sample_weight)
        if not is_symbolic(values):
            values = tuple(None if v is None else np.asarray(v) for v in values)
        if self._compiled is None:
            vars(self)["_compiled"] = op(self._reduced)
        return self._compiled(*values)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        vars(self)["_compiled"] = None  # what it computes may have changed

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in vars(self).items() if k != "_compiled"}

    def _mask(self, y_true: Any, values: Tensor) -> Tensor | None:
        """1 where a value counts, in the shape of the values; None: all do."""
        return None

    def _reduced(self, y_true: Any, y_pred: Any, sample_weight: Any) -> Any:
        if self.dtype is not None:
            y_pred = ops.cast(y_pred, self.dtype)
        values = self.call(y_true, y_pred)
        mask = self._mask(y_true, values)
        weights = mask
        if sample_weight is not None:
            weights = weights_like(values, sample_weight)
            values = values * weights
            if mask is not None:
                weights = weights * mask
        if self.reduction == "none":
            return values
        total = ops.sum(values)
        if self.reduction == "sum" or not values.size:
            return total
        if self.reduction == "mean_with_sample_weight" and weights is not None:
            return _ratio(total, ops.sum(ops.broadcast_to(weights, values.shape)))
        return ops.mean(values) if mask is None else _ratio(total, ops.sum(mask))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config = {"name": self.name, "reduction": self.reduction}
        return config if self.dtype is None else {**config, "dtype": str(self.dtype)}

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
    options: ``reduction``, ``dtype``, as for `Loss`.

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


class Known(Loss):
    """A loss of this package: its function, called with options kept in the config."""

    formula: ClassVar[Callable[..., Any]]

    def __init__(
        self,
        reduction: str | None = "sum_over_batch_size",
        name: str | None = None,
        dtype: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(name, reduction, dtype)
        self.options = options
        vars(self).update(options)  # also as attributes, as Keras has them
        smoothing = options.get("label_smoothing", 0.0)
        if not 0.0 <= smoothing <= 1.0:
            raise ArgumentError(
                f"loss {self.name!r}: expected label_smoothing in [0, 1], received "
                f"{smoothing!r}"
            )

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """The values of the function of the same name."""
        return type(self).formula(y_true, y_pred, **self.options)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {**super().get_config(), **self.options}


def agreeing(name: str, y_true: Any, y_pred: Any) -> tuple[Tensor, Tensor]:
    """Targets with the dtype and the axes of the predictions, which are floating."""
    y_true, y_pred = as_tensor(y_true), as_tensor(y_pred)
    if "float" not in y_pred.dtype:
        y_pred = ops.cast(y_pred, "float32")
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


def weights_like(values: Tensor, weights: Any) -> Tensor:
    """Weights of samples, with as many axes as the values that they multiply."""
    weights = as_tensor(weights)
    if weights.dtype != values.dtype:
        weights = ops.cast(weights, values.dtype)
    if values.ndim == 0:  # one value of the whole batch, as Dice gives
        return ops.mean(weights)
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
            f"received shape {weights.shape}"
        )
    return weights if weights.shape == shape else ops.reshape(weights, shape)


def snake(name: str) -> str:
    """A class name in lower case with underscores, as Keras makes it."""
    words = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def _ratio(total: Tensor, count: Tensor) -> Tensor:
    """``total / count``; 0 of nothing."""
    return ops.where(count, total / (count + ops.equal(count, 0.0)), 0.0)
