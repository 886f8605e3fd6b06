"""Layers that make one tensor of several, and the functions that do the same."""

from __future__ import annotations

from functools import reduce
from typing import Any, ClassVar

from fastconv import ops
from fastconv.layers import check
from fastconv.layers.base import Layer

__all__ = [
    "Add", "Average", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract",
    "add", "average", "concatenate", "maximum", "minimum", "multiply", "subtract",
]  # fmt: skip


class _Merge(Layer):
    """Combines a list of inputs from left to right; shapes follow NumPy's broadcasting.

    ShapeError if shapes do not fit, ArgumentError if the input is no list.
    """

    operation: ClassVar[str]
    most: ClassVar[int | None] = None

    def call(self, inputs: Any) -> Any:
        """The combination."""
        tensors = check.several(self, inputs, self.most or 1, self.most)
        return reduce(getattr(ops, self.operation), tensors)


class Add(_Merge):
    """Sum of the inputs, element by element: the skip connections of ResNet.

    He, Zhang, Ren, Sun, "Deep residual learning", CVPR 2016, section 3.2.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Add()([np.ones((1, 2)), np.ones((1, 2))])
    array([[2., 2.]], dtype=float32)
    """

    operation = "add"


class Subtract(_Merge):
    """First input minus second.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Subtract()([np.ones((1, 2)), np.ones((1, 2))])
    array([[0., 0.]], dtype=float32)
    """

    operation = "subtract"
    most = 2


class Multiply(_Merge):
    """Product of the inputs, element by element.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Multiply()([np.full((1, 2), 3.0), np.full((1, 2), 2.0)])
    array([[6., 6.]], dtype=float32)
    """

    operation = "multiply"


class Average(_Merge):
    """Mean of the inputs, element by element.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Average()([np.full((1, 2), 3.0), np.full((1, 2), 1.0)])
    array([[2., 2.]], dtype=float32)
    """

    operation = "add"

    def call(self, inputs: Any) -> Any:
        """The mean."""
        return super().call(inputs) * (1 / len(inputs))


class Maximum(_Merge):
    """Largest of the inputs, element by element.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Maximum()([np.full((1, 2), 3.0), np.full((1, 2), 1.0)])
    array([[3., 3.]], dtype=float32)
    """

    operation = "maximum"


class Minimum(_Merge):
    """Smallest of the inputs, element by element.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Minimum()([np.full((1, 2), 3.0), np.full((1, 2), 1.0)])
    array([[1., 1.]], dtype=float32)
    """

    operation = "minimum"


class Concatenate(Layer):
    """The inputs one after the other along an axis: Inception's and DenseNet's joints.

    Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 4.

    axis: default the last, the channels; all other axes must agree (ShapeError).

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Concatenate()([np.zeros((1, 2)), np.ones((1, 1))])
    array([[0., 0., 1.]], dtype=float32)
    """

    def __init__(self, axis: int = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, inputs: Any) -> Any:
        """The joined inputs."""
        return ops.concatenate(check.several(self, inputs), self.axis)


def add(inputs: Any, **kwargs: Any) -> Any:
    """`Add` as a function.

    >>> import fastconv as fc
    >>> fc.layers.add([fc.Input((2,)), fc.Input((2,))]).shape
    (None, 2)
    """
    return Add(**kwargs)(inputs)


def subtract(inputs: Any, **kwargs: Any) -> Any:
    """`Subtract` as a function.

    >>> import fastconv as fc
    >>> fc.layers.subtract([fc.Input((2,)), fc.Input((2,))]).shape
    (None, 2)
    """
    return Subtract(**kwargs)(inputs)


def multiply(inputs: Any, **kwargs: Any) -> Any:
    """`Multiply` as a function.

    >>> import fastconv as fc
    >>> fc.layers.multiply([fc.Input((2,)), fc.Input((2,))]).shape
    (None, 2)
    """
    return Multiply(**kwargs)(inputs)


def average(inputs: Any, **kwargs: Any) -> Any:
    """`Average` as a function.

    >>> import fastconv as fc
    >>> fc.layers.average([fc.Input((2,)), fc.Input((2,))]).shape
    (None, 2)
    """
    return Average(**kwargs)(inputs)


def maximum(inputs: Any, **kwargs: Any) -> Any:
    """`Maximum` as a function.

    >>> import fastconv as fc
    >>> fc.layers.maximum([fc.Input((2,)), fc.Input((2,))]).shape
    (None, 2)
    """
    return Maximum(**kwargs)(inputs)


def minimum(inputs: Any, **kwargs: Any) -> Any:
    """`Minimum` as a function.

    >>> import fastconv as fc
    >>> fc.layers.minimum([fc.Input((2,)), fc.Input((2,))]).shape
    (None, 2)
    """
    return Minimum(**kwargs)(inputs)


def concatenate(inputs: Any, axis: int = -1, **kwargs: Any) -> Any:
    """`Concatenate` as a function.

    >>> import fastconv as fc
    >>> fc.layers.concatenate([fc.Input((2,)), fc.Input((3,))]).shape
    (None, 5)
    """
    return Concatenate(axis, **kwargs)(inputs)
