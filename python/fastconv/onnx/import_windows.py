"""Import of convolution, pooling, products, normalisation and interpolation."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastconv import ops
from fastconv.layers import (
    BatchNormalization,
    Conv1D,
    Conv1DTranspose,
    Conv2D,
    Conv2DTranspose,
    Conv3D,
    Conv3DTranspose,
    Dense,
    GroupNormalization,
    LayerNormalization,
    Reshape,
)
from fastconv.layers.base import KerasTensor
from fastconv.onnx.known import LARGEST
from fastconv.onnx.scaling import scaled
from fastconv.onnx.values import Builder, NodeView, Value

__all__ = ["RULES"]

_CONV = {3: Conv1D, 4: Conv2D, 5: Conv3D}
_TRANSPOSED = {3: Conv1DTranspose, 4: Conv2DTranspose, 5: Conv3DTranspose}
_LARGEST = 1 << 20  # pixels along an axis
_LAST: dict[str, Any] = {"data_format": "channels_last"}


# Windows ------------------------------------------------------------------------------


def _window(node: NodeView, axes: int, kernel: list[int]) -> dict[str, Any]:
    """Strides, dilation and padding."""
    attrs = node.attrs
    strides = attrs.get("strides", [1] * axes)
    dilations = attrs.get("dilations", [1] * axes)
    mode = attrs.get("auto_pad", "NOTSET")
    given = attrs.get("pads", [0] * 2 * axes)
    if any(len(n) != axes for n in (strides, dilations, kernel)) or (
        len(given) != 2 * axes
    ):
        raise node.error(f"expected {axes} numbers for each of strides, pads ...")
    sizes = [*node.tensor().shape[2:], *strides, *dilations, *given, *kernel]
    if any(n is not None and abs(n) > _LARGEST for n in sizes):
        raise node.error(f"sizes above {_LARGEST}")
    padding: Any = list(zip(given[:axes], given[axes:], strict=True))
    if mode == "SAME_UPPER":
        padding = "same"
    elif mode == "SAME_LOWER":
        padding = _lower(node, strides, dilations, kernel)
    elif mode == "VALID" or not any(given):
        padding = "valid"
    return {"strides": tuple(strides), "dilation": tuple(dilations), "padding": padding}


def _lower(node: NodeView, strides: Any, dilations: Any, kernel: Any) -> Any:
    """As "same", with the odd element before."""
    pads = []
    sizes = zip(_sizes(node), strides, dilations, kernel, strict=True)
    for n, stride, dilation, k in sizes:
        outputs = -(-n // stride)
        total = max(0, (outputs - 1) * stride + dilation * (k - 1) + 1 - n)
        pads.append((total - total // 2, total // 2))
    return pads


def _sizes(node: NodeView) -> list[int]:
    """The spatial sizes of the input, which must be known."""
    sizes = list(node.tensor().shape[2:])
    if None in sizes:
        raise node.error("it needs an input of known size; give load an input_shape")
    return sizes  # type: ignore[return-value]


def _kernel(node: NodeView) -> tuple[np.ndarray, list[np.ndarray]]:
    """A kernel K C R S as R S C K, and the bias if there is one."""
    kernel = node.array(1)
    if kernel is None or kernel.ndim not in _CONV:
        raise node.error("expected a constant kernel of 3 to 5 axes")
    kernel = kernel.transpose(*range(2, kernel.ndim), 1, 0)
    bias = node.array(2)
    return kernel, [kernel] if bias is None else [kernel, bias]


def _options(b: Builder, node: NodeView, arrays: list[Any]) -> dict[str, Any]:
    weight = node.tensor(1).weight
    return {
        "use_bias": len(arrays) > 1, "name": b.name(weight, node.name, node.op),
        **_LAST,
    }  # fmt: skip


def _conv(b: Builder, node: NodeView) -> Value:
    kernel, arrays = _kernel(node)
    size = kernel.shape[:-2]
    window = _window(node, len(size), list(size))
    groups = node.attrs.get("group", 1)
    channels = node.tensor().shape[1]
    if channels != kernel.shape[-2] * groups:
        raise node.error(f"{channels} channels, {groups} groups, kernel {kernel.shape}")
    layer = _CONV[kernel.ndim](
        kernel.shape[-1], size, window["strides"], window["padding"],
        dilation_rate=window["dilation"], groups=groups, **_options(b, node, arrays),
    )  # fmt: skip
    return Value(last=b.layer(layer, b.last(node.tensor()), arrays))


def _conv_transpose(b: Builder, node: NodeView) -> Value:
    """The whole result, then without what pads crop."""
    kernel, arrays = _kernel(node)
    size, axes, attrs = kernel.shape[:-2], kernel.ndim - 2, node.attrs
    if attrs.get("group", 1) != 1 or "output_shape" in attrs:
        raise node.error("groups or output_shape in a transposed convolution")
    if attrs.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise node.error("auto_pad in a transposed convolution")
    window = _window(node, axes, list(size))
    layer = _TRANSPOSED[kernel.ndim](
        kernel.shape[-2], size, window["strides"], "valid",
        tuple(attrs.get("output_padding", [0] * axes)),
        dilation_rate=window["dilation"], **_options(b, node, arrays),
    )  # fmt: skip
    x = b.layer(layer, b.last(node.tensor()), arrays)
    if window["padding"] != "valid":
        key = [slice(before, -after or None) for before, after in window["padding"]]
        x = x[(slice(None), *key)]
    return Value(last=x)


def _pool(op: str) -> Any:
    def rule(b: Builder, node: NodeView) -> Value:
        if any(node.outputs[1:]):
            raise node.error("the indices of pooling are not supported")
        attrs, kernel = node.attrs, node.attrs.get("kernel_shape", [])
        window = _window(node, len(kernel), kernel)
        options: dict[str, Any] = {}
        if op == "average_pool":
            options["count_include_pad"] = bool(attrs.get("count_include_pad", 0))
        if op == "lp_pool":
            options["p"] = float(attrs.get("p", 2))
        if attrs.get("ceil_mode", 0):
            _round_up(node, window, kernel, options)
        alone = {*kernel, *window["strides"]} == {1} and window["padding"] == "valid"
        if alone and op != "lp_pool":
            return node.tensor()
        x = b.last(node.tensor())
        made = getattr(ops, op)(x, tuple(kernel), **window, **options)
        return Value(last=made)

    return rule


def _round_up(node: NodeView, window: Any, kernel: Any, options: Any) -> None:
    """More padding after, for windows that begin in the input and reach beyond it."""
    pads = window["padding"]
    if pads == "same":
        return
    pads = [(0, 0)] * len(kernel) if pads == "valid" else pads
    padding = []
    sizes = zip(
        _sizes(node), kernel, window["strides"], window["dilation"], pads, strict=True
    )
    for n, k, stride, dilation, (before, after) in sizes:
        extent = dilation * (k - 1) + 1
        steps = -(-(n + before + after - extent) // stride)
        if steps * stride >= n + before:
            steps -= 1
        more = max(steps * stride + extent - n - before - after, 0)
        padding.append((before, after + more))
    if options.get("count_include_pad") and padding != pads:
        raise node.error("ceil_mode with count_include_pad")
    window["padding"] = padding


def _global(op: str) -> Any:
    def rule(b: Builder, node: NodeView) -> Value:
        options = {"p": float(node.attrs.get("p", 2))} if "lp" in op else {}
        x = b.last(node.tensor())
        return Value(last=getattr(ops, op)(x, keepdims=True, **options))

    return rule


# Products -----------------------------------------------------------------------------


def _rows(b: Builder, x: Value, kernel: np.ndarray) -> tuple[KerasTensor, np.ndarray]:
    """Rows and the kernel for them; one that counts positions first, if they do."""
    if x.rows is None:
        return b.plain(x), kernel
    rows, maps = x.rows
    kernel = kernel.reshape(maps[-1], prod(maps[:-1]), -1).transpose(1, 0, 2)
    return rows, kernel.reshape(prod(maps), -1)


def _dense(b: Builder, node: NodeView, kernel: Any, bias: Any = None) -> Value:
    x = node.tensor()
    if x.shape[-1] != kernel.shape[0]:
        raise node.error(f"an input of shape {x.shape}, a matrix {kernel.shape}")
    rows, kernel = _rows(b, x, kernel)
    layer = Dense(
        kernel.shape[1], use_bias=bias is not None,
        name=b.name(node.tensor(1).weight, node.name, "dense"),
    )  # fmt: skip
    arrays = [kernel] if bias is None else [kernel, bias]
    return Value(plain=b.layer(layer, rows, arrays))


def _gemm(b: Builder, node: NodeView) -> Value:
    attrs = node.attrs
    alpha, beta = attrs.get("alpha", 1.0), attrs.get("beta", 1.0)
    turned = bool(attrs.get("transA", 0)), bool(attrs.get("transB", 0))
    x, matrix, bias = node.tensor(0), node.tensor(1), node.input(2)
    if x.known is None and matrix.weight and not turned[0]:
        kernel = matrix.array.T if turned[1] else matrix.array
        kernel = kernel if alpha == 1.0 else kernel * np.float32(alpha)
        if bias is None:
            return _dense(b, node, kernel)
        if bias.known is not None and bias.array.size in (1, kernel.shape[1]):
            values = np.broadcast_to(bias.array.reshape(-1), kernel.shape[1:])
            return _dense(b, node, kernel, values * np.float32(beta))
    operands = [b.plain(v) if v.known is None else v for v in (x, matrix)]
    given = [ops.transpose(v, (1, 0)) if t and isinstance(v, KerasTensor) else
             _transposed(v) if t else v
             for v, t in zip(operands, turned, strict=True)]  # fmt: skip
    result = Value(plain=b.apply("matmul", given) * alpha)
    if bias is None:
        return result
    if beta != 1.0:
        raise node.error("beta with a computed matrix is not supported")
    return b.elementwise(node, "add", result, bias)


def _transposed(value: Value) -> Value:
    array = value.array.T
    return Value((array, array), value.weight)


def _matmul(b: Builder, node: NodeView) -> Value:
    """A third input, which `biases_into_products` gives, is a bias."""
    x, matrix, bias = node.tensor(0), node.tensor(1), node.input(2)
    is_dense = x.known is None and matrix.weight and matrix.rank == 2 and x.rank > 1
    if is_dense and (bias is None or bias.shape == matrix.shape[1:]):
        return _dense(b, node, matrix.array, None if bias is None else bias.array)
    operands = [b.plain(v) if v.known is None else v for v in (x, matrix)]
    result = Value(plain=b.apply("matmul", operands))
    return result if bias is None else b.elementwise(node, "add", result, bias)


# Normalisation ------------------------------------------------------------------------


def _norm_arrays(node: NodeView, count: int) -> list[np.ndarray]:
    arrays = [node.array(i) for i in range(1, count + 1)]
    if any(a is None for a in arrays):
        raise node.error("expected scale, bias ... as constants")
    return arrays


def _batch_norm(b: Builder, node: NodeView) -> Value:
    if not node.attrs.get("spatial", 1) or any(node.outputs[1:]):
        raise node.error("statistics per position, or of the batch, are not supported")
    x, arrays = node.tensor(), _norm_arrays(node, 4)
    layer = BatchNormalization(
        axis=-1, momentum=node.attrs.get("momentum", 0.9),
        epsilon=node.attrs.get("epsilon", 1e-5),
        name=b.name(node.tensor(1).weight, node.name, "batch_normalization"),
    )  # fmt: skip
    return _normalised(b, x, layer, arrays)


def _normalised(b: Builder, x: Value, layer: Any, arrays: Any) -> Value:
    """Over the channels: the second axis of the file."""
    if x.rank > 2:
        return Value(last=b.layer(layer, b.last(x), arrays))
    return Value(plain=b.layer(layer, b.plain(x), arrays))


def _group_norm(b: Builder, node: NodeView) -> Value:
    x, arrays = node.tensor(), _norm_arrays(node, 2)
    groups = node.attrs.get("num_groups", -1)
    channels = x.shape[1]
    if any(a.shape != (channels,) for a in arrays):
        raise node.error(f"expected one scale a channel of {channels}")
    if prod(n or 1 for n in x.shape) > 4 * LARGEST:
        raise node.error(f"an input of shape {x.shape}, which is too large")
    layer = GroupNormalization(
        groups, axis=-1, epsilon=node.attrs.get("epsilon", 1e-5),
        name=b.name(node.tensor(1).weight, node.name, "group_normalization"),
    )  # fmt: skip
    return _normalised(b, x, layer, arrays)


def _layer_norm(b: Builder, node: NodeView) -> Value:
    x, scale, bias = node.tensor(), node.array(1), node.array(2)
    axis = node.axis(node.attrs.get("axis", -1), x.rank)
    if any(node.outputs[1:]) or scale is None:
        raise node.error("expected a constant scale, and one output")
    axes = tuple(range(axis, x.rank))
    layer = LayerNormalization(
        axis=axes, epsilon=node.attrs.get("epsilon", 1e-5), center=bias is not None,
        name=b.name(node.tensor(1).weight, node.name, "layer_normalization"),
    )  # fmt: skip
    sizes: Any = tuple(x.shape[i] for i in axes)
    arrays = [np.broadcast_to(a, sizes) for a in (scale, bias) if a is not None]
    return Value(plain=b.layer(layer, b.plain(x), arrays))


def _lrn(b: Builder, node: NodeView) -> Value:
    attrs = node.attrs
    size = attrs.get("size", 0)
    if size % 2 == 0:
        raise node.error(f"a window of {size} channels; expected an odd number")
    y = ops.local_response_norm(
        b.last(node.tensor()), size // 2, attrs.get("bias", 1.0),
        attrs.get("alpha", 1e-4) / size, attrs.get("beta", 0.75),
    )  # fmt: skip
    return Value(last=y)


# Blocks and interpolation -------------------------------------------------------------


def _depth_to_space(b: Builder, node: NodeView) -> Value:
    n = node.attrs.get("blocksize", 1)
    h, w = _sizes(node)
    c = (node.tensor().shape[1] or 0) // (n * n)
    if node.attrs.get("mode", "DCR") == "DCR":
        parts, order = (h, w, n, n, c), (0, 1, 3, 2, 4, 5)
    else:
        parts, order = (h, w, c, n, n), (0, 1, 4, 2, 5, 3)
    x = ops.transpose(Reshape(parts)(b.last(node.tensor())), order)
    return Value(last=Reshape((h * n, w * n, c))(x))


def _space_to_depth(b: Builder, node: NodeView) -> Value:
    n = node.attrs.get("blocksize", 1)
    (h, w), c = _sizes(node), node.tensor().shape[1] or 0
    x = Reshape((h // n, n, w // n, n, c))(b.last(node.tensor()))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return Value(last=Reshape((h // n, w // n, n * n * c))(x))


def _resize(b: Builder, node: NodeView) -> Value:
    """Scales and sizes are inputs whose places changed with the versions."""
    x = node.tensor()
    if node.op == "Upsample" or b.opset < 11:
        scales, sizes = node.array(1, "scales"), None
    else:
        scales, sizes = node.array(2), node.array(3)
    if node.attrs.get("axes") is not None:
        raise node.error("axes of Resize are not supported")
    old = _sizes(node)
    if sizes is not None and np.size(sizes):
        new = [int(n) for n in sizes][2:]
        factors = [m / n for m, n in zip(new, old, strict=True)]
    elif scales is not None and len(scales) == x.rank and (*scales[:2],) == (1, 1):
        factors = [float(s) for s in scales[2:]]
        pairs = zip(old, factors, strict=True)
        new = [int(np.float32(n) * np.float32(s)) for n, s in pairs]
    else:
        raise node.error("expected constant scales or sizes of spatial axes")
    first = node.op == "Upsample" or b.opset < 11
    return Value(last=scaled(b.last(x), new, factors, node, first))


RULES = {
    "Conv": _conv, "ConvTranspose": _conv_transpose, "Gemm": _gemm, "MatMul": _matmul,
    "MaxPool": _pool("max_pool"), "AveragePool": _pool("average_pool"),
    "LpPool": _pool("lp_pool"), "GlobalAveragePool": _global("global_average_pool"),
    "GlobalMaxPool": _global("global_max_pool"),
    "GlobalLpPool": _global("global_lp_pool"), "BatchNormalization": _batch_norm,
    "InstanceNormalization": _group_norm, "GroupNormalization": _group_norm,
    "LayerNormalization": _layer_norm, "LRN": _lrn, "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth, "Resize": _resize, "Upsample": _resize,
}  # fmt: skip
