"""Convolution layers in 1 to 3 dimensions: one implementation, classes fix the axes."""

from __future__ import annotations

from typing import Any, ClassVar

from fastconv import activations, initializers, ops
from fastconv.errors import ArgumentError
from fastconv.layers import check, layout
from fastconv.layers.compat import (
    KERNEL,
    ORDER_NAMES,
    WINDOW,
    old_names,
    one_kernel_size,
    renamed,
    warn_of_order,
)
from fastconv.layers.spatial import Spatial

__all__ = [
    "Conv1D", "Conv2D", "Conv3D", "Convolution1D", "Convolution2D", "Convolution3D",
]  # fmt: skip


class Window(Spatial):
    """What all convolutions have: a window, a bias and an activation."""

    paddings: ClassVar[tuple[str, ...]] = ("valid", "same")
    ruled: ClassVar[tuple[str, ...]] = ("kernel", "bias")

    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        axes = self.axes
        self.kernel_size = check.integers(self, "kernel_size", kernel_size, axes)
        self.strides = check.integers(self, "strides", strides, axes)
        self.dilation_rate = check.integers(self, "dilation_rate", dilation_rate, axes)
        self.padding = check.padding(self, padding, self.paddings, axes)
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.bias_initializer = initializers.get(bias_initializer)

    def channels(self, input_shape: Any) -> int:
        """Number of channels of an input, which must be known."""
        size = input_shape[layout.channel_axis(self.data_format)]
        return check.known_size(self, "the number of channels", size)

    def add_bias(self, filters: int) -> None:
        """Makes the bias, one value a filter, if there is one."""
        if self.use_bias:
            self.bias = self.add_weight(
                (filters,), self.bias_initializer, name="bias", **self.rules("bias")
            )

    def call(self, x: Any) -> Any:
        """Convolution, bias, activation."""
        y = self.convolve(self.to_last(x))
        if self.use_bias:
            y = ops.add(y, self.bias)
        return self.from_last(self.activation(y))

    def convolve(self, x: Any) -> Any:
        """The convolution of an input with its channels last."""
        raise NotImplementedError


class _Conv(Window):
    """A bank of filters; described in `Conv2D`."""

    @renamed(nb_filter="filters", **WINDOW, **KERNEL)
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation,
            use_bias, **kwargs,
        )  # fmt: skip
        self.filters = check.integer(self, "filters", filters)
        self.groups = check.integer(self, "groups", groups)
        self.kernel_initializer = initializers.get(kernel_initializer)
        if self.filters % self.groups:
            self._bad_groups("filters", self.filters)

    def build(self, input_shape: Any) -> None:
        """Makes the kernel and the bias."""
        channels = self.channels(input_shape)
        if channels % self.groups:
            self._bad_groups("channels", channels)
        shape = (*self.kernel_size, channels // self.groups, self.filters)
        self.kernel = self.add_weight(
            shape, self.kernel_initializer, name="kernel", **self.rules("kernel")
        )
        self.add_bias(self.filters)

    def convolve(self, x: Any) -> Any:
        """The convolution of an input with its channels last."""
        return ops.conv(
            x, self.kernel, self.strides, self.padding, self.dilation_rate, self.groups
        )

    def _bad_groups(self, what: str, count: int) -> None:
        raise ArgumentError(
            f"{check.who(self)}: expected groups that divide the {count} {what}, "
            f"received groups={self.groups}"
        )


class Conv1D(_Conv, axes=1):
    """Convolution of sequences (N, W, C); parameters in `Conv2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Conv1D(4, 3, padding="causal")(np.zeros((2, 10, 3))).shape
    (2, 10, 4)
    """

    paddings = ("valid", "same", "causal")


class Conv2D(_Conv, axes=2):
    """Convolution of images (N, H, W, C): a bank of filters slides over them.

    Formula: ``y = activation(conv(x, kernel) + bias)``, with the convolution of
    `fastconv.ops.conv`: every filter sees all channels of its group under the window.
    Y. LeCun et al., "Gradient-based learning applied to document recognition",
    Proc. IEEE 86 (1998), section II.

    Input (N, [D,] [H,] W, C); output (N, [O,] [P,] Q, filters), or channels first in
    both. Weights: ``kernel`` ([KD,] [KH,] KW, C / groups, filters) and ``bias``
    (filters,).

    Parameters
    ----------
    filters: number of filters, >= 1.
    kernel_size: size of the window, a number or one an axis.
    strides, dilation_rate: a number or one an axis; default 1. Both may exceed 1.
    padding: "valid" (none; the default), "same" (output size = ceil(input / stride)),
        "causal" (1D: no output sees a later input), or numbers: one, one an axis, or
        a pair (before, after) an axis.
    data_format: "channels_last" or "channels_first"; None: `image_data_format()`.
    groups: parts into which channels and filters are divided; default 1.
    activation: name or function; default none.
    use_bias: default True.
    kernel_initializer: default "glorot_uniform".
    bias_initializer: default "zeros".
    kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: names or
        objects of `fastconv.regularizers`, `fastconv.constraints`; default none.

    Raises
    ------
    ArgumentError or UnknownNameError for arguments that make no sense; ShapeError for
    an input of another rank, or smaller than the window.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Conv2D(8, 3, strides=2)(np.zeros((1, 9, 9, 3))).shape
    (1, 4, 4, 8)
    """


class Conv3D(_Conv, axes=3):
    """Convolution of volumes (N, D, H, W, C); parameters in `Conv2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Conv3D(2, (1, 3, 3))(np.zeros((1, 4, 5, 5, 1))).shape
    (1, 4, 3, 3, 2)
    """


class Convolution1D(Conv1D):
    """Keras 1's `Conv1D`: ``Convolution1D(nb_filter, filter_length)``.

    >>> import fastconv as fc
    >>> fc.layers.Convolution1D(8, 3).kernel_size
    (3,)
    """

    @old_names("filter_length")
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = ("filter_length",)
        super().__init__(**one_kernel_size(type(self).__name__, names, args, kwargs))


class Convolution2D(Conv2D):
    """Keras 1's `Conv2D`: ``Convolution2D(nb_filter, nb_row, nb_col)``.

    With Theano its images were (depth, height, width): see
    `fastconv.layers.channels_first`. A FastconvWarning says so where an ``input_shape``
    looks like that and no order was given.

    >>> import fastconv as fc
    >>> fc.layers.Convolution2D(8, (3, 3)).kernel_size
    (3, 3)
    """

    @old_names("nb_row", "nb_col")
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = ("nb_row", "nb_col")
        super().__init__(**one_kernel_size(type(self).__name__, names, args, kwargs))
        shape, unsaid = self.input_shape_hint, not {*kwargs} & ORDER_NAMES
        if unsaid and self.data_format == "channels_last" and _depth_first(shape):
            warn_of_order(check.who(self), shape)


def _depth_first(shape: Any) -> bool:
    """Whether an image's shape looks like (depth, height, width)."""
    known = shape is not None and len(shape) == 3 and None not in shape
    return known and shape[0] in (1, 3) and shape[0] < min(shape[1:])


class Convolution3D(Conv3D):
    """Keras 1's `Conv3D`, with the sizes of the kernel one by one.

    >>> import fastconv as fc
    >>> fc.layers.Convolution3D(8, (3, 3, 3)).kernel_size
    (3, 3, 3)
    """

    @old_names("kernel_dim1", "kernel_dim2", "kernel_dim3")
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        names = ("kernel_dim1", "kernel_dim2", "kernel_dim3")
        super().__init__(**one_kernel_size(type(self).__name__, names, args, kwargs))
