"""Depthwise and separable convolution layers."""

from __future__ import annotations

from typing import Any

from fastconv import initializers, ops
from fastconv.layers import check
from fastconv.layers.compat import KERNEL, WINDOW, renamed
from fastconv.layers.conv import Window

__all__ = ["DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"]


class _Depthwise(Window):
    """Convolution of each channel for itself; described in `DepthwiseConv2D`."""

    ruled = ("depthwise", "bias")

    @renamed(**WINDOW)
    def __init__(
        self,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: Any = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation,
            use_bias, **kwargs,
        )  # fmt: skip
        self.depth_multiplier = check.integer(
            self, "depth_multiplier", depth_multiplier
        )
        self.depthwise_initializer = initializers.get(depthwise_initializer)

    def build(self, input_shape: Any) -> None:
        """Makes the kernel and the bias."""
        channels = self.channels(input_shape)
        shape = (*self.kernel_size, channels, self.depth_multiplier)
        self.kernel = self.add_weight(
            shape, self.depthwise_initializer, name="kernel", **self.rules("depthwise")
        )
        self.add_bias(channels * self.depth_multiplier)

    def convolve(self, x: Any) -> Any:
        """The depthwise convolution of an input with its channels last."""
        return ops.depthwise_conv(
            x, self.kernel, self.strides, self.padding, self.dilation_rate
        )


class DepthwiseConv1D(_Depthwise, axes=1):
    """Convolution of each channel of sequences; parameters in `DepthwiseConv2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.DepthwiseConv1D(3)(np.zeros((1, 10, 4))).shape
    (1, 8, 4)
    """

    paddings = ("valid", "same", "causal")


class DepthwiseConv2D(_Depthwise, axes=2):
    """Convolution of each channel of an image with filters of its own.

    Formula: `fastconv.ops.depthwise_conv`, then bias and activation. A. Howard et al.,
    "MobileNets", arXiv:1704.04861 (2017), section 3.1.

    Input (N, H, W, C); output (N, P, Q, C * depth_multiplier). Weights: ``kernel`` (KH,
    KW, C, depth_multiplier), ``bias`` (C * depth_multiplier,).

    Parameters
    ----------
    depth_multiplier: filters a channel; default 1.
    depthwise_initializer: default "glorot_uniform".
    kernel_size, strides, padding, data_format, dilation_rate: as for `Conv2D`.
    activation, use_bias, bias_initializer: as for `Conv2D`.
    depthwise_regularizer, bias_regularizer, depthwise_constraint, bias_constraint:
        default none.

    Raises
    ------
    As `Conv2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.DepthwiseConv2D(3, depth_multiplier=2)(np.zeros((1, 5, 5, 4))).shape
    (1, 3, 3, 8)
    """


class _Separable(Window):
    """Depthwise, then pointwise convolution; described in `SeparableConv2D`."""

    ruled = ("depthwise", "pointwise", "bias")

    @renamed(nb_filter="filters", **WINDOW, bias=KERNEL["bias"])
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: Any = "valid",
        data_format: str | None = None,
        dilation_rate: Any = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        **kwargs: Any,
    ) -> None:
        super().__init__(
            kernel_size, strides, padding, data_format, dilation_rate, activation,
            use_bias, **kwargs,
        )  # fmt: skip
        self.filters = check.integer(self, "filters", filters)
        self.depth_multiplier = check.integer(
            self, "depth_multiplier", depth_multiplier
        )
        self.depthwise_initializer = initializers.get(depthwise_initializer)
        self.pointwise_initializer = initializers.get(pointwise_initializer)

    def build(self, input_shape: Any) -> None:
        """Makes both kernels and the bias."""
        channels, multiplier = self.channels(input_shape), self.depth_multiplier
        depthwise = (*self.kernel_size, channels, multiplier)
        pointwise = ((1,) * self.axes) + (channels * multiplier, self.filters)
        self.depthwise_kernel = self.add_weight(
            depthwise, self.depthwise_initializer, name="depthwise_kernel",
            **self.rules("depthwise"),
        )  # fmt: skip
        self.pointwise_kernel = self.add_weight(
            pointwise, self.pointwise_initializer, name="pointwise_kernel",
            **self.rules("pointwise"),
        )  # fmt: skip
        self.add_bias(self.filters)

    def convolve(self, x: Any) -> Any:
        """Both convolutions of an input with its channels last."""
        return ops.separable_conv(
            x, self.depthwise_kernel, self.pointwise_kernel, self.strides, self.padding,
            self.dilation_rate,
        )  # fmt: skip


class SeparableConv1D(_Separable, axes=1):
    """Separable convolution of sequences; parameters in `SeparableConv2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.SeparableConv1D(6, 3)(np.zeros((1, 10, 4))).shape
    (1, 8, 6)
    """

    paddings = ("valid", "same", "causal")


class SeparableConv2D(_Separable, axes=2):
    """Depthwise convolution of images, then a 1x1 convolution that mixes the channels.

    Formula: `fastconv.ops.separable_conv`, then bias and activation. F. Chollet,
    "Xception", CVPR 2017, section 2.

    Input (N, H, W, C); output (N, P, Q, filters). Weights: ``depthwise_kernel`` (KH,
    KW, C, M), ``pointwise_kernel`` (1, 1, C * M, filters), ``bias`` (filters,).

    Parameters
    ----------
    depth_multiplier: M, filters a channel of the first part; default 1.
    depthwise_initializer, pointwise_initializer: default "glorot_uniform".
    strides: of the first part; default 1.
    filters, kernel_size, padding, data_format, dilation_rate: as for `Conv2D`.
    activation, use_bias, bias_initializer: as for `Conv2D`.
    depthwise_regularizer, pointwise_regularizer, bias_regularizer and the constraints
        of the same names: default none.

    Raises
    ------
    As `Conv2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.SeparableConv2D(6, 3)(np.zeros((1, 5, 5, 4))).shape
    (1, 3, 3, 6)
    """
