"""Optimisers that adapt the rate of each weight, over whole blocks of parameters.

``hyper`` holds the scalars of a step; ``d = rate * weight_decay`` is the decoupled
weight decay (Loshchilov, Hutter, "Decoupled weight decay regularization", ICLR 2019).
The complements ``1 - rho`` are given, not computed: in float32 they would lose digits.
"""

from __future__ import annotations

from typing import Any

from fastconv._core import OpKind, RmspropAttrs
from fastconv.errors import DtypeError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Spec, Tensor, emit, register
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor


@op
def rmsprop(
    weights: Any,
    gradients: Any,
    hyper: Any,
    velocity: Any,
    momentum: Any = None,
    average: Any = None,
) -> Any:
    """One step of RMSprop.

    Formula, with ``hyper = [a, d, rho, 1 - rho, epsilon, mu]``::

        velocity <- rho velocity + (1 - rho) gradients^2
        average  <- rho average + (1 - rho) gradients           (centered)
        step      = a gradients / sqrt(velocity - average^2 + epsilon)
        momentum <- mu momentum + step                          (with momentum)
        weights  <- (1 - d) weights - step, or - momentum

    Parameters
    ----------
    weights: any shape, float32.
    gradients, velocity: of the shape of ``weights``.
    hyper: float32 of shape (6,).
    momentum: of the shape of ``weights``, or None.
    average: of the shape of ``weights`` for the centered form, or None.

    Returns
    -------
    The new weights, and the new value of each slot given, in their order.

    Raises
    ------
    ShapeError or DtypeError if an operand does not agree with the weights.

    Tieleman, Hinton, "Lecture 6.5, RMSProp", 2012; centered: Graves, "Generating
    sequences with recurrent neural networks", 2013, section 4.2.

    >>> import fastconv as fc
    >>> hyper = [0.5, 0.0, 0.75, 0.25, 0.0, 0.0]
    >>> fc.ops.rmsprop([1.0], [2.0], hyper, [0.0])
    (array([0.], dtype=float32), array([1.], dtype=float32))
    """
    attrs = RmspropAttrs(centered=int(average is not None))
    slots = {"velocity": velocity, "momentum": momentum, "average": average}
    return _update(OpKind.rmsprop, attrs, weights, gradients, hyper, slots)


@op
def adagrad(weights: Any, gradients: Any, hyper: Any, accumulator: Any) -> Any:
    """One step of Adagrad.

    Formula, with ``hyper = [a, d, epsilon]``::

        accumulator <- accumulator + gradients^2
        weights     <- (1 - d) weights - a gradients / sqrt(accumulator + epsilon)

    Parameters
    ----------
    weights: any shape, float32.
    gradients, accumulator: of the shape of ``weights``.
    hyper: float32 of shape (3,).

    Returns
    -------
    The new weights and the new accumulator.

    Raises
    ------
    ShapeError or DtypeError if an operand does not agree with the weights.

    Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and
    stochastic optimization", JMLR 12, 2011.

    >>> import fastconv as fc
    >>> fc.ops.adagrad([1.0], [2.0], [0.5, 0.0, 0.0], [0.0])
    (array([0.5], dtype=float32), array([4.], dtype=float32))
    """
    slots = {"accumulator": accumulator}
    return _update(OpKind.adagrad, None, weights, gradients, hyper, slots)


