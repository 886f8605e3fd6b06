"""Activation functions by name: what ``activation="relu"`` stands for.

Each is a function of tensors, and of arrays, of any shape; the formulas are in
`fastconv.ops`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastconv import custom_objects, ops
from fastconv.errors import ArgumentError, unknown_name

__all__ = ["gelu", "get", "linear", "names", "scaled_tanh", "serialize"]

Activation = Callable[..., Any]

# Name -> op. Several names may stand for one op.
_OPS = {
    "elu": "elu",
    "exponential": "exp",
    "gaussian": "gaussian",
    "hard_sigmoid": "hard_sigmoid",
    "hard_tanh": "hard_tanh",
    "heaviside": "threshold",
    "leaky_relu": "leaky_relu",
    "log_softmax": "log_softmax",
    "relu": "relu",
    "relu6": "relu6",
    "saturation": "hard_tanh",
    "selu": "selu",
    "sigmoid": "sigmoid",
    "sign": "sign_ste",
    "silu": "swish",
    "softmax": "softmax",
    "softplus": "softplus",
    "softsign": "softsign",
    "swish": "swish",
    "tanh": "tanh",
    "threshold": "threshold",
}


def linear(x: Any) -> Any:
    """The identity: ``x``.

    >>> from fastconv import activations
    >>> activations.linear(2.0)
    2.0
    """
    return x


def gelu(x: Any, approximate: bool = False) -> Any:
    """`fastconv.ops.gelu`, exact by default, as Keras's activation is.

    >>> from fastconv import activations
    >>> activations.gelu([0.0])
    array([0.], dtype=float32)
    """
    return ops.gelu(x, approximate)


def scaled_tanh(x: Any) -> Any:
    """``1.7159 tanh(2 x / 3)``, which maps 1 to 1 and -1 to -1.

    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", Proc. IEEE 86 (1998), eq. 6 and appendix A.

    >>> from fastconv import activations
    >>> round(float(activations.scaled_tanh([1.0])[0]), 3)
    1.0
    """
    return ops.multiply(ops.tanh(ops.multiply(x, 2 / 3)), 1.7159)


_OWN = {
    "gelu": gelu,
    "identity": linear,
    "linear": linear,
    "scaled_tanh": scaled_tanh,
}


def names() -> list[str]:
    """All known names.

    >>> from fastconv import activations
    >>> "relu" in activations.names()
    True
    """
    return sorted({*_OPS, *_OWN})


def __getattr__(name: str) -> Activation:
    if name in _OPS:
        return get(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def get(identifier: str | Activation | None) -> Activation:
    """The activation for a name, a function of one tensor, or None (the identity).

    Raises
    ------
    UnknownNameError for an unknown name, ArgumentError for anything else.

    >>> import fastconv as fc
    >>> fc.layers.Activation(fc.activations.get("relu"))([-1.0, 2.0])
    array([0., 2.], dtype=float32)
    """
    if identifier is None:
        return linear
    if callable(identifier):
        return identifier
    if not isinstance(identifier, str):
        raise ArgumentError(
            f"expected the name of an activation or a function, received {identifier!r}"
        )
    registered = custom_objects.get_registered_object(identifier)
    if registered is not None:
        return registered
    if identifier in custom_objects.known():
        return custom_objects.known()[identifier]
    if identifier in _OWN:
        return _OWN[identifier]
    if identifier in _OPS:
        return getattr(ops, _OPS[identifier])
    raise unknown_name("activation", identifier, names())


def serialize(activation: Activation) -> str:
    """The name that a file holds of an activation.

    Your own function is saved by its name, and given to the loader as
    ``custom_objects={name: function}``.

    Raises
    ------
    ArgumentError for a function without a name of its own (a lambda).

    >>> from fastconv import activations, ops
    >>> activations.serialize(ops.swish)
    'silu'
    """
    for name in names():
        if get(name) is activation:
            return name
    registered = custom_objects.get_registered_name(activation)
    if custom_objects.get_registered_object(registered) is activation:
        return registered
    name = getattr(activation, "__name__", "<lambda>")
    if not name.isidentifier() or name in names():
        raise ArgumentError(
            f"{activation!r} cannot be saved: files hold no code, and it has no name "
            "of its own; define it with def, and load it with "
            "custom_objects={name: function}"
        )
    return name
