"""Reverse-mode differentiation: a walk back over the graph that makes more graph."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from fastconv.errors import ArgumentError, ShapeError
from fastconv.graph.ir import RULES, Leaf, Node, Tensor, ancestors
from fastconv.graph.scope import scope
from fastconv.graph.trace import as_tensor, constant
from fastconv.graph.variable import Variable
from fastconv.operators import OPERATORS


def grad(y: Any, xs: Any, seed: Any = None) -> Any:
    """Gradient of ``y`` with respect to each of ``xs``.

    Computes ``sum(seed * dy/dx)`` for every x, as new tensors, which may be
    differentiated again unless a max or Lp pooling, a normalisation, a cross-entropy or
    a callback lies between. Rumelhart, Hinton, Williams, "Learning
    representations by back-propagating errors", Nature 323 (1986).

    Parameters
    ----------
    y: tensor; a scalar unless ``seed`` is given.
    xs: a tensor or variable, or a list of them. Zeros for one that y does not use.
    seed: weights of y's elements, of y's shape; default 1.

    Raises
    ------
    ShapeError if y is not a scalar and there is no seed.

    >>> import fastconv as fc
    >>> f = fc.function(lambda x: fc.grad(fc.ops.sum(x * x), x))
    >>> f([1.0, 2.0])
    array([2., 4.], dtype=float32)
    """
    several = isinstance(xs, list | tuple)
    wanted = list(xs) if several else [xs]
    for x in wanted:
        if not isinstance(x, Tensor | Variable):
            raise ArgumentError(
                f"grad: expected a tensor or variable, received {x!r:.80}"
            )
    gradients = _gradients(y, [as_tensor(x) for x in wanted], seed)
    return gradients if several else gradients[0]


def _gradients(y: Tensor, xs: Sequence[Tensor], seed: Any) -> list[Tensor]:
    if not isinstance(y, Tensor):
        raise ArgumentError(
            "grad: expected a tensor made inside a traced function, received "
            f"{y!r:.80}; wrap the computation in fastconv.function"
        )
    if seed is None and y.size != 1:
        raise ShapeError(
            f"grad: expected a scalar, received shape {y.shape}; sum it or give a seed"
        )
    gradients = {y: _filled(1.0, y) if seed is None else as_tensor(seed, dtype=y.dtype)}
    if gradients[y].shape != y.shape:
        raise ShapeError(
            f"grad: expected a seed of shape {y.shape}, received {gradients[y].shape}"
        )
    for node in sorted(_between(xs, y), key=attrgetter("order"), reverse=True):
        with scope(node.label):  # the gradient belongs to the layer of the op
            _back(node, gradients)
    return [gradients[x] if x in gradients else _filled(0.0, x) for x in xs]


def _between(xs: Sequence[Tensor], y: Tensor) -> set[Node]:
    """The nodes on a path from one of xs to y (xs' own nodes only if on a path)."""
    sources = set(xs)
    on_path: set[Node] = set()
    for node in sorted(ancestors([y]), key=attrgetter("order")):
        if any(t in sources or t.node in on_path for t in node.inputs):
            on_path.add(node)
    return on_path


def _back(node: Node, gradients: dict[Tensor, Tensor]) -> None:
    """Adds what ``node`` hands back to the gradients of its inputs."""
    dys = [gradients.get(t) for t in node.outputs]
    if all(dy is None for dy in dys) or isinstance(node.kind, Leaf):
        return
    rule = RULES[node.kind]
    if rule.gradient is None:
        raise ArgumentError(
            f"grad: {node.name} of layer {node.label!r} has no gradient; take it out "
            "of the path with fastconv.ops.stop_gradient"
        )
    for tensor, dx in zip(node.inputs, rule.gradient(node, *dys), strict=True):
        if dx is None:
            continue
        assert dx.shape == tensor.shape, (node, dx, tensor)
        old = gradients.get(tensor)
        gradients[tensor] = dx if old is None else OPERATORS["add"](old, dx)


def _filled(value: float, like: Tensor) -> Tensor:
    scalar = constant(value, like.dtype)
    return OPERATORS["broadcast_to"](scalar, like.shape) if like.shape else scalar