@op
def adadelta(
    weights: Any,
    gradients: Any,
    hyper: Any,
    accumulated_grad: Any,
    accumulated_delta: Any,
) -> Any:
    """One step of Adadelta.

    Formula, with ``hyper = [a, d, rho, 1 - rho, epsilon]``::

        accumulated_grad  <- rho accumulated_grad + (1 - rho) gradients^2
        delta = gradients sqrt(accumulated_delta + epsilon)
                / sqrt(accumulated_grad + epsilon)
        accumulated_delta <- rho accumulated_delta + (1 - rho) delta^2
        weights           <- (1 - d) weights - a delta

    Parameters
    ----------
    weights: any shape, float32.
    gradients, accumulated_grad, accumulated_delta: of the shape of ``weights``.
    hyper: float32 of shape (5,).

    Returns
    -------
    The new weights and the two new accumulators.

    Raises
    ------
    ShapeError or DtypeError if an operand does not agree with the weights.

    Zeiler, "ADADELTA: an adaptive learning rate method", 2012.

    >>> import fastconv as fc
    >>> hyper = [1.0, 0.0, 0.75, 0.25, 0.0]
    >>> fc.ops.adadelta([1.0], [2.0], hyper, [0.0], [0.25])[0]
    array([0.], dtype=float32)
    """
    slots = {
        "accumulated_grad": accumulated_grad,
        "accumulated_delta": accumulated_delta,
    }
    return _update(OpKind.adadelta, None, weights, gradients, hyper, slots)


@op
def adam(
    weights: Any,
    gradients: Any,
    hyper: Any,
    momentum: Any,
    velocity: Any,
    velocity_hat: Any = None,
) -> Any:
    """One step of Adam, AdamW, Nadam or, with ``velocity_hat``, AMSGrad.

    Formula, with ``hyper = [a, d, b, 1 - beta_1, 1 - beta_2, c, epsilon]``::

        momentum     <- momentum + (1 - beta_1) (gradients - momentum)
        velocity     <- velocity + (1 - beta_2) (gradients^2 - velocity)
        velocity_hat <- max(velocity_hat, velocity), the divisor if there is one
        weights      <- (1 - d) weights
                        - (a momentum + b gradients) / (c sqrt(velocity) + epsilon)

    The bias corrections of step ``t`` are part of ``a``, ``b`` and ``c``: for Adam
    ``a = rate sqrt(1 - beta_2^t) / (1 - beta_1^t)``, ``b = 0`` and ``c = 1``.

    Parameters
    ----------
    weights: any shape, float32.
    gradients, momentum, velocity: of the shape of ``weights``.
    hyper: float32 of shape (7,).
    velocity_hat: of the shape of ``weights``, or None.

    Returns
    -------
    The new weights, and the new value of each slot given, in their order.

    Raises
    ------
    ShapeError or DtypeError if an operand does not agree with the weights.

    Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015; Dozat,
    "Incorporating Nesterov momentum into Adam", ICLR workshop 2016; Reddi, Kale, Kumar,
    "On the convergence of Adam and beyond", ICLR 2018.

    >>> import fastconv as fc
    >>> hyper = [0.5, 0.0, 0.0, 0.5, 0.25, 1.0, 0.0]
    >>> fc.ops.adam([1.0], [2.0], hyper, [0.0], [0.0])[0]
    array([0.5], dtype=float32)
    """
    slots = {"momentum": momentum, "velocity": velocity, "velocity_hat": velocity_hat}
    return _update(OpKind.adam, None, weights, gradients, hyper, slots)


@op
def adamax(weights: Any, gradients: Any, hyper: Any, momentum: Any, norm: Any) -> Any:
    """One step of Adamax.

    Formula, with ``hyper = [a, d, 1 - beta_1, beta_2, epsilon]``::

        momentum <- momentum + (1 - beta_1) (gradients - momentum)
        norm     <- max(beta_2 norm, |gradients|)
        weights  <- (1 - d) weights - a momentum / (norm + epsilon)

    The bias correction of step ``t`` is part of ``a = rate / (1 - beta_1^t)``.

    Parameters
    ----------
    weights: any shape, float32.
    gradients, momentum, norm: of the shape of ``weights``.
    hyper: float32 of shape (5,).

    Returns
    -------
    The new weights, momentum and norm.

    Raises
    ------
    ShapeError or DtypeError if an operand does not agree with the weights.

    Kingma, Ba, "Adam: a method for stochastic optimization", ICLR 2015, section 7.1.

    >>> import fastconv as fc
    >>> fc.ops.adamax([1.0], [2.0], [0.5, 0.0, 0.5, 0.5, 0.0], [0.0], [0.0])[0]
    array([0.75], dtype=float32)
    """
    slots = {"momentum": momentum, "norm": norm}
    return _update(OpKind.adamax, None, weights, gradients, hyper, slots)


