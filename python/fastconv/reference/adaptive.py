"""Optimisers that adapt the rate of each weight, by their formulas."""

from __future__ import annotations

import numpy as np

from fastconv._core import OpKind, RmspropAttrs
from fastconv.reference.registry import kernel

Array = np.ndarray


@kernel(OpKind.rmsprop)
def rmsprop(
    attrs: RmspropAttrs, w: Array, g: Array, hyper: Array, v: Array, *slots: Array
) -> tuple[Array, ...]:
    """New weights, velocity, and momentum and average where they are."""
    rate, decay, rho, rest, epsilon, inertia = hyper
    new = [rho * v + rest * g**2]
    spread = new[0]
    average: list[Array] = []
    if attrs.centered:
        average = [rho * slots[-1] + rest * g]
        spread = np.maximum(spread - average[0] ** 2, 0)
    step = rate * g / np.sqrt(spread + epsilon)
    if len(slots) > attrs.centered:
        step = inertia * slots[0] + step
        new.append(step)
    return (w - (decay * w + step), *new, *average)


@kernel(OpKind.adagrad)
def adagrad(
    _: None, w: Array, g: Array, hyper: Array, accumulator: Array
) -> tuple[Array, ...]:
    """New weights and accumulator."""
    rate, decay, epsilon = hyper
    total = accumulator + g**2
    return w - (decay * w + rate * g / np.sqrt(total + epsilon)), total


@kernel(OpKind.adadelta)
def adadelta(
    _: None, w: Array, g: Array, hyper: Array, grads: Array, deltas: Array
) -> tuple[Array, ...]:
    """New weights and accumulators."""
    rate, decay, rho, rest, epsilon = hyper
    grads = rho * grads + rest * g**2
    delta = np.sqrt(deltas + epsilon) / np.sqrt(grads + epsilon) * g
    return w - (decay * w + rate * delta), grads, rho * deltas + rest * delta**2


@kernel(OpKind.adam)
def adam(
    _: None, w: Array, g: Array, hyper: Array, m: Array, v: Array, *hat: Array
) -> tuple[Array, ...]:
    """New weights, momentum and velocity, and the largest velocity where it is."""
    rate, decay, rate_g, rest_1, rest_2, scale, epsilon = hyper
    m = m + rest_1 * (g - m)
    v = v + rest_2 * (g**2 - v)
    largest = [np.maximum(h, v) for h in hat]
    root = scale * np.sqrt(largest[0] if hat else v) + epsilon
    return (w - (decay * w + (rate * m + rate_g * g) / root), m, v, *largest)


@kernel(OpKind.adamax)
def adamax(
    _: None, w: Array, g: Array, hyper: Array, m: Array, u: Array
) -> tuple[Array, ...]:
    """New weights, momentum and norm."""
    rate, decay, rest, beta, epsilon = hyper
    m = m + rest * (g - m)
    u = np.maximum(beta * u, np.abs(g))
    return w - (decay * w + rate * m / (u + epsilon)), m, u


@kernel(OpKind.lion)
def lion(_: None, w: Array, g: Array, hyper: Array, m: Array) -> tuple[Array, ...]:
    """New weights and momentum."""
    rate, decay, beta_1, rest_1, beta_2, rest_2 = hyper
    step = rate * np.sign(beta_1 * m + rest_1 * g)
    return w - (decay * w + step), beta_2 * m + rest_2 * g
