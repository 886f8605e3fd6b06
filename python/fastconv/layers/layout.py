"""The order of axes: channels last inside, channels first where a user asks for it."""

from __future__ import annotations

from typing import Any

from fastconv import ops
from fastconv._core import OpKind
from fastconv.config import data_format_name as resolve
from fastconv.graph.ir import Tensor

__all__ = ["channel_axis", "from_last", "permute", "resolve", "to_last"]


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
