"""Metrics by name, from functions, and as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastconv import custom_objects as objects
from fastconv import losses
from fastconv.errors import ArgumentError, unknown_name
from fastconv.losses.base import snake
from fastconv.metrics.accuracy import (
    Accuracy,
    BinaryAccuracy,
    CategoricalAccuracy,
    SparseCategoricalAccuracy,
    SparseTopKCategoricalAccuracy,
    TopKCategoricalAccuracy,
)
from fastconv.metrics.auc import (
    AUC,
)
from fastconv.metrics.base import (
    FunctionMetric,
    Mean,
    Metric,
    Sum,
)
from fastconv.metrics.confusion import (
    ConfusionMatrix,
    FalseNegatives,
    FalsePositives,
    Precision,
    Recall,
    TrueNegatives,
    TruePositives,
)
from fastconv.metrics.fscore import (
    F1Score,
    FBetaScore,
)
from fastconv.metrics.iou import (
    BinaryIoU,
    IoU,
    MeanIoU,
    OneHotIoU,
    OneHotMeanIoU,
)
from fastconv.metrics.regression import (
    CosineSimilarity,
    R2Score,
    RootMeanSquaredError,
)
from fastconv.metrics.wrapped import (
    BinaryCrossentropy,
    CategoricalCrossentropy,
    CategoricalHinge,
    Hinge,
    KLDivergence,
    LogCoshError,
    MeanAbsoluteError,
    MeanAbsolutePercentageError,
    MeanSquaredError,
    MeanSquaredLogarithmicError,
    Poisson,
    SparseCategoricalCrossentropy,
    SquaredHinge,
)

CLASSES: dict[str, type[Metric]] = {
    cls.__name__: cls
    for cls in (
        AUC, Accuracy, BinaryAccuracy, BinaryCrossentropy, BinaryIoU,
        CategoricalAccuracy, CategoricalCrossentropy, CategoricalHinge,
        ConfusionMatrix, CosineSimilarity, F1Score, FBetaScore, FalseNegatives,
        FalsePositives, Hinge, IoU, KLDivergence, LogCoshError, Mean,
        MeanAbsoluteError, MeanAbsolutePercentageError, MeanIoU,
        MeanSquaredError, MeanSquaredLogarithmicError, OneHotIoU, OneHotMeanIoU,
        Poisson, Precision, R2Score, Recall, RootMeanSquaredError,
        SparseCategoricalAccuracy, SparseCategoricalCrossentropy,
        SparseTopKCategoricalAccuracy, SquaredHinge, Sum,
        TopKCategoricalAccuracy, TrueNegatives, TruePositives,
    )
}  # fmt: skip
NAMES: dict[str, type[Metric]] = {
    **{snake(name): cls for name, cls in CLASSES.items()},
    **CLASSES,
    "bce": BinaryCrossentropy,
    "BCE": BinaryCrossentropy,
    "fbeta_score": FBetaScore,
    "logcosh": LogCoshError,
    "kld": KLDivergence,
    "mae": MeanAbsoluteError,
    "MAE": MeanAbsoluteError,
    "mape": MeanAbsolutePercentageError,
    "MAPE": MeanAbsolutePercentageError,
    "mse": MeanSquaredError,
    "MSE": MeanSquaredError,
    "msle": MeanSquaredLogarithmicError,
    "MSLE": MeanSquaredLogarithmicError,
}
AUTOMATIC = ("accuracy", "acc")  # chosen from the shapes, see accuracy_for
NEEDY = (ConfusionMatrix, IoU, MeanIoU, OneHotIoU, OneHotMeanIoU)


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
        cls = NAMES.get(identifier)
        if cls is None:
            raise unknown_name("metric", identifier, [*AUTOMATIC, *NAMES])
        if cls in NEEDY:
            raise ArgumentError(
                f"metric {identifier!r}: needs the number of classes; give "
                f"fastconv.metrics.{cls.__name__}(num_classes, ...) itself"
            )
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
        given = getattr(metric.function, "__name__", metric.name)
        config = {"name": metric.name, **metric.options}
        own = given != metric.name or metric.options
        return {"function": given, **({"config": config} if own else {})}
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
    functions = {n: f for n in losses.__all__ if callable(f := getattr(losses, n))}
    known = {**functions, **CLASSES, **objects.known(), **(custom_objects or {})}
    if name not in known:
        raise unknown_name("metric", name, list(known))
    if "function" in config:
        return FunctionMetric(known[name], **config.get("config", {}))
    return known[name].from_config(dict(config.get("config", {})))