@op
def lion(weights: Any, gradients: Any, hyper: Any, momentum: Any) -> Any:
    """One step of Lion.

    Formula, with ``hyper = [a, d, beta_1, 1 - beta_1, beta_2, 1 - beta_2]``::

        weights  <- (1 - d) weights - a sign(beta_1 momentum + (1 - beta_1) gradients)
        momentum <- beta_2 momentum + (1 - beta_2) gradients

    Parameters
    ----------
    weights: any shape, float32.
    gradients, momentum: of the shape of ``weights``.
    hyper: float32 of shape (6,).

    Returns
    -------
    The new weights and the new momentum.

    Raises
    ------
    ShapeError or DtypeError if an operand does not agree with the weights.

    Chen et al., "Symbolic discovery of optimization algorithms", NeurIPS 2023.

    >>> import fastconv as fc
    >>> fc.ops.lion([1.0], [2.0], [0.5, 0.0, 0.5, 0.5, 0.5, 0.5], [0.0])
    (array([0.5], dtype=float32), array([1.], dtype=float32))
    """
    slots = {"momentum": momentum}
    return _update(OpKind.lion, None, weights, gradients, hyper, slots)


# Scalars in hyper, and operations on one weight.
_SCALARS = {
    OpKind.rmsprop: (6, 10), OpKind.adagrad: (3, 8), OpKind.adadelta: (5, 14),
    OpKind.adam: (7, 14), OpKind.adamax: (5, 10), OpKind.lion: (6, 9),
}  # fmt: skip


def _update(
    kind: OpKind,
    attrs: Any,
    weights: Any,
    gradients: Any,
    hyper: Any,
    slots: dict[str, Any],
) -> tuple[Tensor, ...]:
    weights, gradients, hyper = map(as_tensor, (weights, gradients, hyper))
    _expect("gradients", gradients, weights.shape, weights.dtype)
    _expect("hyper", hyper, (_SCALARS[kind][0],), weights.dtype)
    given = {name: as_tensor(s) for name, s in slots.items() if s is not None}
    for name, slot in given.items():
        _expect(name, slot, weights.shape, weights.dtype)
    return emit(kind, attrs, weights, gradients, hyper, *given.values())


def _expect(what: str, t: Tensor, shape: tuple[int, ...], dtype: str) -> None:
    if t.shape != shape:
        raise ShapeError(
            f"{who('optimizer')}: expected {what} of shape {shape}, received {t.shape}"
        )
    if t.dtype != dtype:
        raise DtypeError(
            f"{who('optimizer')}: expected {what} of dtype {dtype}, received {t.dtype}"
        )


def _shape(_: Any, weights: Tensor, *others: Tensor) -> list[Spec]:
    return [(weights.shape, weights.dtype)] * (len(others) - 1)


def _gradient(node: Node, *_: Any) -> list[None]:
    """None: new weights are constants for what comes after the update."""
    return [None] * len(node.inputs)


def _cost(node: Node) -> int:
    return node.outputs[0].size * _SCALARS[node.op][1]


register(OpKind.rmsprop, Rule(_shape, _gradient, _cost))
register(OpKind.adagrad, Rule(_shape, _gradient, _cost))
register(OpKind.adadelta, Rule(_shape, _gradient, _cost))
register(OpKind.adam, Rule(_shape, _gradient, _cost))
register(OpKind.adamax, Rule(_shape, _gradient, _cost))
register(OpKind.lion, Rule(_shape, _gradient, _cost))
