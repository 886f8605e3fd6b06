"""Activations and softmax, by their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from fastconv._core import Activation, ActivationAttrs, Epilogue, OpKind
from fastconv.reference.registry import kernel

Formula = Callable[[np.ndarray, float], np.ndarray]

SELU_SCALE, SELU_ALPHA = (
    1.0507009873554804934193349852946,
    1.6732632423543772848170429916717,
)
GELU_CUBIC = 0.044715


def erf(x: np.ndarray) -> np.ndarray:
    """The error function of the standard library, element by element."""
    return np.vectorize(math.erf, otypes=[np.float64])(x).astype(x.dtype)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """1 / (1 + e^-x)."""
    return 1 / (1 + np.exp(-x))


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    return (1 + erf(x / math.sqrt(2))) / 2


def _gelu_tanh(x: np.ndarray) -> np.ndarray:
    return np.tanh(math.sqrt(2 / math.pi) * (x + GELU_CUBIC * x**3))


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


FORMULAS: dict[Activation, Formula] = {
    Activation.identity: lambda x, a: x,
    Activation.relu: lambda x, a: np.maximum(x, 0),
    Activation.relu6: lambda x, a: np.clip(x, 0, 6),
    Activation.leaky_relu: lambda x, a: np.where(x < 0, a * x, x),
    Activation.elu: _elu,
    Activation.selu: lambda x, a: SELU_SCALE * _elu(x, SELU_ALPHA),
    Activation.sigmoid: lambda x, a: sigmoid(x),
    Activation.tanh: lambda x, a: np.tanh(x),
    Activation.hard_sigmoid: lambda x, a: np.clip(x + 3, 0, 6) / 6,
    Activation.hard_tanh: lambda x, a: np.clip(x, -1, 1),
    Activation.gaussian: lambda x, a: np.exp(-(x**2)),
    Activation.softplus: lambda x, a: np.logaddexp(x, 0),
    Activation.softsign: lambda x, a: x / (1 + np.abs(x)),
    Activation.swish: lambda x, a: x * sigmoid(x),
    Activation.gelu: lambda x, a: x * _normal_cdf(x),
    Activation.gelu_tanh: lambda x, a: x / 2 * (1 + _gelu_tanh(x)),
    Activation.threshold: lambda x, a: np.where(np.isnan(x), x, x >= 0),
    Activation.sign: lambda x, a: np.sign(x),
}


def _straight_through(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.abs(x) <= 1


def _swish_slope(x: np.ndarray, alpha: float) -> np.ndarray:
    s = sigmoid(x)
    return s + x * s * (1 - s)


def _gelu_slope(x: np.ndarray, alpha: float) -> np.ndarray:
    return _normal_cdf(x) + x * np.exp(-(x**2) / 2) / math.sqrt(2 * math.pi)


def _gelu_tanh_slope(x: np.ndarray, alpha: float) -> np.ndarray:
    t = _gelu_tanh(x)
    inner = math.sqrt(2 / math.pi) * (1 + 3 * GELU_CUBIC * x**2)
    return (1 + t) / 2 + x / 2 * (1 - t**2) * inner


# The derivative from the output y, or from the input x where y does not tell it.
SLOPES: dict[Activation, Formula] = {
    Activation.identity: lambda y, a: np.ones_like(y),
    Activation.relu: lambda y, a: y > 0,
    Activation.relu6: lambda y, a: (y > 0) & (y < 6),
    Activation.leaky_relu: lambda y, a: np.where(y > 0, 1, a),
    Activation.elu: lambda y, a: np.where(y > 0, 1, y + a),
    Activation.selu: lambda y, a: np.where(
        y > 0, SELU_SCALE, y + SELU_SCALE * SELU_ALPHA
    ),
    Activation.sigmoid: lambda y, a: y * (1 - y),
    Activation.tanh: lambda y, a: 1 - y**2,
    Activation.hard_sigmoid: lambda y, a: ((y > 0) & (y < 1)) / 6,
    Activation.hard_tanh: lambda y, a: np.abs(y) < 1,
    Activation.gaussian: lambda x, a: -2 * x * np.exp(-(x**2)),
    Activation.softplus: lambda y, a: -np.expm1(-y),
    Activation.softsign: lambda y, a: (1 - np.abs(y)) ** 2,
    Activation.swish: _swish_slope,
    Activation.gelu: _gelu_slope,
    Activation.gelu_tanh: _gelu_tanh_slope,
    Activation.threshold: _straight_through,
    Activation.sign: _straight_through,
}


def activate(activation: Any, alpha: float, src: np.ndarray) -> np.ndarray:
    """An activation, in the dtype of ``src``."""
    return FORMULAS[activation](src, alpha).astype(src.dtype)


def slope(activation: Any, alpha: float, ddst: np.ndarray, saved: np.ndarray) -> Any:
    """Ddst f'; where f' is 0, so is the result, whatever ddst is."""
    factor = SLOPES[activation](saved, alpha)
    return np.where(factor, ddst, 0) if factor.dtype == bool else ddst * factor


def epilogue(attrs: Epilogue, dst: np.ndarray, *operands: np.ndarray) -> np.ndarray:
    """What is fused into the end of an op."""
    rest = list(operands)
    if attrs.scale:
        dst = dst * rest.pop(0)
    if attrs.bias:
        dst = dst + rest.pop(0)
    if attrs.add:
        dst = dst + rest.pop(0).reshape(dst.shape)
    if attrs.derivative:
        saved = rest.pop(0).reshape(dst.shape)
        return slope(attrs.activation, attrs.alpha, dst, saved)
    return activate(attrs.activation, attrs.alpha, dst)


@kernel(OpKind.activation)
def activation(attrs: ActivationAttrs, src: np.ndarray) -> tuple[np.ndarray]:
    """Dst = f(src)."""
    return (activate(attrs.activation, attrs.alpha, src),)


@kernel(OpKind.activation_backward)
def activation_backward(
    attrs: ActivationAttrs, ddst: np.ndarray, saved: np.ndarray
) -> tuple[np.ndarray]:
    """Dsrc = ddst f'."""
    return (slope(attrs.activation, attrs.alpha, ddst, saved),)


@kernel(OpKind.softmax)
def softmax(_attrs: None, src: np.ndarray) -> tuple[np.ndarray]:
    """e^x / sum(e^x) over the last axis."""
    e = np.exp(src - src.max(axis=-1, keepdims=True))
    return (e / e.sum(axis=-1, keepdims=True),)


@kernel(OpKind.softmax_backward)
def softmax_backward(
    _attrs: None, ddst: np.ndarray, dst: np.ndarray
) -> tuple[np.ndarray]:
    """Dst (ddst - sum(ddst dst))."""
    return (dst * (ddst - (ddst * dst).sum(axis=-1, keepdims=True)),)
