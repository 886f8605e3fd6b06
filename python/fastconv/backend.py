"""Keras's backend functions: settings, names, and the operations under their old names.

``K.mean``, ``K.square``, ``K.clip`` and the like are those of `fastconv.ops`: all its
names can be reached here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import ops
from fastconv.config import (
    backend,
    epsilon,
    floatx,
    image_data_format,
    set_epsilon,
    set_floatx,
    set_image_data_format,
)
from fastconv.errors import ArgumentError
from fastconv.graph.ir import dtype_name
from fastconv.graph.variable import Variable
from fastconv.layers.base import KerasTensor
from fastconv.layers.compat import deprecated
from fastconv.utils import clear_session, is_keras_tensor

__all__ = [
    "backend",
    "clear_session",
    "epsilon",
    "floatx",
    "get_value",
    "image_data_format",
    "image_dim_ordering",
    "int_shape",
    "is_float_dtype",
    "is_int_dtype",
    "is_keras_tensor",
    "set_epsilon",
    "set_floatx",
    "set_image_data_format",
    "set_image_dim_ordering",
    "set_value",
    "standardize_dtype",
    "variable",
]


def standardize_dtype(dtype: Any) -> str:
    """The name of a dtype; None is "float32".

    >>> import numpy as np
    >>> from fastconv import backend as K
    >>> K.standardize_dtype(np.int64)
    'int64'
    """
    return dtype_name(dtype or "float32")


def is_float_dtype(dtype: Any) -> bool:
    """Whether a dtype is one of floating-point numbers.

    >>> from fastconv import backend as K
    >>> K.is_float_dtype("int32")
    False
    """
    return "float" in standardize_dtype(dtype)


def is_int_dtype(dtype: Any) -> bool:
    """Whether a dtype is one of integers.

    >>> from fastconv import backend as K
    >>> K.is_int_dtype("uint8")
    True
    """
    return "int" in standardize_dtype(dtype)


def int_shape(x: Any) -> tuple[int | None, ...]:
    """The shape of a tensor, variable or array, as a tuple; None where it is open.

    >>> import fastconv as fc
    >>> fc.backend.int_shape(fc.Input((28, 28, 1)))
    (None, 28, 28, 1)
    """
    return tuple(x.shape)


def variable(value: Any, dtype: Any = None, name: str | None = None) -> Variable:
    """A `fastconv.Variable`.

    >>> from fastconv import backend as K
    >>> float(K.get_value(K.variable(2.0)))
    2.0
    """
    return Variable(value, name or "variable", dtype=dtype)


def get_value(x: Any) -> np.ndarray:
    """The value of a variable (or number) as an array.

    >>> from fastconv import backend as K
    >>> float(K.get_value(0.5))
    0.5
    """
    if isinstance(x, KerasTensor):
        raise ArgumentError(f"get_value: {x!r} has no value; it describes a model")
    return np.array(x)


def set_value(x: Any, value: Any) -> None:
    """Gives a variable a value.

    Raises
    ------
    ArgumentError for anything but a variable: a learning rate is assigned, as in
    ``model.optimizer.learning_rate = 0.01``.

    >>> from fastconv import backend as K
    >>> weight = K.variable(2.0)
    >>> K.set_value(weight, 3.0)
    >>> float(K.get_value(weight))
    3.0
    """
    if not isinstance(x, Variable):
        raise ArgumentError(
            f"set_value: expected a variable, received {x!r:.80}; assign a learning "
            "rate with model.optimizer.learning_rate = ..."
        )
    x.assign(value)


def image_dim_ordering() -> str:
    """Keras 1's name of `image_data_format`: "tf" or "th".

    >>> import warnings
    >>> from fastconv import backend as K
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     K.image_dim_ordering()
    'tf'
    """
    deprecated("image_dim_ordering is now image_data_format")
    return {"channels_last": "tf", "channels_first": "th"}[image_data_format()]


def set_image_dim_ordering(dim_ordering: str) -> None:
    """Keras 1's name of `set_image_data_format`; "tf" or "th".

    >>> import warnings
    >>> from fastconv import backend as K
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore")
    ...     K.set_image_dim_ordering("tf")
    """
    deprecated("set_image_dim_ordering is now set_image_data_format")
    set_image_data_format(dim_ordering)


def __getattr__(name: str) -> Any:
    if name in ops.__all__:
        return getattr(ops, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
