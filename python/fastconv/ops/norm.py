"""Batch, layer and local response normalisation."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod
from typing import Any

from fastconv._core import (
    Activation,
    BatchNormAttrs,
    LayerNormAttrs,
    LocalResponseNormAttrs,
    OpKind,
)
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Spec, Tensor, emit, register, wide
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor
from fastconv.operators import OPERATORS
from fastconv.ops.activation import epilogue_shapes


@op
def batch_norm(
    x: Any, gamma: Any, beta: Any, epsilon: float = 1e-3
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normalises each channel by the statistics of the batch.

    Formula, with mean and variance over all axes but the last::

        y = gamma (x - mean) rstd + beta,  rstd = 1 / sqrt(variance + epsilon)

    Parameters
    ----------
    x: shape (..., C), floating.
    gamma, beta: shape (C,).
    epsilon: > 0, default 1e-3.

    Returns
    -------
    y of the shape of ``x``; mean, rstd and the biased variance of shape (C,). One value
    a channel gives beta; an empty batch gives mean and variance 0.

    Raises
    ------
    ShapeError if ``gamma`` or ``beta`` is not (C,); ArgumentError for epsilon <= 0.

    Ioffe, Szegedy, "Batch normalization", ICML 2015, algorithm 1.

    >>> import fastconv as fc
    >>> y, mean, rstd, variance = fc.ops.batch_norm([[1.0], [3.0]], [1.0], [0.0])
    >>> mean, variance
    (array([2.], dtype=float32), array([1.], dtype=float32))
    """
    x, gamma, beta = _operands("batch_norm", x, 1, gamma=gamma, beta=beta)
    attrs = BatchNormAttrs(epsilon=_positive("batch_norm", "epsilon", epsilon))
    return emit(OpKind.batch_norm, attrs, x, gamma, beta)  # type: ignore[return-value]


@op
def batch_norm_inference(
    x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, epsilon: float = 1e-3
) -> Tensor:
    """Normalises each channel by given statistics.

    Formula: ``y = gamma (x - mean) / sqrt(variance + epsilon) + beta``.

    Parameters
    ----------
    x: shape (..., C), floating.
    gamma, beta, mean, variance: shape (C,).
    epsilon: > 0, default 1e-3.

    Returns
    -------
    Tensor of the shape of ``x``.

    Raises
    ------
    As `batch_norm`. Ioffe, Szegedy 2015, algorithm 2.

    >>> import fastconv as fc
    >>> fc.ops.batch_norm_inference([[4.0]], [3.0], [1.0], [2.0], [3.0], epsilon=1.0)
    array([[4.]], dtype=float32)
    """
    given = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    operands = _operands("batch_norm_inference", x, 1, **given)
    epsilon = _positive("batch_norm_inference", "epsilon", epsilon)
    return emit(
        OpKind.batch_norm_inference, BatchNormAttrs(epsilon=epsilon), *operands
    )[0]


@op
def layer_norm(
    x: Any, gamma: Any, beta: Any, axes: int = 1, epsilon: float = 1e-3
) -> Tensor:
    """Normalises each sample over its last axes.

    Formula: ``y = gamma (x - mean) / sqrt(variance + epsilon) + beta`` with mean and
    biased variance over the last ``axes`` axes together.

    Parameters
    ----------
    x: shape (..., L), floating, where L are the last ``axes`` sizes.
    gamma, beta: shape L.
    axes: how many axes, default 1.
    epsilon: > 0, default 1e-3.

    Returns
    -------
    Tensor of the shape of ``x``.

    Raises
    ------
    ShapeError if ``gamma`` or ``beta`` has not the last axes of ``x``; ArgumentError
    for ``axes`` outside 1 to the axes of ``x``, or epsilon <= 0.

    Ba, Kiros, Hinton, "Layer normalization", 2016, section 3.

    >>> import fastconv as fc
    >>> fc.ops.layer_norm([[0.0, 2.0]], [1.0, 1.0], [5.0, 5.0], epsilon=3.0)
    array([[4.5, 5.5]], dtype=float32)
    """
    x = as_tensor(x)
    if not _is_int(axes) or not 1 <= axes <= x.ndim:
        raise ArgumentError(
            f"{who('layer_norm')}: expected axes from 1 to {x.ndim}, received {axes!r}"
        )
    operands = _operands("layer_norm", x, axes, gamma=gamma, beta=beta)
    epsilon = _positive("layer_norm", "epsilon", epsilon)
    return emit(
        OpKind.layer_norm, LayerNormAttrs(epsilon=epsilon, axes=axes), *operands
    )[0]


