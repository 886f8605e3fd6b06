"""Optimisers: how gradients change weights, with Keras 3's names and formulas."""

from fastconv.optimizers import schedules
from fastconv.optimizers.adaptive import (
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    Lion,
    Nadam,
    RMSprop,
)
from fastconv.optimizers.base import Optimizer
from fastconv.optimizers.layerwise import LARS, Lamb
from fastconv.optimizers.loss_scale import LossScaleOptimizer
from fastconv.optimizers.registry import deserialize, get, serialize
from fastconv.optimizers.sgd import SGD

__all__ = [
    "LARS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lamb",
    "Lion",
    "LossScaleOptimizer",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "deserialize",
    "get",
    "schedules",
    "serialize",
]
