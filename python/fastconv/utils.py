"""Small helpers with Keras's names."""

from __future__ import annotations

import random as python_random
from typing import Any

import numpy as np

from fastconv import random
from fastconv.data.folder import image_dataset_from_directory
from fastconv.data.iterables import PyDataset
from fastconv.data.labels import normalize, to_categorical
from fastconv.layers.base import KerasTensor, reset_names
from fastconv.saving import (
    CustomObjectScope,
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
    serialize_keras_object,
)
from fastconv.training.activation_report import activation_report
from fastconv.training.call_graph import sources

__all__ = [
    "CustomObjectScope",
    "PyDataset",
    "Sequence",
    "activation_report",
    "clear_session",
    "custom_object_scope",
    "deserialize_keras_object",
    "get_custom_objects",
    "get_registered_name",
    "get_registered_object",
    "get_source_inputs",
    "image_dataset_from_directory",
    "is_keras_tensor",
    "normalize",
    "pack_x_y_sample_weight",
    "register_keras_serializable",
    "serialize_keras_object",
    "set_random_seed",
    "to_categorical",
    "unpack_x_y_sample_weight",
]

Sequence = PyDataset


def set_random_seed(seed: int) -> None:
    """Seeds Python's ``random``, NumPy's global generator, and fastconv.

    Raises
    ------
    ArgumentError if ``seed`` is not an integer in [0, 2^63).

    >>> import fastconv as fc
    >>> fc.utils.set_random_seed(0)
    """
    random.set_seed(seed)
    python_random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (scripts that use the old interface)


def clear_session(free_memory: bool = True) -> None:
    """Starts the numbers in layers' names, and the random numbers of weights, again.

    free_memory: has no effect; models are freed when nothing refers to them.

    >>> import fastconv as fc
    >>> fc.utils.clear_session()
    """
    reset_names()
    random.set_seed(random.get_seed())


def is_keras_tensor(x: Any) -> bool:
    """Whether ``x`` is a tensor of a model that is being described.

    >>> import fastconv as fc
    >>> fc.utils.is_keras_tensor(fc.Input((2,)))
    True
    """
    return isinstance(x, KerasTensor)


def get_source_inputs(tensor: KerasTensor) -> list[KerasTensor]:
    """The inputs that a tensor of a model was made of.

    >>> import fastconv as fc
    >>> x = fc.Input((2,), name="x")
    >>> fc.utils.get_source_inputs(fc.layers.Dense(1)(x))
    [<KerasTensor float32[None, 2] 'x'>]
    """
    return sources(tensor)


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """``x``, ``y`` and the weights of what a data set gives; None for absent ones.

    >>> from fastconv.utils import unpack_x_y_sample_weight
    >>> unpack_x_y_sample_weight((1, 2))
    (1, 2, None)
    """
    parts = tuple(data) if isinstance(data, list | tuple) else (data,)
    x, y, weight = (*parts, None, None)[:3]
    return x, y, weight


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """``x``, ``(x, y)`` or ``(x, y, sample_weight)``: as many as there are.

    >>> from fastconv.utils import pack_x_y_sample_weight
    >>> pack_x_y_sample_weight(1, 2)
    (1, 2)
    """
    if sample_weight is not None:
        return x, y, sample_weight
    if y is not None:
        return x, y
    return (x,) if isinstance(x, tuple | list) else x
