"""Pooling in one, two and three dimensions: maximum, average and Lp norm."""

from __future__ import annotations

from math import isfinite, prod
from typing import Any

import numpy as np

from fastconv._core import OpKind, PoolAttrs, WindowGeometry
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Spec, Tensor, emit, register
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor
from fastconv.operators import OPERATORS
from fastconv.ops.geometry import Padding, input_shape, output_shape, window


@op
def max_pool(
    x: Any,
    pool_size: Any,
    strides: Any = None,
    padding: Padding = "valid",
    dilation: Any = 1,
    return_indices: bool = False,
) -> Any:
    """Largest element of each window, channel by channel.

    Formula: ``y[n, p, c] = max_r x[n, p s + r d - before, c]`` over the taps ``r``
    inside the input; padding is never chosen. NaN is handed on.

    Parameters
    ----------
    x: shape (N, [D], [H], W, C), floating, or uint8 without indices.
    pool_size: window size, a number or one an axis.
    strides: default ``pool_size``.
    padding: "valid", "same", "causal", numbers or (before, after) pairs.
    dilation: distance between taps, default 1.
    return_indices: also return the position of each maximum: int32, flat in the D H W
        of one channel's map; the first NaN, else the first maximum in row-major order.

    Returns
    -------
    Tensor of shape (N, [O], [P], Q, C), or that and the indices.

    Raises
    ------
    ShapeError if the window does not fit, or lies wholly in padding; ArgumentError for
    sizes, strides or dilations that are not integers >= 1; DtypeError if ``x`` is
    neither floating nor uint8.

    Ranzato, Huang, Boureau, LeCun, "Unsupervised learning of invariant feature
    hierarchies", CVPR 2007, section 2.

    >>> import fastconv as fc
    >>> fc.ops.max_pool([[[1.0], [3.0], [2.0], [0.0]]], 2)
    array([[[3.],
            [2.]]], dtype=float32)
    """
    x = _source("max_pool", x, () if return_indices else ("uint8",))
    geometry = _geometry("max_pool", x, pool_size, strides, padding, dilation)
    _check_covered(x, geometry)
    y, indices = emit(OpKind.max_pool, PoolAttrs(geometry=geometry), x)
    return (y, indices) if return_indices else y


@op
def average_pool(
    x: Any,
    pool_size: Any,
    strides: Any = None,
    padding: Padding = "valid",
    dilation: Any = 1,
    count_include_pad: bool = False,
) -> Tensor:
    """Mean of each window, channel by channel.

    Formula: ``y[n, p, c] = 1/m sum_r x[n, p s + r d - before, c]`` with ``m`` the
    number of taps inside the input, or the whole window's with ``count_include_pad``.

    Parameters
    ----------
    x, pool_size, strides, padding, dilation: as for `max_pool`.
    count_include_pad: default False, as in Keras. A window wholly in padding gives 0.

    Returns
    -------
    Tensor of shape (N, [O], [P], Q, C).

    Raises
    ------
    As `max_pool`, but for windows in padding.

    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", Proc. IEEE 86 (1998), section II.A.

    >>> import fastconv as fc
    >>> fc.ops.average_pool([[[1.0], [3.0], [2.0], [0.0]]], 2)
    array([[[2.],
            [1.]]], dtype=float32)
    """
    x = _source("average_pool", x)
    geometry = _geometry("average_pool", x, pool_size, strides, padding, dilation)
    attrs = PoolAttrs(geometry=geometry, count_include_pad=int(count_include_pad))
    return emit(OpKind.average_pool, attrs, x)[0]


