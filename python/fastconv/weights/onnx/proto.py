"""The messages of ONNX that are read and written, after onnx.proto of ONNX 1.x."""

from __future__ import annotations

from typing import ClassVar

from fastconv.weights.onnx.wire import Field, Message

__all__ = [
    "DTYPES", "TYPE_NUMBERS", "Attribute", "Dimension", "Entry", "Graph", "Model",
    "Node", "Opset", "Shape", "Tensor", "TensorType", "Type", "Value",
]  # fmt: skip

Fields = dict[int, Field]

# The number of an element type -> NumPy's name; bfloat16 is read as float32.
DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32",
    7: "int64", 9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
}  # fmt: skip
BFLOAT16 = 16
TYPE_NUMBERS = {name: number for number, name in DTYPES.items()} | {"bfloat16": 16}

# Types of attributes -> the field that holds the value.
ATTRIBUTES = {
    1: "f", 2: "i", 3: "s", 4: "t", 6: "floats", 7: "ints", 8: "strings",
}  # fmt: skip


class Entry(Message):
    """A key and its value, of metadata."""

    fields: ClassVar[Fields] = {1: Field("key", "text"), 2: Field("value", "text")}


class Tensor(Message):
    """An array; what it holds is in one of several fields, or in a file beside."""

    fields: ClassVar[Fields] = {
        1: Field("dims", "int", True),
        2: Field("data_type", "int"),
        3: Field("segment", "bytes"),
        4: Field("float_data", "float", True),
        5: Field("int32_data", "int", True),
        7: Field("int64_data", "int", True),
        8: Field("name", "text"),
        9: Field("raw_data", "bytes"),
        10: Field("double_data", "double", True),
        11: Field("uint64_data", "int", True),
        13: Field("external_data", Entry, True),
        14: Field("data_location", "int"),
    }


class Attribute(Message):
    """A named value of a node."""

    fields: ClassVar[Fields] = {
        1: Field("name", "text"),
        2: Field("f", "float"),
        3: Field("i", "int"),
        4: Field("s", "bytes"),
        5: Field("t", Tensor),
        7: Field("floats", "float", True),
        8: Field("ints", "int", True),
        9: Field("strings", "bytes", True),
        20: Field("type", "int"),
    }


class Node(Message):
    """One operation; inputs and outputs are names, "" for one that is left out."""

    fields: ClassVar[Fields] = {
        1: Field("input", "text", True),
        2: Field("output", "text", True),
        3: Field("name", "text"),
        4: Field("op_type", "text"),
        5: Field("attribute", Attribute, True),
        7: Field("domain", "text"),
    }


class Dimension(Message):
    """A size: a number, or the name of one that is open."""

    fields: ClassVar[Fields] = {
        1: Field("dim_value", "int"), 2: Field("dim_param", "text"),
    }  # fmt: skip


class Shape(Message):
    """The sizes of a value."""

    fields: ClassVar[Fields] = {1: Field("dim", Dimension, True)}


class TensorType(Message):
    """Element type and shape."""

    fields: ClassVar[Fields] = {1: Field("elem_type", "int"), 2: Field("shape", Shape)}


class Type(Message):
    """The type of a value; only tensors are read."""

    fields: ClassVar[Fields] = {1: Field("tensor_type", TensorType)}


class Value(Message):
    """An input or output of the graph."""

    fields: ClassVar[Fields] = {1: Field("name", "text"), 2: Field("type", Type)}


class Graph(Message):
    """Nodes in the order in which they run, and arrays by name."""

    fields: ClassVar[Fields] = {
        1: Field("node", Node, True),
        2: Field("name", "text"),
        5: Field("initializer", Tensor, True),
        11: Field("input", Value, True),
        12: Field("output", Value, True),
        15: Field("sparse_initializer", "bytes", True),
    }


class Opset(Message):
    """A set of operators that the model uses, and its version."""

    fields: ClassVar[Fields] = {1: Field("domain", "text"), 2: Field("version", "int")}


class Model(Message):
    """A file."""

    fields: ClassVar[Fields] = {
        1: Field("ir_version", "int"),
        2: Field("producer_name", "text"),
        3: Field("producer_version", "text"),
        7: Field("graph", Graph),
        8: Field("opset_import", Opset, True),
        14: Field("metadata_props", Entry, True),
    }
