"""Convolution in 1 to 3 dimensions: grouped, depthwise, separable, transposed."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from fastconv._core import ConvAttrs, OpKind, WindowGeometry
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Shape, Spec, Tensor, emit, register, wide
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor
from fastconv.operators import OPERATORS
from fastconv.ops.activation import epilogue_shapes
from fastconv.ops.elementwise import floating
from fastconv.ops.geometry import (
    Padding,
    input_shape,
    output_shape,
    per_axis,
    window,
)

__all__ = ["conv", "conv_transpose", "depthwise_conv", "separable_conv"]


@op
def conv(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: Padding = "valid",
    dilation_rate: Any = 1,
    groups: int = 1,
) -> Tensor:
    """Convolution (cross-correlation, as in all networks) over 1 to 3 spatial axes.

    Formula, in two dimensions, with padding ``(a, b)`` before, stride s, dilation d::

        dst[n, p, q, k] = sum over r, s', c of
            src[n, p s + r d - a, q s + s' d - b, c] kernel[r, s', c, k]

    where c runs over the channels of k's group, and ``src`` is 0 outside. Y. LeCun et
    al., "Gradient-based learning applied to document recognition", Proc. IEEE 86
    (1998), section II; V. Dumoulin, F. Visin, "A guide to convolution arithmetic for
    deep learning", arXiv:1603.07285 (2016), sections 2 and 5.

    Parameters
    ----------
    inputs: shape (N, [D,] [H,] W, C).
    kernel: shape ([T,] [R,] S, C / groups, K).
    strides: step of the window; a number, or one an axis. Default 1.
    padding: "valid" (default), "same", "causal", a number, one an axis, or one
        (before, after) pair an axis; negative numbers crop.
    dilation_rate: distance between the taps of the kernel. Default 1.
    groups: parts into which channels and filters are divided. Default 1.

    Returns
    -------
    Tensor of shape (N, [O,] [P,] Q, K); a size is floor((D + before + after -
    d (k - 1) - 1) / s) + 1.

    Raises
    ------
    ShapeError if ranks or channels do not agree, or the window does not fit.
    ArgumentError if a size is below 1, or ``groups`` does not divide the channels.
    DtypeError if the dtypes are not floating-point, or differ, but for bfloat16 with a
    float32 kernel.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.ops.conv(np.ones((1, 5, 5, 3)), np.ones((3, 3, 3, 8)), strides=2).shape
    (1, 2, 2, 8)
    """
    src, weights = as_tensor(inputs), as_tensor(kernel)
    _check_dtypes("conv", src, weights)
    check_conv("conv", src, weights, groups)
    geometry = window(
        "conv",
        src.shape,
        weights.shape[:-2],
        out_channels=weights.shape[-1],
        strides=strides,
        padding=padding,
        dilation=dilation_rate,
        groups=groups,
    )
    return emit(OpKind.conv, ConvAttrs(geometry=geometry), src, weights)[0]


@op
def depthwise_conv(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: Padding = "valid",
    dilation_rate: Any = 1,
) -> Tensor:
    """Convolution of each channel with its own M filters.

    Formula: ``dst[..., c M + m]`` is the convolution of ``src[..., c]`` with
    ``kernel[..., c, m]``. L. Sifre, "Rigid-motion scattering for image classification",
    PhD thesis (2014), section 6.2; A. Howard et al., "MobileNets", arXiv:1704.04861
    (2017), section 3.1.

    Parameters
    ----------
    inputs: shape (N, [D,] [H,] W, C).
    kernel: shape ([T,] [R,] S, C, M).
    strides, padding, dilation_rate: as for `conv`.

    Returns
    -------
    Tensor of shape (N, [O,] [P,] Q, C * M).

    Raises
    ------
    ShapeError, ArgumentError, DtypeError as `conv`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.ops.depthwise_conv(np.ones((1, 5, 5, 3)), np.ones((3, 3, 3, 2))).shape
    (1, 3, 3, 6)
    """
    src, weights = as_tensor(inputs), as_tensor(kernel)
    _check_operands("depthwise_conv", src, weights)
    channels, multiplier = weights.shape[-2:]
    _check_channels("depthwise_conv", src, weights, channels)
    filters = (*weights.shape[:-2], 1, channels * multiplier)
    weights = OPERATORS["reshape"](weights, filters)
    return conv(src, weights, strides, padding, dilation_rate, groups=channels)


@op
def separable_conv(
    inputs: Any,
    depthwise_kernel: Any,
    pointwise_kernel: Any,
    strides: Any = 1,
    padding: Padding = "valid",
    dilation_rate: Any = 1,
) -> Tensor:
    """A depthwise convolution, then one with windows of size 1 that mixes channels.

    F. Chollet, "Xception: deep learning with depthwise separable convolutions",
    CVPR (2017), section 2.

    Parameters
    ----------
    inputs: shape (N, [D,] [H,] W, C).
    depthwise_kernel: shape ([T,] [R,] S, C, M).
    pointwise_kernel: shape ([1,] [1,] 1, C * M, K).
    strides, padding, dilation_rate: of the depthwise part, as for `conv`.

    Returns
    -------
    Tensor of shape (N, [O,] [P,] Q, K).

    Raises
    ------
    ShapeError, ArgumentError, DtypeError as `conv`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> x, d, p = np.ones((1, 5, 3)), np.ones((3, 3, 2)), np.ones((1, 6, 4))
    >>> fc.ops.separable_conv(x, d, p).shape
    (1, 3, 4)
    """
    pointwise = as_tensor(pointwise_kernel)
    if prod(pointwise.shape[:-2]) != 1:
        raise ShapeError(
            f"{who('separable_conv')}: expected a pointwise kernel with windows of "
            f"size 1, received shape {pointwise.shape}"
        )
    mapped = depthwise_conv(inputs, depthwise_kernel, strides, padding, dilation_rate)
    return conv(mapped, pointwise)


@op
def conv_transpose(
    inputs: Any,
    kernel: Any,
    strides: Any = 1,
    padding: str = "valid",
    output_padding: Any = None,
    dilation_rate: Any = 1,
) -> Tensor:
    """Transposed convolution: the gradient of `conv` with respect to its input.

    Each input element adds ``kernel`` times itself to a window of the output; windows
    of neighbours are ``strides`` apart. V. Dumoulin, F. Visin, "A guide to convolution
    arithmetic for deep learning", arXiv:1603.07285 (2016), section 4.

    With input size D, stride s, e = dilation_rate (k - 1) + 1 and output padding a, the
    output size is that of Keras 3:

    - "valid": ``(D - 1) s + e + a``, where a is by default ``max(e, s) - e``;
    - "same": ``D s`` by default, else ``(D - 1) s + e mod 2 + a``.

    Of the full size ``(D - 1) s + e``, "same" crops ``e - 1 - min(ceil(t / 2), e - 1)``
    elements before, with ``t = s + e - 2`` by default, else ``e + e mod 2 - 2 + a``.
    What is still too much is cropped after; what lacks is filled with zeros after.

    Parameters
    ----------
    inputs: shape (N, [D,] [H,] W, C).
    kernel: shape ([T,] [R,] S, K, C): output channels first, as in Keras.
    strides: a number, or one an axis. Default 1.
    padding: "valid" (default) or "same".
    output_padding: a number, one an axis, or None (default): see above.
    dilation_rate: distance between the taps of the kernel. Default 1.

    Returns
    -------
    Tensor of shape (N, [O,] [P,] Q, K).

    Raises
    ------
    ShapeError if ranks or channels do not agree, or nothing is left of the output.
    ArgumentError for another padding, or sizes below 1.
    DtypeError if the dtypes differ.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> x, kernel = np.ones((1, 4, 4, 2)), np.ones((3, 3, 5, 2))
    >>> fc.ops.conv_transpose(x, kernel, strides=2, padding="same").shape
    (1, 8, 8, 5)
    """
    src, weights = as_tensor(inputs), as_tensor(kernel)
    _check_operands("conv_transpose", src, weights)
    filters, channels = weights.shape[-2:]
    _check_channels("conv_transpose", src, weights, channels)
    sizes, pads = _transposed(
        src, weights, strides, padding, output_padding, dilation_rate
    )
    geometry = window(
        "conv_transpose",
        (src.shape[0], *sizes, filters),
        weights.shape[:-2],
        out_channels=channels,
        strides=strides,
        padding=pads,
        dilation=dilation_rate,
    )
    return emit(OpKind.conv_backward_data, ConvAttrs(geometry=geometry), src, weights)[
        0
    ]


def _transposed(
    src: Tensor,
    weights: Tensor,
    strides: Any,
    padding: str,
    output_padding: Any,
    dilation: Any,
) -> tuple[list[int], list[tuple[int, int]]]:
    """Output sizes, and the paddings of the convolution back to the input's."""
    name, axes = "conv_transpose", src.ndim - 2
    padding = padding.lower() if isinstance(padding, str) else padding
    if padding not in ("valid", "same"):
        raise ArgumentError(
            f"{who(name)}: expected padding 'valid' or 'same', received {padding!r}"
        )
    steps = per_axis(name, "strides", strides, axes)
    dilate = per_axis(name, "dilation_rate", dilation, axes)
    extra = (
        output_padding
        if isinstance(output_padding, list | tuple)
        else [output_padding] * axes
    )
    if len(extra) != axes or not all(
        e is None or (type(e) is int and e >= 0) for e in extra
    ):
        raise ArgumentError(
            f"{who(name)}: expected output_padding None, a number >= 0, or {axes} of "
            f"them, received {output_padding!r}"
        )
    sizes, pads = [], []
    for i in range(axes):
        extent = dilate[i] * (weights.shape[i] - 1) + 1
        before, after = _keras_padding(extent, steps[i], padding, extra[i])
        pads.append((extent - 1 - before, extent - 1 - after))
        sizes.append((src.shape[i + 1] - 1) * steps[i] + 2 + before + after - extent)
    if min(src.shape[1:-1]) < 1 or min(sizes) < 1:
        raise ShapeError(
            f"{who(name)}: the output would be empty: sizes {sizes} from input "
            f"{src.shape} with kernel {weights.shape[:-2]}, padding {padding!r} and "
            f"output_padding {output_padding!r}"
        )
    return sizes, pads