@op
def lp_pool(
    x: Any,
    pool_size: Any,
    strides: Any = None,
    padding: Padding = "valid",
    dilation: Any = 1,
    p: float = 2,
) -> Tensor:
    """Lp norm of each window, channel by channel.

    Formula: ``y[n, q, c] = (sum_r |x[n, q s + r d - before, c]|^p)^(1/p)``; padding
    counts as 0. The gradient is 0 where ``y`` is 0.

    Parameters
    ----------
    x, pool_size, strides, padding, dilation: as for `max_pool`.
    p: exponent, finite and >= 1; default 2.

    Returns
    -------
    Tensor of shape (N, [O], [P], Q, C).

    Raises
    ------
    ArgumentError for another ``p``; else as `average_pool`.

    Sermanet, Chintala, LeCun, "Convolutional neural networks applied to house numbers
    digit classification", ICPR 2012, section 2.2.

    >>> import fastconv as fc
    >>> fc.ops.lp_pool([[[3.0], [4.0]]], 2)
    array([[[5.]]], dtype=float32)
    """
    if not isinstance(p, int | float) or not isfinite(p) or p < 1:
        raise ArgumentError(
            f"{who('lp_pool')}: expected a finite p >= 1, received {p!r}; "
            "use max_pool for the limit of large p"
        )
    x = _source("lp_pool", x)
    geometry = _geometry("lp_pool", x, pool_size, strides, padding, dilation)
    return emit(OpKind.lp_pool, PoolAttrs(geometry=geometry, p=p), x)[0]


@op
def global_max_pool(x: Any, keepdims: bool = False) -> Tensor:
    """Largest element of each channel's map: `max_pool` with the map as its window.

    Parameters
    ----------
    x: shape (N, [D], [H], W, C), floating.
    keepdims: keep the spatial axes, with size 1; default False.

    Returns
    -------
    Tensor of shape (N, C), or (N, [1], [1], 1, C).

    Raises
    ------
    ShapeError if ``x`` has not 3 to 5 axes or an empty map.

    Oquab, Bottou, Laptev, Sivic, "Is object localization for free?", CVPR 2015, section
    3.

    >>> import fastconv as fc
    >>> fc.ops.global_max_pool([[[1.0], [3.0], [2.0]]])
    array([[3.]], dtype=float32)
    """
    x = _source("global_max_pool", x)
    return _without_map(max_pool(x, x.shape[1:-1]), keepdims)


@op
def global_average_pool(x: Any, keepdims: bool = False) -> Tensor:
    """Mean of each channel's map: `average_pool` with the map as its window.

    Parameters, result and errors as for `global_max_pool`. Lin, Chen, Yan, "Network in
    network", ICLR 2014, section 3.2.

    >>> import fastconv as fc
    >>> fc.ops.global_average_pool([[[1.0], [3.0], [2.0]]])
    array([[2.]], dtype=float32)
    """
    x = _source("global_average_pool", x)
    return _without_map(average_pool(x, x.shape[1:-1]), keepdims)


@op
def global_lp_pool(x: Any, keepdims: bool = False, p: float = 2) -> Tensor:
    """Lp norm of each channel's map: `lp_pool` with the map as its window.

    Parameters, result and errors as for `global_max_pool` and `lp_pool`.

    >>> import fastconv as fc
    >>> fc.ops.global_lp_pool([[[3.0], [0.0], [4.0]]])
    array([[5.]], dtype=float32)
    """
    x = _source("global_lp_pool", x)
    return _without_map(lp_pool(x, x.shape[1:-1], p=p), keepdims)


def _source(name: str, x: Any, also: tuple[str, ...] = ()) -> Tensor:
    x = as_tensor(x)
    if x.ndim not in (3, 4, 5) or 0 in x.shape[1:]:
        raise ShapeError(
            f"{who(name)}: expected an input of 3, 4 or 5 axes (N, 1 to 3 spatial "
            "axes, C), "
            f"all but N of at least 1, received shape {x.shape}"
        )
    if "float" not in x.dtype and x.dtype not in also:
        raise DtypeError(f"{who(name)}: expected a floating input, received {x.dtype}")
    return x


def _geometry(
    name: str, x: Tensor, pool_size: Any, strides: Any, padding: Padding, dilation: Any
) -> WindowGeometry:
    return window(
        name,
        x.shape,
        pool_size,
        out_channels=x.shape[-1],
        strides=pool_size if strides is None else strides,
        padding=padding,
        dilation=dilation,
    )