@op
def local_response_norm(
    x: Any,
    depth_radius: int = 2,
    bias: float = 2.0,
    alpha: float = 1e-4,
    beta: float = 0.75,
) -> Tensor:
    """Divides each element by the activity of the channels around it.

    Formula: ``y_c = x_c / (bias + alpha sum_j x_j^2)^beta`` over the channels
    ``|j - c| <= depth_radius``.

    Parameters
    ----------
    x: shape (..., C), floating.
    depth_radius: >= 0, default 2 (five channels).
    bias: > 0, default 2. alpha: >= 0, default 1e-4. beta: >= 0, default 0.75.

    Returns
    -------
    Tensor of the shape of ``x``.

    Raises
    ------
    ArgumentError for a parameter out of range; ShapeError for an input without
    channels.

    Krizhevsky, Sutskever, Hinton, "ImageNet classification with deep convolutional
    neural networks", NIPS 2012, section 3.3.

    >>> import fastconv as fc
    >>> fc.ops.local_response_norm([[1.0, 2.0]], bias=4.0, alpha=1.0, beta=0.5)
    array([[0.33333334, 0.6666667 ]], dtype=float32)
    """
    name = "local_response_norm"
    (x,) = _operands(name, x, 1)
    if not _is_int(depth_radius) or not 0 <= depth_radius < 2**31:
        raise ArgumentError(
            f"{who(name)}: expected depth_radius as an integer >= 0, received "
            f"{depth_radius!r}"
        )
    for what, value in (("alpha", alpha), ("beta", beta)):
        if value != 0:
            _positive(name, what, value)
    attrs = LocalResponseNormAttrs(
        depth_radius=int(depth_radius),
        bias=_positive(name, "bias", bias),
        alpha=alpha,
        beta=beta,
    )
    return emit(OpKind.local_response_norm, attrs, x)[0]


