"""Activations and softmax."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from fastconv._core import (
    Activation,
    ActivationAttrs,
    Epilogue,
    OpKind,
    activation_saves_output,
)
from fastconv.errors import ArgumentError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Shape, Spec, Tensor, emit, register
from fastconv.graph.scope import who
from fastconv.ops.elementwise import (
    abs,  # noqa: A004
    exp,
    floating,
    less,
    log,
    sign,
    square,
)
from fastconv.ops.elementwise_fill import stop_gradient
from fastconv.ops.reduce import max, sum  # noqa: A004
from fastconv.ops.shape import moveaxis, normal_axis


def _activation(kind: Activation, x: Any, alpha: float = 0.0) -> Tensor:
    attrs = ActivationAttrs(activation=kind, alpha=alpha)
    return emit(OpKind.activation, attrs, floating(kind.name, x))[0]


def _check_alpha(name: str, what: str, value: float) -> float:
    if not value >= 0:
        raise ArgumentError(f"{who(name)}: expected {what} >= 0, received {value!r}")
    return float(value)


@op
def relu(x: Any) -> Tensor:
    """Rectified linear unit ``max(x, 0)``; Nair and Hinton, ICML 2010.

    Like all activations it takes a floating-point tensor of any shape (DtypeError for
    integers), gives one of the same shape, and hands NaN on.

    >>> import fastconv as fc
    >>> fc.ops.relu([-1.0, 2.0])
    array([0., 2.], dtype=float32)
    """
    return _activation(Activation.relu, x)


@op
def relu6(x: Any) -> Tensor:
    """``min(max(x, 0), 6)``; Howard et al., MobileNets, arXiv 1704.04861.

    >>> import fastconv as fc
    >>> fc.ops.relu6([-1.0, 2.0, 8.0])
    array([0., 2., 6.], dtype=float32)
    """
    return _activation(Activation.relu6, x)


@op
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Tensor:
    """``x`` where x >= 0, else ``negative_slope x``; Maas, Hannun, Ng, ICML 2013.

    Raises
    ------
    ArgumentError if the slope is negative: then the output would not tell the input's
    sign.

    >>> import fastconv as fc
    >>> fc.ops.leaky_relu([-1.0, 2.0], 0.5)
    array([-0.5,  2. ], dtype=float32)
    """
    slope = _check_alpha("leaky_relu", "negative_slope", negative_slope)
    return _activation(Activation.leaky_relu, x, slope)


@op
def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """``x`` where x >= 0, else ``alpha (e^x - 1)``; Clevert et al., arXiv 1511.07289.

    Raises
    ------
    ArgumentError if alpha is negative.

    >>> import fastconv as fc
    >>> fc.ops.elu([0.0, 2.0])
    array([0., 2.], dtype=float32)
    """
    return _activation(Activation.elu, x, _check_alpha("elu", "alpha", alpha))


@op
def selu(x: Any) -> Tensor:
    """``1.0507 elu(x, 1.67326)``; Klambauer et al., arXiv 1706.02515.

    >>> import fastconv as fc
    >>> fc.ops.selu([0.0])
    array([0.], dtype=float32)
    """
    return _activation(Activation.selu, x)


@op
def sigmoid(x: Any) -> Tensor:
    """``1 / (1 + e^-x)``.

    >>> import fastconv as fc
    >>> fc.ops.sigmoid([0.0])
    array([0.5], dtype=float32)
    """
    return _activation(Activation.sigmoid, x)


@op
def tanh(x: Any) -> Tensor:
    """Hyperbolic tangent ``(e^x - e^-x) / (e^x + e^-x)``.

    >>> import fastconv as fc
    >>> fc.ops.tanh([0.0])
    array([0.], dtype=float32)
    """
    return _activation(Activation.tanh, x)


@op
def hard_sigmoid(x: Any) -> Tensor:
    """``relu6(x + 3) / 6``, as in Keras 3.

    >>> import fastconv as fc
    >>> fc.ops.hard_sigmoid([-3.0, 0.0, 3.0])
    array([0. , 0.5, 1. ], dtype=float32)
    """
    return _activation(Activation.hard_sigmoid, x)


@op
def hard_tanh(x: Any) -> Tensor:
    """Saturation: ``min(max(x, -1), 1)``.

    >>> import fastconv as fc
    >>> fc.ops.hard_tanh([-3.0, 0.5, 3.0])
    array([-1. ,  0.5,  1. ], dtype=float32)
    """
    return _activation(Activation.hard_tanh, x)


@op
def gaussian(x: Any) -> Tensor:
    """``e^(-x^2)``.

    >>> import fastconv as fc
    >>> fc.ops.gaussian([0.0])
    array([1.], dtype=float32)
    """
    return _activation(Activation.gaussian, x)


@op
def softplus(x: Any) -> Tensor:
    """``log(1 + e^x)``, computed without overflow.

    >>> import fastconv as fc
    >>> fc.ops.softplus([100.0])
    array([100.], dtype=float32)
    """
    return _activation(Activation.softplus, x)


@op
def softsign(x: Any) -> Tensor:
    """``x / (1 + |x|)``.

    >>> import fastconv as fc
    >>> fc.ops.softsign([1.0])
    array([0.5], dtype=float32)
    """
    return _activation(Activation.softsign, x)


@op
def swish(x: Any) -> Tensor:
    """``x sigmoid(x)``, also called SiLU; Ramachandran et al., arXiv 1710.05941.

    >>> import fastconv as fc
    >>> fc.ops.swish([0.0])
    array([0.], dtype=float32)
    """
    return _activation(Activation.swish, x)


@op
def silu(x: Any) -> Tensor:
    """`swish` under its other name.

    >>> import fastconv as fc
    >>> fc.ops.silu([0.0])
    array([0.], dtype=float32)
    """
    return swish(x)


@op
def gelu(x: Any, approximate: bool = True) -> Tensor:
    """Gaussian error linear unit; Hendrycks and Gimpel, arXiv 1606.08415.

    Formula: ``x/2 (1 + erf(x / sqrt 2))``, or, if ``approximate`` (Keras's default),
    ``x/2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))``.

    >>> import fastconv as fc
    >>> fc.ops.gelu([0.0])
    array([0.], dtype=float32)
    """
    return _activation(Activation.gelu_tanh if approximate else Activation.gelu, x)


@op
def threshold(x: Any) -> Tensor:
    """Heaviside's step: 1 where x >= 0, else 0.

    Its gradient is the straight-through one, ``dy`` where ``|x| <= 1``, else 0; Hubara
    et al., "Binarized neural networks", NIPS 2016.

    >>> import fastconv as fc
    >>> fc.ops.threshold([-1.0, 0.0, 2.0])
    array([0., 1., 1.], dtype=float32)
    """
    return _activation(Activation.threshold, x)


@op
def sign_ste(x: Any) -> Tensor:
    """-1, 0 or 1, with the straight-through gradient of `threshold`.

    >>> import fastconv as fc
    >>> fc.ops.sign_ste([-3.0, 0.0, 2.0])
    array([-1.,  0.,  1.], dtype=float32)
    """
    return _activation(Activation.sign, x)


def _last(name: str, x: Any, axis: int) -> tuple[Tensor, bool]:
    """``x`` with ``axis`` last, and whether it had to be moved."""
    x = floating(name, x)
    at = normal_axis(name, axis, x.ndim)
    if x.shape[at] == 0:
        raise ShapeError(
            f"{who(name)}: expected at least 1 element along axis {axis}, received "
            f"shape {x.shape}"
        )
    return (x, False) if at == x.ndim - 1 else (moveaxis(x, at, -1), True)


@op
def softmax(x: Any, axis: int = -1) -> Tensor:
    """``e^x / sum(e^x)`` along an axis, with the maximum subtracted first.

    Raises
    ------
    ShapeError if the axis is empty; ArgumentError if there is no such axis.

    >>> import fastconv as fc
    >>> fc.ops.softmax([1.0, 1.0])
    array([0.5, 0.5], dtype=float32)
    """
    x, moved = _last("softmax", x, axis)
    y = emit(OpKind.softmax, None, x)[0]
    return moveaxis(y, -1, axis) if moved else y


@op
def log_softmax(x: Any, axis: int = -1) -> Tensor:
    """``x - log(sum(e^x))`` along an axis, with the maximum subtracted first.

    >>> import fastconv as fc
    >>> fc.ops.log_softmax([[0.0]])
    array([[0.]], dtype=float32)
    """
    x, moved = _last("log_softmax", x, axis)
    apart = x - stop_gradient(max(x, -1, True))
    y = apart - log(sum(exp(apart), -1, True))
    return moveaxis(y, -1, axis) if moved else y


def epilogue_shapes(epilogue: Epilogue, dst: Shape) -> list[Shape]:
    """Shapes of the operands that an epilogue adds to an op with result ``dst``."""
    channels = epilogue.scale + epilogue.bias
    return [dst[-1:]] * channels + [dst] * (epilogue.add + epilogue.derivative)


def _same(attrs: Any, *inputs: Tensor) -> list[Spec]:
    return [(inputs[0].shape, inputs[0].dtype)]


def _activation_gradient(node: Node, dy: Tensor) -> list[Tensor]:
    output = activation_saves_output(node.attrs.activation)
    saved = node.outputs[0] if output else node.inputs[0]
    return [emit(OpKind.activation_backward, node.attrs, dy, saved)[0]]


_DENSITY = 1 / math.sqrt(2 * math.pi)  # of the normal distribution at 0


def _gelu_tanh_bend(x: Tensor) -> Tensor:
    k, c = math.sqrt(2 / math.pi), 0.044715
    t = tanh(k * (x + c * x * square(x)))
    du = k * (1.0 + 3 * c * square(x))
    return (1.0 - square(t)) * (du + x * (3 * k * c * x - t * square(du)))


def _swish_bend(x: Tensor) -> Tensor:
    s = sigmoid(x)
    return s * (1.0 - s) * (2.0 + x * (1.0 - 2.0 * s))


# Derivative of the slope with respect to what was saved; absent: 0.
_BENDS: dict[Activation, Callable[[Tensor], Tensor]] = {
    Activation.elu: lambda y: less(y, 0),
    Activation.selu: lambda y: less(y, 0),
    Activation.sigmoid: lambda y: 1.0 - 2.0 * y,
    Activation.tanh: lambda y: -2.0 * y,
    Activation.softplus: lambda y: exp(-y),
    Activation.softsign: lambda y: -2.0 * (1.0 - abs(y)) * sign(y),
    Activation.gaussian: lambda x: (4.0 * square(x) - 2.0) * gaussian(x),
    Activation.swish: _swish_bend,
    Activation.gelu: lambda x: (2.0 - square(x)) * exp(square(x) / -2.0) * _DENSITY,
    Activation.gelu_tanh: _gelu_tanh_bend,
}


def _activation_backward_gradient(node: Node, ddx: Tensor) -> list[Tensor | None]:
    dy, saved = node.inputs
    slope = emit(OpKind.activation_backward, node.attrs, ddx, saved)[0]
    bend = _BENDS.get(node.attrs.activation)
    return [slope, None if bend is None else ddx * dy * bend(saved)]


def _softmax_gradient(node: Node, dy: Tensor) -> list[Tensor]:
    return [emit(OpKind.softmax_backward, None, dy, node.outputs[0])[0]]


def _softmax_backward_gradient(node: Node, ddx: Tensor) -> list[Tensor]:
    """Of dx = y (dy - sum(y dy)); y is a variable of its own here."""
    dy, y = node.inputs
    mean = sum(y * ddx, -1, True)
    back = sum(y * dy, -1, True)
    return [y * (ddx - mean), ddx * (dy - back) - dy * mean]


def _several(operations: int) -> Any:
    return lambda node: operations * node.outputs[0].size


register(OpKind.activation, Rule(_same, _activation_gradient))
register(OpKind.activation_backward, Rule(_same, _activation_backward_gradient))
register(OpKind.softmax, Rule(_same, _softmax_gradient, _several(4)))
register(OpKind.softmax_backward, Rule(_same, _softmax_backward_gradient, _several(4)))