def _check_covered(x: Tensor, g: WindowGeometry) -> None:
    """Every window of a maximum must hold an element of the input."""
    for axis in range(3):
        dilation, stride = g.dilation[axis], g.stride[axis]
        origins = np.arange(g.output[axis]) * stride - g.pad_before[axis]
        taps = np.maximum(0, -(origins // dilation))  # the first one inside
        inside = (taps < g.kernel[axis]) & (origins + taps * dilation < g.input[axis])
        if not inside.all():
            raise ShapeError(
                f"{who('max_pool')}: window {inside.argmin()} on axis "
                f"{axis + x.ndim - 4} lies wholly in padding: input {x.shape}, window "
                f"{g.kernel}, strides {g.stride}, dilation {g.dilation}, padding "
                f"before {g.pad_before} and after {g.pad_after}; use less padding"
            )


def _without_map(y: Tensor, keepdims: bool) -> Tensor:
    return y if keepdims else OPERATORS["reshape"](y, (y.shape[0], y.shape[-1]))


def _expect(kind: OpKind, what: str, t: Tensor, shape: tuple[int, ...]) -> None:
    if t.shape != shape:
        raise ShapeError(
            f"{who(kind.name)}: expected {what} of shape {shape}, received {t.shape}"
        )


def _forward(attrs: PoolAttrs, src: Tensor) -> list[Spec]:
    axes = src.ndim - 2
    _expect(OpKind.max_pool, "an input", src, input_shape(attrs.geometry, axes))
    return [(output_shape(attrs.geometry, axes), src.dtype)]


def _forward_max(attrs: PoolAttrs, src: Tensor) -> list[Spec]:
    (y,) = _forward(attrs, src)
    return [y, (y[0], "int32")]


def _backward(attrs: PoolAttrs, ddst: Tensor, *others: Tensor) -> list[Spec]:
    axes = ddst.ndim - 2
    shape = output_shape(attrs.geometry, axes)
    _expect(OpKind.average_pool_backward, "a gradient", ddst, shape)
    if len(others) == 1:
        _expect(OpKind.max_pool_backward, "indices", others[0], shape)
    if len(others) == 2:
        source = input_shape(attrs.geometry, axes)
        _expect(OpKind.lp_pool_backward, "an input", others[0], source)
        _expect(OpKind.lp_pool_backward, "an output", others[1], shape)
    return [(input_shape(attrs.geometry, axes), ddst.dtype)]


def _max_gradient(
    node: Node, dy: Tensor | None, _: Tensor | None
) -> list[Tensor | None]:
    if dy is None:
        return [None]
    return [emit(OpKind.max_pool_backward, node.attrs, dy, node.outputs[1])[0]]


def _average_gradient(node: Node, dy: Tensor) -> list[Tensor]:
    return [emit(OpKind.average_pool_backward, node.attrs, dy)[0]]


def _average_second(node: Node, ddx: Tensor) -> list[Tensor]:
    return [emit(OpKind.average_pool, node.attrs, ddx)[0]]


def _lp_gradient(node: Node, dy: Tensor) -> list[Tensor]:
    operands = (dy, node.inputs[0], node.outputs[0])
    return [emit(OpKind.lp_pool_backward, node.attrs, *operands)[0]]


def _cost(node: Node) -> int:
    g = node.attrs.geometry
    return g.batch * prod(g.output) * g.in_channels * prod(g.kernel)


register(OpKind.max_pool, Rule(_forward_max, _max_gradient, _cost))
register(OpKind.max_pool_backward, Rule(_backward, None, _cost))
register(OpKind.average_pool, Rule(_forward, _average_gradient, _cost))
register(OpKind.average_pool_backward, Rule(_backward, _average_second, _cost))
register(OpKind.lp_pool, Rule(_forward, _lp_gradient, _cost))
register(OpKind.lp_pool_backward, Rule(_backward, None, _cost))
