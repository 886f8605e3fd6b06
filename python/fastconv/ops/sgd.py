"""Stochastic gradient descent, over whole blocks of parameters."""

from __future__ import annotations

from typing import Any

from fastconv._core import OpKind, SgdAttrs
from fastconv.errors import DtypeError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Spec, Tensor, emit, register
from fastconv.graph.scope import who
from fastconv.graph.trace import as_tensor


@op
def sgd(
    weights: Any,
    gradients: Any,
    hyper: Any,
    velocity: Any = None,
    nesterov: bool = False,
) -> Any:
    """One step of gradient descent, with momentum if there is a velocity.

    Formula, with learning rate ``a`` and momentum ``m``::

        velocity <- m velocity - a gradients
        weights  <- weights + velocity,  or with nesterov
        weights  <- weights + m velocity - a gradients

    and ``weights - a gradients`` without velocity.

    Parameters
    ----------
    weights: any shape, float32.
    gradients: of the shape of ``weights``.
    hyper: float32 of shape (2,): learning rate and momentum.
    velocity: of the shape of ``weights``, or None.
    nesterov: Nesterov's momentum; default False.

    Returns
    -------
    The new weights, or with a velocity the new weights and the new velocity.

    Raises
    ------
    ShapeError or DtypeError if an operand does not agree with the weights.

    Polyak, "Some methods of speeding up the convergence of iteration methods", 1964;
    Sutskever, Martens, Dahl, Hinton, "On the importance of initialization and momentum
    in deep learning", ICML 2013, section 2.

    >>> import fastconv as fc
    >>> fc.ops.sgd([1.0, 2.0], [1.0, -1.0], [0.5, 0.0])
    array([0.5, 2.5], dtype=float32)
    """
    weights, gradients, hyper = map(as_tensor, (weights, gradients, hyper))
    _expect("gradients", gradients, weights.shape, weights.dtype)
    _expect("hyper (learning rate and momentum)", hyper, (2,), weights.dtype)
    attrs = SgdAttrs(nesterov=int(nesterov))
    if velocity is None:
        return emit(OpKind.sgd, attrs, weights, gradients, hyper)[0]
    velocity = as_tensor(velocity)
    _expect("velocity", velocity, weights.shape, weights.dtype)
    return emit(OpKind.sgd, attrs, weights, gradients, hyper, velocity)


def _expect(what: str, t: Tensor, shape: tuple[int, ...], dtype: str) -> None:
    if t.shape != shape:
        raise ShapeError(
            f"{who('sgd')}: expected {what} of shape {shape}, received {t.shape}"
        )
    if t.dtype != dtype:
        raise DtypeError(
            f"{who('sgd')}: expected {what} of dtype {dtype}, received {t.dtype}"
        )


def _shape(attrs: SgdAttrs, weights: Tensor, *others: Tensor) -> list[Spec]:
    made = [weights] * (2 if len(others) > 2 else 1) + [others[0]] * attrs.data
    return [(t.shape, t.dtype) for t in made]


def _gradient(node: Node, *_: Any) -> list[None]:
    """None: new weights are constants for what comes after the update."""
    return [None] * len(node.inputs)


def _cost(node: Node) -> int:
    size = node.outputs[0].size
    if len(node.inputs) == 5:  # the gradient is a product
        return size * (4 + 2 * (1 + node.attrs.data) * node.inputs[1].shape[0])
    return size * (4 if len(node.inputs) == 4 else 2)


register(OpKind.sgd, Rule(_shape, _gradient, _cost))
