"""The order of axes: channels last inside, channels first where a user asks for it."""

from __future__ import annotations

from typing import Any

from fastconv import ops
from fastconv._core import OpKind
from fastconv.errors import unknown_name
from fastconv.graph.ir import Tensor

__all__ = ["image_data_format", "set_image_data_format"]

_NAMES = {
    "channels_last": "channels_last",
    "channels_first": "channels_first",
    "tf": "channels_last",  # the names of Keras 1
    "th": "channels_first",
}
_default = "channels_last"


def image_data_format() -> str:
    """What ``data_format=None`` stands for: "channels_last", unless it was changed.

    >>> import fastconv as fc
    >>> fc.layers.image_data_format()
    'channels_last'
    """
    return _default


def set_image_data_format(data_format: str) -> None:
    """Sets what ``data_format=None`` stands for in layers made from now on.

    Scripts whose images are (depth, height, width) call it once, with "channels_first".

    Raises
    ------
    UnknownNameError for another name.

    >>> import fastconv as fc
    >>> fc.layers.set_image_data_format("channels_last")
    """
    global _default
    _default = resolve(data_format)


def resolve(data_format: str | None) -> str:
    """The full name of a data format; None is the default."""
    if data_format is None:
        return _default
    if data_format not in _NAMES:
        raise unknown_name(
            "data_format", data_format, ["channels_last", "channels_first"]
        )
    return _NAMES[data_format]


def channel_axis(data_format: str) -> int:
    """Where the channels of an input are."""
    return 1 if data_format == "channels_first" else -1


def to_last(x: Any, data_format: str) -> Any:
    """``x`` with its channels last."""
    if data_format == "channels_last" or x.ndim < 3:
        return x
    return permute(x, (0, *range(2, x.ndim), 1))


def from_last(x: Any, data_format: str) -> Any:
    """A tensor with its channels last, in the order of ``data_format``."""
    if data_format == "channels_last" or x.ndim < 3:
        return x
    return permute(x, (0, x.ndim - 1, *range(1, x.ndim - 1)))


def permute(x: Tensor, order: tuple[int, ...]) -> Tensor:
    """Transposes, or undoes the transposition that made ``x``."""
    node = x.node
    if node.kind == OpKind.transpose:
        before = tuple(node.attrs.permutation)[: x.ndim]
        if tuple(before[i] for i in order) == tuple(range(x.ndim)):
            return node.inputs[0]
    return ops.transpose(x, order)