def _is_int(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _positive(name: str, what: str, value: Any) -> float:
    if not isinstance(value, int | float) or not isfinite(value) or value <= 0:
        raise ArgumentError(f"{who(name)}: expected {what} > 0, received {value!r}")
    return float(value)


def _operands(name: str, x: Any, axes: int, **parameters: Any) -> list[Tensor]:
    """The input, and parameters of the shape of its last axes, of its dtype.

    Beside a bfloat16 input they are float32.
    """
    x = as_tensor(x)
    if x.ndim < 1 or 0 in x.shape[-axes:]:
        raise ShapeError(
            f"{who(name)}: expected an input (..., C) with at least one channel, "
            "received "
            f"shape {x.shape}"
        )
    if "float" not in x.dtype:
        raise DtypeError(f"{who(name)}: expected a floating input, received {x.dtype}")
    tensors = [x]
    for what, value in parameters.items():
        t = as_tensor(value, wide(x.dtype))
        if t.shape != x.shape[-axes:]:
            raise ShapeError(
                f"{who(name)}: expected {what} of shape {x.shape[-axes:]} for the "
                "input "
                f"{x.shape}, received {t.shape}"
            )
        if t.dtype != wide(x.dtype):
            raise DtypeError(
                f"{who(name)}: expected {what} of dtype {wide(x.dtype)}, "
                f"received {t.dtype}"
            )
        tensors.append(t)
    return tensors


def _expect(kind: OpKind, what: str, t: Tensor, shape: tuple[int, ...]) -> None:
    if t.shape != shape:
        raise ShapeError(
            f"{who(kind.name)}: expected {what} of shape {shape}, received {t.shape}"
        )


def _expect_added(
    kind: OpKind,
    attrs: BatchNormAttrs,
    dst: tuple[int, ...],
    operands: Sequence[Tensor],
) -> None:
    shapes = epilogue_shapes(attrs.epilogue, dst)
    for t, shape in zip(operands, shapes, strict=True):
        _expect(kind, "what is added", t, shape)


def _sum_rows(t: Tensor) -> Tensor:
    """Sum over all axes but the last."""
    return t if t.ndim == 1 else OPERATORS["sum"](t, axis=tuple(range(t.ndim - 1)))


def _batch_shape(
    attrs: BatchNormAttrs, src: Tensor, _gamma: Tensor, _beta: Tensor, *rest: Tensor
) -> list[Spec]:
    _expect_added(OpKind.batch_norm, attrs, src.shape, rest)
    channel = (src.shape[-1:], wide(src.dtype))
    return [(src.shape, src.dtype), channel, channel, channel]


def _batch_backward_shape(
    attrs: BatchNormAttrs, ddst: Tensor, src: Tensor, *rest: Tensor
) -> list[Spec]:
    kind, added = OpKind.batch_norm_backward, attrs.epilogue.add
    names = ["gamma", "mean", "rstd"]
    if attrs.epilogue.activation != Activation.identity:
        names.append("dst" if added else "beta")
    operands, others = rest[: len(names)], list(rest[len(names) :])
    parts = [src]
    while others and sum(t.shape[-1] for t in parts) < ddst.shape[-1]:
        parts.append(others.pop(0))
    _expect(kind, "a gradient", ddst, _joined_shape(kind, parts))
    for what, t in zip(names, operands, strict=True):
        _expect(kind, what, t, ddst.shape if what == "dst" else ddst.shape[-1:])
    for t in others:
        channels = max(t.shape[-1], ddst.shape[-1])
        _expect(kind, "a sum", t, (*ddst.shape[:-1], channels))
    channel, whole = (ddst.shape[-1:], wide(src.dtype)), (ddst.shape, src.dtype)
    return [whole, channel, channel, *[whole] * added]


def _joined_shape(kind: OpKind, parts: Sequence[Tensor]) -> tuple[int, ...]:
    """Of a source that comes in parts, with the channels of all."""
    pixels = parts[0].shape[:-1]
    for part in parts:
        _expect(kind, "a part", part, (*pixels, part.shape[-1]))
    return (*pixels, sum(part.shape[-1] for part in parts))


def _batch_gradient(
    node: Node,
    dy: Tensor | None,
    dmean: Tensor | None,
    drstd: Tensor | None,
    dvariance: Tensor | None,
) -> list[Tensor | None]:
    x, gamma, _ = node.inputs
    _, mean, rstd, _ = node.outputs
    gradients: list[Tensor | None] = [None, None, None]
    if dy is not None:
        back = OpKind.batch_norm_backward
        gradients = list(emit(back, node.attrs, dy, x, gamma, mean, rstd))
    count = max(1, prod(x.shape[:-1]))
    if drstd is not None:  # rstd = (variance + epsilon)^(-1/2)
        slope = drstd * rstd * rstd * rstd * -0.5
        dvariance = slope if dvariance is None else dvariance + slope
    parts = [gradients[0]]
    if dmean is not None:
        parts.append(OPERATORS["broadcast_to"](dmean * (1 / count), x.shape))
    if dvariance is not None:
        parts.append((x - mean) * (dvariance * (2 / count)))
    known = [part for part in parts if part is not None]
    dx = known[0]
    for part in known[1:]:
        dx = dx + part
    return [dx, *gradients[1:]]


def _inference_shape(attrs: BatchNormAttrs, src: Tensor, *others: Tensor) -> list[Spec]:
    kind, parts = OpKind.batch_norm_inference, 4 + attrs.epilogue.add
    shape = _joined_shape(kind, [src, *others[parts:]])
    _expect_added(kind, attrs, shape, others[4:parts])
    return [(shape, src.dtype)]


def _inference_gradient(node: Node, dy: Tensor) -> list[Tensor]:
    x, gamma, _, mean, variance = node.inputs
    rstd = (variance + node.attrs.epsilon) ** -0.5
    scale = gamma * rstd
    dbeta = _sum_rows(dy)
    product = _sum_rows(dy * (x - mean))
    dvariance = product * scale * rstd * rstd * -0.5
    return [dy * scale, product * rstd, dbeta, dbeta * scale * -1.0, dvariance]


def _layer_shape(attrs: LayerNormAttrs, src: Tensor, *_others: Tensor) -> list[Spec]:
    row = (src.shape[: src.ndim - attrs.axes], src.dtype)
    return [(src.shape, src.dtype), row, row]


def _layer_backward_shape(
    attrs: LayerNormAttrs, ddst: Tensor, src: Tensor, gamma: Tensor, *rows: Tensor
) -> list[Spec]:
    split = src.ndim - attrs.axes
    _expect(OpKind.layer_norm_backward, "a gradient", ddst, src.shape)
    _expect(OpKind.layer_norm_backward, "gamma", gamma, src.shape[split:])
    for what, t in zip(("mean", "rstd"), rows, strict=True):
        _expect(OpKind.layer_norm_backward, what, t, src.shape[:split])
    parameter = (src.shape[split:], src.dtype)
    return [(src.shape, src.dtype), parameter, parameter]


def _layer_gradient(
    node: Node, dy: Tensor | None, _mean: Tensor | None, _rstd: Tensor | None
) -> tuple[Tensor | None, ...]:
    if dy is None:
        return (None, None, None)
    x, gamma, _ = node.inputs
    operands = (dy, x, gamma, *node.outputs[1:])
    return emit(OpKind.layer_norm_backward, node.attrs, *operands)


def _local_shape(_: LocalResponseNormAttrs, src: Tensor) -> list[Spec]:
    return [(src.shape, src.dtype)] * 2


def _local_backward_shape(
    _: LocalResponseNormAttrs, ddst: Tensor, src: Tensor, scale: Tensor
) -> list[Spec]:
    _expect(OpKind.local_response_norm_backward, "a gradient", ddst, src.shape)
    _expect(OpKind.local_response_norm_backward, "a scale", scale, src.shape)
    return [(src.shape, src.dtype)]


def _local_gradient(
    node: Node, dy: Tensor | None, _scale: Tensor | None
) -> list[Tensor | None]:
    if dy is None:
        return [None]
    operands = (dy, node.inputs[0], node.outputs[1])
    return [emit(OpKind.local_response_norm_backward, node.attrs, *operands)[0]]


def _per_element(operations: int) -> Any:
    return lambda node: operations * node.outputs[0].size


def _local_cost(node: Node) -> int:
    return node.outputs[0].size * (2 * node.attrs.depth_radius + 6)


register(OpKind.batch_norm, Rule(_batch_shape, _batch_gradient, _per_element(6)))
register(OpKind.batch_norm_backward, Rule(_batch_backward_shape, None, _per_element(9)))
register(
    OpKind.batch_norm_inference,
    Rule(_inference_shape, _inference_gradient, _per_element(3)),
)
register(OpKind.layer_norm, Rule(_layer_shape, _layer_gradient, _per_element(7)))
register(
    OpKind.layer_norm_backward, Rule(_layer_backward_shape, None, _per_element(12))
)
register(OpKind.local_response_norm, Rule(_local_shape, _local_gradient, _local_cost))
register(
    OpKind.local_response_norm_backward, Rule(_local_backward_shape, None, _local_cost)
)
