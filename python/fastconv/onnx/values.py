"""Import: what the values of a file are while layers are made of its nodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from fastconv import initializers, ops
from fastconv.errors import FormatError
from fastconv.layers import OpLayer, Reshape
from fastconv.layers.base import KerasTensor, Layer, unique_name
from fastconv.onnx.forms import permuted, to_first, to_last
from fastconv.onnx.known import BATCHES, fold
from fastconv.weights.onnx import proto

__all__ = ["Builder", "NodeView", "Value"]

_DTYPES = {"float16": "float32", "float64": "float32"}


@dataclass(frozen=True)
class Value:
    """A value of the file: an array that is known, or a tensor in one form or two.

    Attributes
    ----------
    known: its value for each of `BATCHES`.
    weight: the name of the initializer that it was made of, if training changes it.
    plain: with the file's order of axes.
    last: channels last, where the file has them first.
    rows: maps that were made rows, position by position, where the file has them
        channel by channel; and the shape of these maps.
    """

    known: Any = None
    weight: str = ""
    plain: Any = None
    last: Any = None
    rows: tuple[Any, tuple[int, ...]] | None = None

    @property
    def shape(self) -> tuple[int | None, ...]:
        """The sizes in the file's order; None for the batch."""
        if self.last is not None:
            return permuted(tuple(self.last.shape), to_first(self.last.ndim))
        if self.plain is not None:
            return tuple(self.plain.shape)
        if self.rows is not None:
            return tuple(self.rows[0].shape)
        return self.array.shape

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def array(self) -> np.ndarray:
        """The known value; of a batch of 2 where it depends on the batch."""
        assert self.known is not None
        return self.known[0]

    @property
    def follows_batch(self) -> bool:
        """Whether a known value is another for another batch."""
        assert self.known is not None
        a, b = self.known
        return a is not b and not np.array_equal(a, b)

    def on_last(self) -> bool:
        """Whether to compute channels last: it is there so, and not otherwise."""
        return self.last is not None and self.plain is None


class NodeView:
    """A node as the rules see it: its inputs, its attributes as Python values.

    Of the outputs, "" stands for one that is not read.
    """

    def __init__(
        self, where: str, node: Any, inputs: list[Value | None], read: set[str]
    ) -> None:
        self.where = where
        self.op = node.op_type
        self.name = node.name
        self.outputs = [name if name in read else "" for name in node.output]
        self.inputs = inputs
        self.attrs: dict[str, Any] = {}

    def input(self, i: int) -> Value | None:
        """An input, or None if it is left out."""
        return self.inputs[i] if i < len(self.inputs) else None

    def tensor(self, i: int = 0) -> Value:
        """An input that must be there."""
        value = self.input(i)
        if value is None:
            raise self.error(f"input {i} is missing")
        return value

    def array(self, i: int, name: str = "", default: Any = None) -> Any:
        """What is given as an attribute or, since some version, as a known input."""
        value = self.input(i)
        if value is None:
            return self.attrs.get(name, default)
        if value.known is None or value.follows_batch:
            raise self.error(f"input {i} is computed; expected a constant")
        return value.array

    def integers(self, i: int, name: str = "", default: Any = None) -> Any:
        """`array` as a list of integers."""
        found = self.array(i, name, default)
        return [int(n) for n in np.reshape(found, -1)] if found is not None else None

    def number(self, i: int, name: str = "", default: Any = None) -> Any:
        """`array` as one number."""
        found = self.array(i, name, default)
        return found if found is None else np.reshape(found, -1)[0].item()

    def axis(self, value: int, rank: int) -> int:
        """An axis counted from the front."""
        if not -rank <= value < rank:
            raise self.error(f"axis {value} of {rank}")
        return value % rank

    def dtype(self) -> str:
        """The dtype that the attribute ``to`` names."""
        number = self.attrs.get("to")
        if number != proto.BFLOAT16 and number not in proto.DTYPES:
            raise self.error(f"element type {number} is not supported")
        name = proto.DTYPES.get(number, "float32")
        return _DTYPES.get(name, name)

    def error(self, why: str) -> FormatError:
        """An error that names the node."""
        return FormatError(f"{self.where}: {why}")