def _keras_padding(
    extent: int, stride: int, padding: str, extra: int | None
) -> tuple[int, int]:
    """Zeros that Keras 3 puts before and after the input spread by the stride."""
    if padding == "valid":
        extra = max(extent, stride) - extent if extra is None else extra
        return extent - 1, extent - 1 + extra
    total = stride + extent - 2 if extra is None else extent + extent % 2 - 2 + extra
    before = min(-(-total // 2), extent - 1)
    return before, total - before


def check_conv(name: str, src: Tensor, weights: Tensor, groups: Any) -> None:
    """That the shapes of a convolution's operands agree."""
    _check_shapes(name, src, weights)
    _check_groups(name, src, weights, groups)


def _check_operands(name: str, src: Tensor, weights: Tensor) -> None:
    _check_shapes(name, src, weights)
    _check_dtypes(name, src, weights)


def _check_shapes(name: str, src: Tensor, weights: Tensor) -> None:
    if src.ndim not in (3, 4, 5) or weights.ndim != src.ndim:
        raise ShapeError(
            f"{who(name)}: expected inputs of shape (N, 1 to 3 spatial axes, C) and a "
            f"kernel with as many axes, received shapes {src.shape} and "
            f"{weights.shape}; a single sample needs a batch axis in front"
        )
    if min(weights.shape) < 1 or src.shape[-1] < 1:
        raise ShapeError(
            f"{who(name)}: expected at least one channel, one filter and windows of "
            f"size >= 1, received inputs {src.shape} and kernel {weights.shape}"
        )


def _check_dtypes(name: str, src: Tensor, weights: Tensor) -> None:
    floating(name, src)
    if weights.dtype not in (src.dtype, wide(src.dtype)):
        raise DtypeError(
            f"{who(name)}: expected inputs and kernel of one dtype, received "
            f"{src.dtype} and {weights.dtype}; use fastconv.ops.cast"
        )


def _check_channels(name: str, src: Tensor, weights: Tensor, expected: int) -> None:
    if src.shape[-1] == expected:
        return
    hint = "the last axis of inputs holds the channels"
    if src.shape[1] == expected:
        hint = "inputs look channels_first: move axis 1 to the end"
    raise ShapeError(
        f"{who(name)}: expected inputs with {expected} channels for a kernel of shape "
        f"{weights.shape}, received shape {src.shape}; {hint}"
    )


def _check_groups(name: str, src: Tensor, weights: Tensor, groups: Any) -> None:
    if not isinstance(groups, int) or isinstance(groups, bool) or groups < 1:
        raise ArgumentError(
            f"{who(name)}: expected groups, an integer >= 1, received {groups!r}"
        )
    channels, filters = src.shape[-1], weights.shape[-1]
    if channels % groups or filters % groups:
        raise ArgumentError(
            f"{who(name)}: expected groups that divide the channels and the filters, "
            f"received groups={groups}, {channels} channels and {filters} filters"
        )
    _check_channels(name, src, weights, weights.shape[-2] * groups)


def weights_shape(g: WindowGeometry, axes: int) -> Shape:
    """Shape [T] [R] S C/groups K of a kernel with so many spatial axes."""
    return (*g.kernel[3 - axes :], g.in_channels // g.groups, g.out_channels)


def _expect(attrs: ConvAttrs, tensor: Tensor, shape: Shape) -> None:
    if tensor.shape != shape:
        raise ShapeError(
            f"{who('conv')}: expected an operand of shape {shape}, received "
            f"{tensor.shape}, for {attrs.geometry}"
        )


def _epilogue(attrs: ConvAttrs, dst: Shape, operands: Sequence[Tensor]) -> None:
    shapes = epilogue_shapes(attrs.epilogue, dst)
    for t, shape in zip(operands, shapes, strict=True):
        _expect(attrs, t, shape)


def _shape(attrs: ConvAttrs, src: Tensor, weights: Tensor, *rest: Tensor) -> list[Spec]:
    axes = src.ndim - 2
    dst = output_shape(attrs.geometry, axes)
    _expect(attrs, src, input_shape(attrs.geometry, axes))
    _expect(attrs, weights, weights_shape(attrs.geometry, axes))
    _epilogue(attrs, dst, rest)
    if attrs.max_pool:
        *outer, rows, columns, filters = dst
        dst = (*outer, rows // 2, columns // 2, filters)
    channel = (dst[-1:], wide(src.dtype))
    return [(dst, src.dtype), *[channel] * (3 * attrs.statistics)]


def _data_shape(
    attrs: ConvAttrs, ddst: Tensor, weights: Tensor, *rest: Tensor
) -> list[Spec]:
    axes = ddst.ndim - 2
    dsrc = input_shape(attrs.geometry, axes)
    _expect(attrs, ddst, output_shape(attrs.geometry, axes))
    _expect(attrs, weights, weights_shape(attrs.geometry, axes))
    _epilogue(attrs, dsrc, rest)
    return [(dsrc, ddst.dtype)]


def _weights_gradient_shape(attrs: ConvAttrs, src: Tensor, ddst: Tensor) -> list[Spec]:
    axes = src.ndim - 2
    _expect(attrs, src, input_shape(attrs.geometry, axes))
    _expect(attrs, ddst, output_shape(attrs.geometry, axes))
    return [(weights_shape(attrs.geometry, axes), wide(src.dtype))]


def _gradient(node: Node, ddst: Tensor) -> list[Tensor]:
    src, weights = node.inputs
    return [
        emit(OpKind.conv_backward_data, node.attrs, ddst, weights)[0],
        emit(OpKind.conv_backward_weights, node.attrs, src, ddst)[0],
    ]


def _data_gradient(node: Node, d_dsrc: Tensor) -> list[Tensor]:
    ddst, weights = node.inputs
    return [
        emit(OpKind.conv, node.attrs, d_dsrc, weights)[0],
        emit(OpKind.conv_backward_weights, node.attrs, d_dsrc, ddst)[0],
    ]


def _weights_gradient(node: Node, d_dweights: Tensor) -> list[Tensor]:
    src, ddst = node.inputs
    return [
        emit(OpKind.conv_backward_data, node.attrs, ddst, d_dweights)[0],
        emit(OpKind.conv, node.attrs, src, d_dweights)[0],
    ]


def _cost(node: Node) -> int:
    g = node.attrs.geometry
    per_output = prod(g.kernel) * g.in_channels // g.groups
    return 2 * g.batch * prod(g.output) * g.out_channels * per_output


register(OpKind.conv, Rule(_shape, _gradient, _cost))
register(OpKind.conv_backward_data, Rule(_data_shape, _data_gradient, _cost))
register(
    OpKind.conv_backward_weights,
    Rule(_weights_gradient_shape, _weights_gradient, _cost),
)
