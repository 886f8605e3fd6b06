"""Clipping of gradients: by value, by the norm of each, by the norm of all."""

from __future__ import annotations

from fastconv import ops
from fastconv.graph.ir import Tensor


def by_value(gradients: list[Tensor], limit: float) -> list[Tensor]:
    """Each element cut to [-limit, limit]."""
    return [ops.minimum(ops.maximum(g, -limit), limit) for g in gradients]


def by_norm(gradient: Tensor, norm: float) -> Tensor:
    """The gradient, scaled down to ``norm`` if its Euclidean norm is larger."""
    return gradient * _scale(ops.sum(ops.square(gradient)), norm)


def by_global_norm(gradients: list[Tensor], norm: float) -> list[Tensor]:
    """All gradients, scaled together: Pascanu, Mikolov, Bengio, ICML 2013."""
    if not gradients:
        return []
    total = ops.sum(ops.square(gradients[0]))
    for gradient in gradients[1:]:
        total = total + ops.sum(ops.square(gradient))
    scale = _scale(total, norm)
    return [gradient * scale for gradient in gradients]


def _scale(squares: Tensor, norm: float) -> Tensor:
    """min(1, norm / sqrt(squares)), also where the squares are 0."""
    return norm / ops.maximum(ops.sqrt(squares), norm)
