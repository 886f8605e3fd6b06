"""Stochastic gradient descent, by its formulas."""

from __future__ import annotations

import numpy as np

from fastconv._core import OpKind, SgdAttrs
from fastconv.reference.registry import kernel


@kernel(OpKind.sgd)
def sgd(
    attrs: SgdAttrs,
    weights: np.ndarray,
    gradients: np.ndarray,
    hyper: np.ndarray,
    velocity: np.ndarray | None = None,
    b: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """New weights, and the new velocity where there is one.

    With ``b`` the gradient is the product of what stands in its place, transposed, and
    ``b``. With ``attrs.data`` that of the former is given, too.
    """
    rate, momentum = hyper
    data = (b @ weights.T,) if attrs.data and b is not None else ()
    if b is not None:
        gradients = gradients.T @ b
    step = rate * gradients
    if velocity is None:
        return (weights - step,)
    velocity = momentum * velocity - step
    move = momentum * velocity - step if attrs.nesterov else velocity
    return weights + move, velocity, *data
