"""Input, and the layers that only arrange data or call a function."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

from fastconv import activations, custom_objects, ops
from fastconv.errors import ArgumentError, ShapeError
from fastconv.graph.ir import dtype_name
from fastconv.layers import check, layout
from fastconv.layers.base import KerasTensor, Layer, unique_name
from fastconv.layers.compat import renamed

__all__ = [
    "Activation", "Flatten", "Identity", "Input", "InputLayer", "Lambda", "Permute",
    "RepeatVector", "Reshape",
]  # fmt: skip


def Input(  # noqa: N802  (Keras's name)
    shape: Any = None,
    batch_size: int | None = None,
    dtype: Any = None,
    name: str | None = None,
    batch_shape: Any = None,
) -> KerasTensor:
    """The start of a functional model: a tensor without values.

    Parameters
    ----------
    shape: of one sample, without the batch; None where any size is accepted.
    batch_size: default None, any.
    dtype: default "float32".
    name: default "input", "input_1", ...
    batch_shape: instead of both, the shape with the batch.

    Raises
    ------
    ArgumentError for a shape that is no tuple of integers >= 1.

    >>> import fastconv as fc
    >>> x = fc.Input((32, 32, 1))
    >>> fc.layers.Conv2D(6, 5)(x).shape
    (None, 28, 28, 6)
    """
    if batch_shape is not None:
        batch_size, *shape = batch_shape
    if shape is None:
        raise ArgumentError("Input: expected a shape, received none")
    sizes = tuple(shape) if isinstance(shape, list | tuple) else (shape,)
    for size in (batch_size, *sizes):
        if size is not None and (not check.is_integer(size) or size < 1):
            raise ArgumentError(
                f"Input: expected a shape of integers >= 1 (or None), received "
                f"{shape!r} and batch size {batch_size!r}"
            )
    name = name or unique_name("Input")
    return KerasTensor((batch_size, *sizes), dtype_name(dtype or "float32"), name)


class InputLayer(Layer):
    """The first layer of a `Sequential` model: hands its input on.

    Parameters are those of `Input`.

    >>> import fastconv as fc
    >>> fc.layers.InputLayer((2,))([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """

    @renamed(input_shape="shape", batch_input_shape="batch_shape")
    def __init__(
        self,
        shape: Any = None,
        batch_size: int | None = None,
        dtype: Any = None,
        batch_shape: Any = None,
        name: str | None = None,
    ) -> None:
        tensor = Input(shape, batch_size, dtype, name or "input", batch_shape)
        super().__init__(name=name, dtype=tensor.dtype)
        self.batch_shape = tensor.shape
        self.input_shape_hint = tensor.shape[1:]

    def call(self, x: Any) -> Any:
        """The input itself."""
        return x


class Identity(Layer):
    """The input itself.

    >>> import fastconv as fc
    >>> fc.layers.Identity()([1.0])
    array([1.], dtype=float32)
    """

    def call(self, x: Any) -> Any:
        """The input."""
        return x


class Flatten(Layer):
    """All axes but the batch as one, in row-major order with the channels last.

    Input (N, ...); output (N, product of the rest).

    data_format: order of the input; None: `image_data_format()`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Flatten()(np.zeros((2, 5, 5, 16))).shape
    (2, 400)
    """

    @renamed(dim_ordering="data_format")
    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = layout.resolve(data_format)

    def call(self, x: Any) -> Any:
        """The input as rows."""
        return ops.flatten(layout.to_last(x, self.data_format))


class Reshape(Layer):
    """The elements of each sample, in row-major order, in another shape.

    target_shape: without the batch; one size may be -1 and follows from the others.

    Raises
    ------
    ArgumentError for sizes below 1; ShapeError for an input of another size.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Reshape((4, -1))(np.zeros((2, 8, 3))).shape
    (2, 4, 6)
    """

    @renamed(dims="target_shape")
    def __init__(self, target_shape: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        sizes = tuple(target_shape) if isinstance(target_shape, list | tuple) else ()
        valid = all(check.is_integer(s) and (s > 0 or s == -1) for s in sizes)
        if not valid or sizes.count(-1) > 1 or (sizes == () and target_shape != ()):
            raise ArgumentError(
                f"{check.who(self)}: expected target_shape, a tuple of integers >= 1 "
                f"(one may be -1), received {target_shape!r}"
            )
        self.target_shape = sizes

    def call(self, x: Any) -> Any:
        """The input in its new shape."""
        size, known = prod(x.shape[1:]), prod(s for s in self.target_shape if s != -1)
        if (size % known if -1 in self.target_shape else size != known) != 0:
            raise ShapeError(
                f"{check.who(self)}: expected samples that can be given the shape "
                f"{self.target_shape}, received shape {x.shape[1:]} with {size} "
                "elements"
            )
        sizes = [size // known if s == -1 else s for s in self.target_shape]
        return ops.reshape(x, (x.shape[0], *sizes))


class Permute(Layer):
    """Permuted axes: axis i of the result is axis ``dims[i - 1]`` of the input.

    dims: the axes without the batch, counted from 1.

    Raises
    ------
    ArgumentError for ``dims`` that are no permutation of 1, 2, ...

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Permute((2, 1))(np.zeros((1, 3, 5))).shape
    (1, 5, 3)
    """

    def __init__(self, dims: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        if sorted(self.dims) != list(range(1, len(self.dims) + 1)):
            raise ArgumentError(
                f"{check.who(self)}: expected dims, a permutation of 1, 2, ..., "
                f"received {dims!r}"
            )

    def call(self, x: Any) -> Any:
        """The input with its axes permuted."""
        return ops.transpose(x, (0, *self.dims))


class RepeatVector(Layer):
    """Each row ``n`` times: (N, C) becomes (N, n, C).

    >>> import fastconv as fc
    >>> fc.layers.RepeatVector(2)([[1.0, 3.0]])
    array([[[1., 3.],
            [1., 3.]]], dtype=float32)
    """

    _rank = 2

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.n = check.integer(self, "n", n)

    def call(self, x: Any) -> Any:
        """The input, repeated."""
        rows, features = x.shape
        row = ops.reshape(x, (rows, 1, features))
        return ops.broadcast_to(row, (rows, self.n, features))


class Activation(Layer):
    """An activation function as a layer.

    activation: a name (see `fastconv.activations`) or a function of one tensor.

    Raises
    ------
    UnknownNameError for an unknown name.

    >>> import fastconv as fc
    >>> fc.layers.Activation("relu")([-1.0, 2.0])
    array([0., 2.], dtype=float32)
    """

    def __init__(self, activation: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.activation = activations.get(activation)

    def call(self, x: Any) -> Any:
        """The function of the input."""
        return self.activation(x)


class Lambda(Layer):
    """Any function of tensors as a layer; it is traced, and so can be trained through.

    A file never holds code: a model with a Lambda of a lambda is not saved; one of a
    named function holds the name, and is loaded with
    ``custom_objects={name: function}``.

    Parameters
    ----------
    function: takes the input (and ``arguments``), computes with `fastconv.ops`; or the
        name of one given by `custom_object_scope`.
    output_shape: as in Keras, and without effect: the shape follows from tracing.
    mask: only None; there are no masks.
    arguments: further arguments by name; default none.

    >>> import fastconv as fc
    >>> fc.layers.Lambda(lambda x: x * x)([2.0, 3.0])
    array([4., 9.], dtype=float32)
    """

    def __init__(
        self,
        function: Callable[..., Any] | str,
        output_shape: Any = None,
        mask: Any = None,
        arguments: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if isinstance(function, str):
            function = custom_objects.custom_object(function)
        if not callable(function):
            raise ArgumentError(
                f"{check.who(self)}: expected a function, received {function!r}"
            )
        if mask is not None:
            raise ArgumentError(
                f"{check.who(self)}: expected mask=None, received {mask!r:.80}"
            )
        self.function: Callable[..., Any] = function
        self.arguments = dict(arguments or {})

    def call(self, x: Any) -> Any:
        """The function of the input."""
        return self.function(x, **self.arguments)
