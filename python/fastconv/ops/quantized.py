"""Arrays of bytes that stand for numbers, and convolution, sums and means of them.

A quantised array q (uint8) stands for ``scale * (q - zero_point)``: the pair
``(scale, zero_point)`` is what the functions here call ``source`` and ``to``. B. Jacob
et al., "Quantization and training of neural networks for efficient integer-arithmetic-
only inference", arXiv:1712.05877 (2018), section 2.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod
from typing import Any

import numpy as np

from fastconv._core import (
    OpKind,
    Quantization,
    QuantizedConvAttrs,
    QuantizedPoolAttrs,
    Requantization,
)
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Shape, Spec, Tensor, emit, register
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor
from fastconv.ops.conv import check_conv, weights_shape
from fastconv.ops.geometry import Padding, input_shape, output_shape, window

__all__ = [
    "dequantize", "quantize", "quantized_average_pool", "quantized_conv", "requantize",
]  # fmt: skip

Scale = tuple[float, int]  # scale and zero point
MOST_PRODUCTS = 1 << 16  # that a sum of 32 bits holds: 2^16 * 255 * 128 < 2^31
_LARGEST = float(np.finfo(np.float32).max)


@op
def quantize(x: Any, scale: float, zero_point: int = 0) -> Tensor:
    """Numbers as bytes: ``q = clip(round(x / scale) + zero_point, 0, 255)``.

    Halves are rounded to even, as by ONNX's QuantizeLinear; NaN gives 0. Jacob et al.,
    arXiv:1712.05877, equation 1.

    Parameters
    ----------
    x: float32, any shape.
    scale: > 0, what one step stands for.
    zero_point: 0 to 255, what 0 becomes; default 0.

    Returns
    -------
    Tensor of x's shape, uint8.

    Raises
    ------
    ArgumentError for another scale or zero point; DtypeError if ``x`` is not float32.

    >>> import fastconv as fc
    >>> fc.ops.quantize([-1.0, 0.0, 0.26, 9.0], 0.1, 10)
    array([  0,  10,  13, 100], dtype=uint8)
    """
    x = _expect_dtype("quantize", as_tensor(x), "float32", "a number")
    return emit(OpKind.quantize, quantization((scale, zero_point)), x)[0]


@op
def dequantize(q: Any, scale: float, zero_point: int = 0) -> Tensor:
    """The numbers that bytes stand for: ``scale * (q - zero_point)``.

    Parameters
    ----------
    q: uint8, any shape.
    scale, zero_point: as for `quantize`.

    Returns
    -------
    Tensor of q's shape, float32.

    Raises
    ------
    As `quantize`; DtypeError if ``q`` is not uint8.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.ops.dequantize(np.array([8, 10, 14], np.uint8), 0.5, 10)
    array([-1.,  0.,  2.], dtype=float32)
    """
    q = _bytes("dequantize", q)
    attrs = quantization((scale, zero_point), "dequantize")
    return emit(OpKind.dequantize, attrs, q)[0]


@op
def requantize(
    x: Any,
    source: Scale,
    to: Scale | None,
    activation: str | None = None,
    add: Any = None,
) -> Tensor:
    """A quantised array, or the sum of two, at another scale: an addition of bytes.

    Formula, with scales s, zero points z and ``a`` the tensor of ``add``::

        real = s_source (x - z_source) + s_add (a - z_add)
        y = clip(round(f(real) / s_to) + z_to, 0, 255)

    Parameters
    ----------
    x: uint8, any shape.
    source: scale and zero point of ``x``.
    to: those of the result; None: the result is ``f(real)``, in float32.
    activation: f: None (default), "relu" or "relu6".
    add: None (default), or (a, (scale, zero point)), with a of x's shape.

    Raises
    ------
    ShapeError if the shapes differ; else as `quantize`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> x, a = np.array([10, 30], np.uint8), np.array([7, 3], np.uint8)
    >>> fc.ops.requantize(x, (0.1, 20), (0.1, 0), "relu", (a, (1.0, 5)))
    array([10,  0], dtype=uint8)
    """
    name = "requantize"
    x, (added, scale) = _bytes(name, x), _added(name, add)
    attrs = requantization(source, to, activation, scale, name)
    return emit(OpKind.requantize, attrs, x, *added)[0]


@op
def quantized_conv(
    inputs: Any,
    kernel: Any,
    bias: Any,
    kernel_scale: Any,
    source: Scale,
    to: Scale | None = None,
    strides: Any = 1,
    padding: Padding = "valid",
    dilation_rate: Any = 1,
    groups: int = 1,
    activation: str | None = None,
    add: Any = None,
) -> Tensor:
    """Convolution of bytes, summed exactly in 32 bits.

    Formula, in the words of `conv`, with scales s, zero points z, and padding that
    stands for 0::

        sum = bias[k] + sum over r, s', c of (src[...] - z_source) kernel[r, s', c, k]
        real = sum s_source kernel_scale[k] + s_add (a - z_add)
        dst = clip(round(f(real) / s_to) + z_to, 0, 255)

    Jacob et al., arXiv:1712.05877, section 2.2; one scale a filter: R. Krishnamoorthi,
    "Quantizing deep convolutional networks for efficient inference", arXiv:1806.08342
    (2018), section 3.1.1. All results are equal to the bit on every instruction set.

    Parameters
    ----------
    inputs: uint8, shape (N, [D,] [H,] W, C).
    kernel: int8, shape ([T,] [R,] S, C / groups, K).
    bias: int32, shape (K,), in units of ``s_source kernel_scale[k]``.
    kernel_scale: float32, shape (K,).
    source: scale and zero point of ``inputs``.
    to: those of the result; None (default): the result is ``f(real)``, in float32.
    strides, padding, dilation_rate, groups: as for `conv`.
    activation: f: None (default), "relu" or "relu6".
    add: None (default), or (a, (scale, zero point)), with a of the result's shape.

    Returns
    -------
    Tensor of shape (N, [O,] [P,] Q, K), uint8 or float32.

    Raises
    ------
    ArgumentError if a sum has more than 65,536 products; else as `conv` and `quantize`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> x, kernel = np.full((1, 5, 5, 3), 12, np.uint8), np.ones((3, 3, 3, 8), np.int8)
    >>> bias, scale = np.zeros(8, np.int32), np.full(8, 0.5, np.float32)
    >>> fc.ops.quantized_conv(x, kernel, bias, scale, (0.125, 10)).max().item()
    3.375
    """
    name = "quantized_conv"
    src, weights = _bytes(name, inputs), as_tensor(kernel)
    _expect_dtype(name, weights, "int8", "a kernel")
    check_conv(name, src, weights, groups)
    geometry = window(
        name,
        src.shape,
        weights.shape[:-2],
        out_channels=weights.shape[-1],
        strides=strides,
        padding=padding,
        dilation=dilation_rate,
        groups=groups,
    )
    added, scale = _added(name, add)
    attrs = QuantizedConvAttrs(
        geometry=geometry, to=requantization(source, to, activation, scale, name)
    )
    scales = as_tensor(kernel_scale, dtype="float32")
    operands = (src, weights, as_tensor(bias), scales, *added)
    return emit(OpKind.quantized_conv, attrs, *operands)[0]


@op
def quantized_average_pool(
    x: Any,
    pool_size: Any,
    source: Scale,
    to: Scale | None = None,
    strides: Any = None,
    padding: Padding = "valid",
    dilation: Any = 1,
    count_include_pad: bool = False,
) -> Tensor:
    """Mean of each window of a quantised array, channel by channel.

    Formula: ``y = clip(round(s_source mean / s_to) + z_to, 0, 255)``, where ``mean`` is
    that of ``x - z_source`` as in `average_pool`, and padding stands for 0.

    Parameters
    ----------
    x: uint8, shape (N, [D], [H], W, C).
    source: scale and zero point of ``x``.
    to: those of the result; None (default): the result is the mean, in float32.
    pool_size, strides, padding, dilation, count_include_pad: as for `average_pool`.

    Raises
    ------
    As `average_pool` and `quantize`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([10, 14, 12, 12], np.uint8).reshape(1, 4, 1)
    >>> fc.ops.quantized_average_pool(x, 2, (0.5, 10), (0.25, 0)).ravel()
    array([4, 4], dtype=uint8)
    """
    name = "quantized_average_pool"
    x = _bytes(name, x)
    geometry = window(
        name,
        x.shape,
        pool_size,
        out_channels=x.shape[-1],
        strides=pool_size if strides is None else strides,
        padding=padding,
        dilation=dilation,
    )
    attrs = QuantizedPoolAttrs(
        geometry=geometry,
        count_include_pad=int(count_include_pad),
        to=requantization(source, to, name=name),
    )
    return emit(OpKind.quantized_average_pool, attrs, x)[0]


def requantization(
    source: Scale,
    to: Scale | None,
    activation: str | None = None,
    add: Scale | None = None,
    name: str = "requantize",
) -> Requantization:
    """The attributes of what becomes of an integer at the scale of ``source``."""
    if activation not in (None, "relu", "relu6"):
        raise ArgumentError(
            f"{who(name)}: expected an activation None, 'relu' or 'relu6', received "
            f"{activation!r}; use dequantize, the activation and quantize"
        )
    dst = quantization(to or (1.0, 0), name)
    low, high = -float(dst.zero_point), 255.0 - dst.zero_point
    if to is None:
        low, high = -_LARGEST, _LARGEST
    return Requantization(
        src=quantization(source, name),
        add=quantization(add or (1.0, 0), name),
        dst=dst,
        has_add=int(add is not None),
        real=int(to is None),
        low=max(low, 0.0) if activation else low,
        high=min(high, 6 / dst.scale) if activation == "relu6" else high,
    )


def quantization(pair: Any, name: str = "quantize") -> Quantization:
    """A scale and a zero point, checked, as attributes."""
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise ArgumentError(
            f"{who(name)}: expected a scale and a zero point, received {pair!r}"
        )
    scale, zero = pair
    number = isinstance(scale, int | float | np.floating)
    if not number or not isfinite(scale) or np.float32(scale) <= 0:
        raise ArgumentError(f"{who(name)}: expected a scale > 0, received {scale!r}")
    whole = hasattr(zero, "__index__") and not isinstance(zero, bool)
    if not whole or not 0 <= zero <= 255:
        raise ArgumentError(
            f"{who(name)}: expected a zero point from 0 to 255, received {zero!r}"
        )
    return Quantization(scale=float(scale), zero_point=int(zero))


def _expect_dtype(name: str, tensor: Tensor, dtype: str, what: str) -> Tensor:
    if tensor.dtype != dtype:
        raise DtypeError(
            f"{who(name)}: expected {what} of dtype {dtype}, received {tensor.dtype}"
        )
    return tensor


def _bytes(name: str, x: Any) -> Tensor:
    return _expect_dtype(name, as_tensor(x), "uint8", "a quantised array")


def _added(name: str, add: Any) -> tuple[tuple[Tensor, ...], Scale | None]:
    """The tensor that is added, if there is one, and its scale and zero point."""
    if add is None:
        return (), None
    if not isinstance(add, list | tuple) or len(add) != 2:
        raise ArgumentError(
            f"{who(name)}: expected add=(tensor, (scale, zero point)), received "
            f"{add!r:.80}"
        )
    return (_bytes(name, add[0]),), add[1]


# Rules --------------------------------------------------------------------------------


def _result(
    kind: OpKind, to: Requantization, shape: Shape, added: Sequence[Tensor]
) -> list[Spec]:
    for tensor in added:
        _expect(kind, tensor, "add", shape, "uint8")
    if len(added) != to.has_add:
        raise ArgumentError(f"{who(kind.name)}: the operands do not agree with has_add")
    return [(shape, "float32" if to.real else "uint8")]


def _expect(kind: OpKind, t: Tensor, what: str, shape: Shape, dtype: str) -> None:
    if t.shape != shape or t.dtype != dtype:
        raise ShapeError(
            f"{who(kind.name)}: expected {what} {dtype}{list(shape)}, received "
            f"{t.dtype}{list(t.shape)}"
        )


def _requantize_shape(attrs: Requantization, src: Tensor, *added: Tensor) -> list[Spec]:
    return _result(OpKind.requantize, attrs, src.shape, added)


def _conv_shape(
    attrs: QuantizedConvAttrs,
    src: Tensor,
    weights: Tensor,
    bias: Tensor,
    scales: Tensor,
    *added: Tensor,
) -> list[Spec]:
    kind, g, axes = OpKind.quantized_conv, attrs.geometry, src.ndim - 2
    shape, filters = weights_shape(g, axes), (g.out_channels,)
    if prod(shape[:-1]) > MOST_PRODUCTS:
        raise ArgumentError(
            f"{who(kind.name)}: expected at most {MOST_PRODUCTS:,} products in a sum, "
            f"which 32 bits hold, received a kernel of shape {shape}"
        )
    _expect(kind, src, "inputs", input_shape(g, axes), "uint8")
    _expect(kind, weights, "a kernel", shape, "int8")
    _expect(kind, bias, "a bias", filters, "int32")
    _expect(kind, scales, "scales", filters, "float32")
    return _result(kind, attrs.to, output_shape(g, axes), added)


def _pool_shape(attrs: QuantizedPoolAttrs, src: Tensor) -> list[Spec]:
    kind, g, axes = OpKind.quantized_average_pool, attrs.geometry, src.ndim - 2
    _expect(kind, src, "an input", input_shape(g, axes), "uint8")
    return _result(kind, attrs.to, output_shape(g, axes), ())


def _conv_cost(node: Node) -> int:
    per_output = prod(node.inputs[1].shape[:-1])
    return 2 * node.outputs[0].size * per_output


def _pool_cost(node: Node) -> int:
    return node.outputs[0].size * prod(node.attrs.geometry.kernel)


register(OpKind.quantize, Rule(lambda attrs, src: [(src.shape, "uint8")]))
register(OpKind.dequantize, Rule(lambda attrs, src: [(src.shape, "float32")]))
register(OpKind.requantize, Rule(_requantize_shape))
register(OpKind.quantized_conv, Rule(_conv_shape, cost=_conv_cost))
register(OpKind.quantized_average_pool, Rule(_pool_shape, cost=_pool_cost))
