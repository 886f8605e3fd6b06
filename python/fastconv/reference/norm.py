"""Batch, layer and local response normalisation, by their formulas."""

from __future__ import annotations

import numpy as np

from fastconv._core import (
    BatchNormAttrs,
    Epilogue,
    LayerNormAttrs,
    LocalResponseNormAttrs,
    OpKind,
    activation_saves_output,
)
from fastconv.reference.activation import activate, epilogue, slope
from fastconv.reference.registry import kernel

Arrays = tuple[np.ndarray, ...]


def _moments(x: np.ndarray, axis: int) -> Arrays:
    """Mean and biased variance; 0 of nothing."""
    count = max(1, x.shape[axis])
    mean = x.sum(axis=axis, keepdims=True) / count
    return mean, ((x - mean) ** 2).sum(axis=axis, keepdims=True) / count


def _rstd(variance: np.ndarray, epsilon: float) -> np.ndarray:
    return 1 / np.sqrt(variance + variance.dtype.type(epsilon))


def statistics(x: np.ndarray, epsilon: float) -> Arrays:
    """Mean, 1 / sqrt(variance + epsilon) and variance over all axes but the last."""
    mean, variance = _moments(x.reshape(-1, x.shape[-1]), 0)
    return mean[0], _rstd(variance, epsilon)[0], variance[0]


@kernel(OpKind.batch_norm)
def batch_norm(
    attrs: BatchNormAttrs,
    src: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    *operands: np.ndarray,
) -> Arrays:
    """(x - mean) rstd gamma + beta over all axes but the last."""
    mean, rstd, variance = statistics(src, attrs.epsilon)
    y = epilogue(attrs.epilogue, (src - mean) * rstd * gamma + beta, *operands)
    return y, mean, rstd, variance


@kernel(OpKind.batch_norm_backward)
def batch_norm_backward(
    attrs: BatchNormAttrs,
    ddst: np.ndarray,
    src: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
    *beta_or_dst: np.ndarray,
) -> Arrays:
    """Gives rstd (g - mean(g) - x^ mean(g x^)) with g = gamma times the gradient."""
    normal = (src - mean) * rstd
    dadd = _before_activation(attrs.epilogue, ddst, normal * gamma, *beta_or_dst)
    dy, normal = (a.reshape(-1, a.shape[-1]) for a in (dadd, normal))
    dgamma, dbeta = (dy * normal).sum(axis=0), dy.sum(axis=0)
    count = max(1, dy.shape[0])
    dx = gamma * rstd * (dy - dbeta / count - normal * dgamma / count)
    return (dx, dgamma, dbeta, dadd) if attrs.epilogue.add else (dx, dgamma, dbeta)


def _before_activation(
    e: Epilogue, ddst: np.ndarray, scaled: np.ndarray, *beta_or_dst: np.ndarray
) -> np.ndarray:
    """The gradient of what the activation took; `scaled` lacks beta."""
    if not beta_or_dst:
        return ddst
    [saved] = beta_or_dst
    if not e.add:
        saved = scaled + saved
        if activation_saves_output(e.activation):
            saved = activate(e.activation, e.alpha, saved)
    return slope(e.activation, e.alpha, ddst, saved)


@kernel(OpKind.batch_norm_inference)
def batch_norm_inference(
    attrs: BatchNormAttrs,
    src: np.ndarray,
    gamma: np.ndarray,
    beta: np.ndarray,
    mean: np.ndarray,
    variance: np.ndarray,
    *operands: np.ndarray,
) -> Arrays:
    """The same with given statistics."""
    y = (src - mean) * _rstd(variance, attrs.epsilon) * gamma + beta
    return (epilogue(attrs.epilogue, y, *operands),)


def _rows(array: np.ndarray, axes: int) -> np.ndarray:
    split = array.ndim - axes
    shape = array.shape[:split], array.shape[split:]
    return array.reshape(int(np.prod(shape[0])), int(np.prod(shape[1])))


@kernel(OpKind.layer_norm)
def layer_norm(
    attrs: LayerNormAttrs, src: np.ndarray, gamma: np.ndarray, beta: np.ndarray
) -> Arrays:
    """(x - mean) rstd gamma + beta over the last axes."""
    x = _rows(src, attrs.axes)
    mean, variance = _moments(x, 1)
    rstd = _rstd(variance, attrs.epsilon)
    return (x - mean) * rstd * gamma.reshape(-1) + beta.reshape(-1), mean, rstd


@kernel(OpKind.layer_norm_backward)
def layer_norm_backward(
    attrs: LayerNormAttrs,
    ddst: np.ndarray,
    src: np.ndarray,
    gamma: np.ndarray,
    mean: np.ndarray,
    rstd: np.ndarray,
) -> Arrays:
    """Gives rstd (g - mean(g) - x^ mean(g x^)) with g = ddst gamma, by rows."""
    dy, x = _rows(ddst, attrs.axes), _rows(src, attrs.axes)
    normal = (x - mean.reshape(-1, 1)) * rstd.reshape(-1, 1)
    g = dy * gamma.reshape(-1)
    shift = g.sum(axis=1, keepdims=True) / x.shape[1]
    slope = (g * normal).sum(axis=1, keepdims=True) / x.shape[1]
    dx = rstd.reshape(-1, 1) * (g - shift - normal * slope)
    return dx, (dy * normal).sum(axis=0), dy.sum(axis=0)


def _neighbours(x: np.ndarray, radius: int) -> np.ndarray:
    """Sum over channels c - radius to c + radius, as far as they exist."""
    channels = x.shape[-1]
    sums = np.zeros_like(x)
    for c in range(channels):
        sums[..., c] = x[..., max(0, c - radius) : c + radius + 1].sum(axis=-1)
    return sums


@kernel(OpKind.local_response_norm)
def local_response_norm(attrs: LocalResponseNormAttrs, src: np.ndarray) -> Arrays:
    """Gives x / scale^beta with scale = bias + alpha sum(x^2)."""
    scale = attrs.bias + attrs.alpha * _neighbours(src * src, attrs.depth_radius)
    return src / scale**attrs.beta, scale


@kernel(OpKind.local_response_norm_backward)
def local_response_norm_backward(
    attrs: LocalResponseNormAttrs,
    ddst: np.ndarray,
    src: np.ndarray,
    scale: np.ndarray,
) -> Arrays:
    """By the quotient rule; x_c stands in the scales of all its neighbours."""
    ratio = ddst * src / scale ** (attrs.beta + 1)
    others = _neighbours(ratio, attrs.depth_radius)
    return (ddst / scale**attrs.beta - 2 * attrs.alpha * attrs.beta * src * others,)
