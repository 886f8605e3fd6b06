"""Transposed convolution layers in 1 to 3 dimensions."""

from __future__ import annotations

from typing import Any

from fastconv import initializers, ops
from fastconv.layers import check
from fastconv.layers.compat import KERNEL, WINDOW, renamed
from fastconv.layers.conv import Window

__all__ = ["Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"]


class _ConvTranspose(Window):
    """Transposed convolution; described in `Conv2DTranspose`."""

    @renamed(nb_filter="filters", **WINDOW, **KERNEL)
    def __init__(
        self,
        filters: int,
        kernel_size: Any,
        strides: Any = 1,
        padding: str = "valid",
        output_padding: Any = None,
        data_format: str | None = None,
        dilation_rate: Any = 1,
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
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.output_padding = output_padding
        if output_padding is not None:
            self.output_padding = check.integers(
                self, "output_padding", output_padding, self.axes, least=0
            )

    def build(self, input_shape: Any) -> None:
        """Makes the kernel, with the output's channels first, and the bias."""
        shape = (*self.kernel_size, self.filters, self.channels(input_shape))
        self.kernel = self.add_weight(
            shape, self.kernel_initializer, name="kernel", **self.rules("kernel")
        )
        self.add_bias(self.filters)

    def convolve(self, x: Any) -> Any:
        """The transposed convolution of an input with its channels last."""
        return ops.conv_transpose(
            x, self.kernel, self.strides, self.padding, self.output_padding,
            self.dilation_rate,
        )  # fmt: skip


class Conv1DTranspose(_ConvTranspose, axes=1):
    """Transposed convolution of sequences; parameters in `Conv2DTranspose`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Conv1DTranspose(4, 3, strides=2)(np.zeros((1, 5, 2))).shape
    (1, 11, 4)
    """


class Conv2DTranspose(_ConvTranspose, axes=2):
    """Transposed convolution of images: learned up-sampling.

    Formula: `fastconv.ops.conv_transpose`, then bias and activation: every input
    element adds the kernel times itself to a window of the output, windows being
    ``strides`` apart. V. Dumoulin, F. Visin, arXiv:1603.07285 (2016), section 4.

    Input (N, H, W, C); output (N, P, Q, filters) with P = H * stride for "same" and
    (H - 1) * stride + max(kernel, stride) for "valid". Weights: ``kernel`` (KH, KW,
    filters, C), ``bias`` (filters,).

    Parameters
    ----------
    filters, kernel_size, strides, padding, data_format, dilation_rate: see `Conv2D`.
    activation, use_bias, kernel_initializer, bias_initializer: see `Conv2D`.
    kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: the same.
    output_padding: extra size at the end, a number or one an axis; default None.

    Raises
    ------
    As `Conv2D`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> up = fc.layers.Conv2DTranspose(3, 2, strides=2)
    >>> up(np.zeros((1, 4, 4, 8))).shape
    (1, 8, 8, 3)
    """


class Conv3DTranspose(_ConvTranspose, axes=3):
    """Transposed convolution of volumes; parameters in `Conv2DTranspose`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Conv3DTranspose(1, 2)(np.zeros((1, 2, 2, 2, 1))).shape
    (1, 3, 3, 3, 1)
    """