class Builder:
    """Makes layers of nodes.

    Attributes
    ----------
    opset: version of the operators.
    batch: the size of the batch in the file, or None if it is open there.
    """

    def __init__(self, opset: int, batch: int | None) -> None:
        self.opset = opset
        self.batch = batch
        self._names: Counter[str] = Counter()

    # Forms ----------------------------------------------------------------------------

    def plain(self, value: Value) -> Any:
        """A tensor in the file's order."""
        if value.plain is not None:
            return value.plain
        if value.last is not None:
            rank = value.last.ndim
            return self._turned(value.last, to_first(rank), value.shape[1:])
        assert value.rows is not None
        rows, maps = value.rows
        turned = ops.transpose(Reshape(maps)(rows), to_first(len(maps) + 1))
        return Reshape((prod(maps),))(turned)

    def last(self, value: Value) -> Any:
        """A tensor channels last."""
        if value.last is not None:
            return value.last
        x = self.plain(value)
        order = to_last(x.ndim)
        return self._turned(x, order, permuted(tuple(x.shape), order)[1:])

    def _turned(self, x: Any, order: Any, sizes: Any) -> Any:
        line = sum(n != 1 for n in sizes) < 2 and None not in sizes
        return Reshape(sizes)(x) if line else ops.transpose(x, order)

    def chosen(self, value: Value) -> tuple[Any, tuple[int, ...]]:
        """A tensor in the form in which it is there, and the file's axis of each."""
        if value.on_last():
            return value.last, to_last(value.last.ndim)
        x = self.plain(value)
        return x, tuple(range(x.ndim))

    def like(self, value: Value, result: Any) -> Value:
        """A result that is in the form that `chosen` gave."""
        return Value(last=result) if value.on_last() else Value(plain=result)

    # Layers ---------------------------------------------------------------------------

    def elementwise(self, node: NodeView, op: str, *values: Value) -> Value:
        """An op with broadcasting, in the form in which the tensors are."""
        rank = max(v.rank for v in values)
        tensors = [v for v in values if v.known is None]
        last = any(v.on_last() for v in tensors)
        last = last and all(v.rank == rank for v in tensors)
        operands = []
        for value in values:
            if value.known is None:
                operands.append(self.last(value) if last else self.plain(value))
                continue
            if value.follows_batch:
                raise node.error("an operand depends on the size of the batch")
            array = value.array
            if last and array.ndim:
                array = array.reshape((1,) * (rank - array.ndim) + array.shape)
                array = array.transpose(to_last(rank))
                while array.ndim > 1 and len(array) == 1:
                    array = array[0]  # one value a channel is a bias
            operands.append(replace(value, known=(array, array)))
        result = self.apply(op, operands)
        return Value(last=result) if last else Value(plain=result)

    def apply(self, op: str, operands: list[Any]) -> Any:
        """An op of `fastconv.ops` of tensors and known values, some of them weights."""
        tensors = [x for x in operands if isinstance(x, KerasTensor)]
        weights = [x for x in operands if isinstance(x, Value) and x.weight]
        places = iter(range(len(tensors)))
        if not weights:
            given = [x if isinstance(x, KerasTensor) else _number(x) for x in operands]
            return getattr(ops, op)(*given)
        args = [
            {"tensor": next(places)} if isinstance(x, KerasTensor)
            else {"weight": list(x.shape)} if x.weight
            else {"array": x.array.tolist(), "dtype": x.array.dtype.name}
            for x in operands
        ]  # fmt: skip
        layer = OpLayer(op, {"tuple": args}, name=self.name(weights[0].weight, "", op))
        return self.layer(layer, tensors, [x.array for x in weights])

    def layer(self, layer: Layer, x: Any, arrays: list[np.ndarray]) -> Any:
        """What a layer with these weights makes of a tensor, or of several."""
        random = vars(layer).get("kernel_initializer")
        if random is not None:  # no random numbers for what is replaced at once
            vars(layer)["kernel_initializer"] = initializers.get("zeros")
        made = layer(*x) if isinstance(x, list) else layer(x)
        if random is not None:
            vars(layer)["kernel_initializer"] = random
        layer.set_weights(arrays)
        return made

    def name(self, weight: str, node: str, kind: str) -> str:
        """A name for a layer: that of its weight without the last part.

        ``features.0.weight`` is of the layer ``features.0``. A number that PyTorch gave
        (``onnx::Conv_12``), or a weight that another layer has, says less than the
        path in the name of the node.
        """
        head, _, last = weight.replace("/", ".").strip(".").rpartition(".")
        name = head if head and last in _LAST else f"{head}.{last}".strip(".")
        if "::" in weight or not name or name in self._names:
            name = _path(node) or name.replace("::", ".") or unique_name(kind)
        while name in self._names:
            self._names[name] += 1
            name = f"{name}_{self._names[name] - 1}"
        self._names[name] = 1
        return name

    def folded(self, node: NodeView) -> Any:
        """The known result of a node whose inputs are known."""
        values = [v for v in node.inputs if v is not None]
        results: list[Any] = []
        for i in range(len(BATCHES)):
            arrays = [None if v is None else v.known[i] for v in node.inputs]
            if i and all(a.known[0] is a.known[1] for a in values):
                results.append(results[0])
            else:
                results.append(fold(node.op, node, arrays))
        weight = next((v.weight for v in values if v.weight), "")
        if isinstance(results[0], list):
            return [Value((a, b), weight) for a, b in zip(*results, strict=True)]
        return Value((results[0], results[1]), weight)


def _path(node: str) -> str:
    """Where a node stands: /layer1/layer1.0/bn1/Conv is at layer1.0.bn1."""
    found = outer = ""
    for part in node.strip("/").split("/")[:-1]:
        kept = found.removesuffix(outer) if part.startswith(f"{outer}.") else found
        found = f"{kept.rstrip('.')}.{part}".strip(".")
        outer = part
    return found or node


_LAST = (
    "weight", "bias", "kernel", "gamma", "beta", "running_mean", "running_var", "scale",
    "W", "B",
)  # fmt: skip


def _number(value: Value) -> Any:
    """A known value as a number, if it is one."""
    return value.array if value.array.ndim else value.array.item()
