"""An ONNX graph in the making: nodes, arrays, and the form in which each tensor is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from fastconv.errors import ArgumentError
from fastconv.graph.ir import Leaf, Node, Tensor, ancestors
from fastconv.graph.variable import Variable
from fastconv.onnx.forms import permuted, to_first, to_last
from fastconv.weights.onnx import proto
from fastconv.weights.onnx.tensors import from_array

__all__ = ["Dims", "Writer"]

Dims = tuple[int, ...]  # sizes; -k is k times the batch


class Writer:
    """What the rules of export write to.

    A tensor of three or more axes has a name for each form in which it is there: its
    own, channels last, and channels first. The other form is made, by a Transpose,
    when a rule asks for it.

    Attributes
    ----------
    opset: the version of the operators.
    graph: the message.
    arrays: the values of tensors that no input changes; one sample where all are equal.
    dims: the sizes of tensors.
    consumers: the nodes that read a tensor.
    flattened: tensors that hold maps channel by channel -> the shape of these maps.
    rows: tensors of rows that are there with the axes before they were made one.
    """

    def __init__(
        self,
        opset: int,
        names: Mapping[Variable, str],
        arrays: dict[Tensor, np.ndarray],
        dims: dict[Tensor, Dims],
        consumers: dict[Tensor, list[Node]],
    ) -> None:
        self.opset = opset
        self.arrays = arrays
        self.dims = dims
        self.consumers = consumers
        self.graph: Any = proto.Graph()
        self.flattened: dict[Tensor, tuple[int, ...]] = {}
        self.rows: dict[Tensor, tuple[str, Dims]] = {}
        self.label = ""
        self._names = names
        self._forms: dict[tuple[Tensor, bool], str] = {}
        self._used: dict[str, int] = {}
        self._constants: dict[Any, str] = {}
        self._batch: tuple[str, ...] = ()

    # Names ----------------------------------------------------------------------------

    def unique(self, name: str) -> str:
        """``name``, with a number if it is taken."""
        count = self._used.get(name, 0)
        self._used[name] = count + 1
        return self.unique(f"{name}_{count}") if count else name

    def weight(self, tensor: Tensor) -> str:
        """The name of the weight that a constant tensor is made of; "" for none."""
        leaves = [n.payload for n in ancestors([tensor]) if n.kind is Leaf.variable]
        found = [self._names[v] for v in leaves if v in self._names]
        return found[0] if len(found) == 1 else f"{self.label}.weight" * bool(found)

    # Tensors --------------------------------------------------------------------------

    def put(self, tensor: Tensor, name: str, first: bool = False) -> None:
        """Notes the name of a tensor in one form."""
        self._forms[tensor, first and tensor.ndim > 2] = name

    def is_first(self, tensor: Tensor) -> bool:
        """Whether a tensor is there with its channels first."""
        return (tensor, True) in self._forms

    def last(self, tensor: Tensor) -> str:
        """The name of a tensor as it is: channels last."""
        return self._form(tensor, False)

    def first(self, tensor: Tensor) -> str:
        """The name of a tensor with its channels first."""
        return self._form(tensor, tensor.ndim > 2)

    def either(self, tensor: Tensor) -> str:
        """The name of a tensor in the form in which it is there."""
        return self._form(tensor, self.is_first(tensor))

    def operand(self, tensor: Tensor, rank: int, first: bool) -> str:
        """The name of an operand that is broadcast to ``rank`` axes."""
        if tensor not in self.arrays:
            return self._form(tensor, first)
        array = self.arrays[tensor]
        if first and array.ndim:
            array = array.reshape((1,) * (rank - array.ndim) + array.shape)
            array = array.transpose(to_first(rank))
        return self.constant(array, self.weight(tensor))

    def _form(self, tensor: Tensor, first: bool) -> str:
        if (tensor, first) not in self._forms:
            if tensor in self.arrays:
                name = self._array(tensor, first)
            elif tensor in self.rows:
                name = self.reshape(self.rows[tensor][0], self.dims[tensor])
            else:
                name = self._converted(tensor, first)
            self._forms[tensor, first] = name
        return self._forms[tensor, first]

    def _array(self, tensor: Tensor, first: bool) -> str:
        array, dims = self.arrays[tensor], self.dims[tensor]
        if first:
            order = to_first(tensor.ndim)
            array, dims = array.transpose(order), permuted(dims, order)
        name = self.constant(array, self.weight(tensor))
        return self.expand(name, array.shape, dims)

    def _converted(self, tensor: Tensor, first: bool) -> str:
        order = (to_first if first else to_last)(tensor.ndim)
        name = self._forms[tensor, not first]
        if is_line(tensor):  # both forms are the same memory
            dims = self.dims[tensor]
            return self.reshape(name, permuted(dims, order) if first else dims)
        return self.node("Transpose", [name], perm=order)

    # Nodes ----------------------------------------------------------------------------

    def node(self, op: str, inputs: list[str], outputs: int = 1, **attrs: Any) -> str:
        """Adds a node, and gives the name of its first output."""
        name = self.unique(f"{self.label}.{op}" if self.label else op)
        made = [name, *(self.unique(f"{name}.{i}") for i in range(1, outputs))]
        listed = [_attribute(k, v) for k, v in attrs.items() if v is not None]
        self.graph.node.append(
            proto.Node(
                input=inputs, output=made, name=name, op_type=op, attribute=listed
            )
        )
        return name

    def constant(self, value: Any, weight: str = "") -> str:
        """The name of an array; equal ones are there once.

        weight: its name, if it is a weight; what is none and not whole becomes a node,
        which tells `load` that it is not to be trained.
        """
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        content = hashlib.blake2b(array.data).digest() if array.size else b""
        key = (weight, array.dtype.str, array.shape, content)
        if key not in self._constants:
            if weight or array.dtype.kind in "iu":
                name = self.unique(weight or "constant")
                self.graph.initializer.append(from_array(array, name))
            else:
                name = self.node("Constant", [], value=from_array(array))
            self._constants[key] = name
        return self._constants[key]

    def integers(self, values: Any) -> str:
        """The name of a list of sizes, axes ..."""
        return self.constant(np.asarray(values, np.int64))

    def reshape(self, name: str, dims: Dims) -> str:
        """The same memory in another shape."""
        if sum(n < 0 for n in dims) > 1:
            raise ArgumentError(f"more than one of the sizes {dims} follows the batch")
        sizes = [-1 if n < 0 else n for n in dims]
        return self.node("Reshape", [name, self.integers(sizes)])

    def expand(self, name: str, shape: Dims, dims: Dims) -> str:
        """An array of ``shape``, repeated to ``dims``."""
        shape = (1,) * (len(dims) - len(shape)) + shape
        if shape == dims:
            return name
        pairs = zip(dims, shape, strict=True)
        sizes = [1 if n < 0 and old == n else n for n, old in pairs]
        if min(sizes, default=1) > 0:
            return self.node("Expand", [name, self.integers(sizes)])
        if sizes[0] != -1 or min(sizes[1:], default=1) < 0:
            raise ArgumentError(f"sizes {dims}, which follow the batch, of {shape}")
        batch = self.node("Shape", [self._batch[0]])
        batch = self.node("Gather", [batch, self.integers([0])])
        target = self.node("Concat", [batch, self.integers(sizes[1:])], axis=0)
        return self.node("Expand", [name, target])

    # Borders --------------------------------------------------------------------------

    def input(self, tensor: Tensor, name: str, first: bool) -> None:
        """Adds an input of the graph."""
        name = self.unique(name)
        self.put(tensor, name, first)
        self._batch = self._batch or (name,)
        self.graph.input.append(self._value(tensor, name, first))

    def output(self, tensor: Tensor, name: str, first: bool) -> None:
        """Adds an output of the graph."""
        inner = self.first(tensor) if first else self.last(tensor)
        self.label = ""
        self.node("Identity", [inner])
        self.graph.node[-1].output = [name]
        self.graph.output.append(self._value(tensor, name, first))

    def _value(self, tensor: Tensor, name: str, first: bool) -> proto.Value:
        dims = self.dims[tensor]
        if first and tensor.ndim > 2:
            dims = permuted(dims, to_first(tensor.ndim))
        shape = proto.Shape(dim=[_dimension(n) for n in dims])
        kind = proto.TensorType(
            elem_type=proto.TYPE_NUMBERS[tensor.dtype], shape=shape
        )
        return proto.Value(name=name, type=proto.Type(tensor_type=kind))


def is_line(tensor: Tensor) -> bool:
    """Whether there is one position, or one channel: the order of axes is no matter."""
    return prod(tensor.shape[1:-1]) == 1 or tensor.shape[-1] == 1


def _dimension(size: int) -> proto.Dimension:
    if size >= 0:
        return proto.Dimension(dim_value=size)
    return proto.Dimension(dim_param="batch" if size == -1 else f"batch_x_{-size}")


def _attribute(name: str, value: Any) -> proto.Attribute:
    if isinstance(value, proto.Tensor):
        return proto.Attribute(name=name, t=value, type=4)
    if isinstance(value, str):
        return proto.Attribute(name=name, s=value.encode(), type=3)
    if isinstance(value, float):
        return proto.Attribute(name=name, f=value, type=1)
    if isinstance(value, int):
        return proto.Attribute(name=name, i=value, type=2)
    return proto.Attribute(name=name, ints=[int(v) for v in value], type=7)
