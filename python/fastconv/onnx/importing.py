"""Import: a model that can be trained, from an ONNX file."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from fastconv.errors import FastconvError, FormatError
from fastconv.layers import Input
from fastconv.layers.base import KerasTensor
from fastconv.layers.budget import weight_budget
from fastconv.onnx import import_elements, import_windows
from fastconv.onnx.forms import permuted, to_first, to_last
from fastconv.onnx.known import FOLDED, LARGEST
from fastconv.onnx.values import Builder, NodeView, Value
from fastconv.training.model import Model
from fastconv.weights.onnx import proto
from fastconv.weights.onnx.reading import Contents, described, read
from fastconv.weights.onnx.tensors import to_array

__all__ = ["load"]

_RULES = import_elements.RULES | import_windows.RULES
_LONGEST = 1 << 26  # elements along an axis
_VIEWS = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Identity")
# Operators that have channels first, and those that have them where their input has.
_FIRST = {
    *import_windows.RULES, "PRelu",
} - {"Gemm", "MatMul", "LayerNormalization"}  # fmt: skip
_EITHER = {
    "Identity", "Cast", "Add", "Sub", "Mul", "Div", "Pad", "Relu", "Clip", "Dropout",
    "Concat", "Slice", "Split", "Gather", "Neg", "Pow", "Sqrt", "Sum", "Min", "Max",
}  # fmt: skip


def load(
    filepath: str | os.PathLike[str], input_shape: tuple[int, ...] | None = None
) -> Model:
    """The network in an ONNX file, as a model that can be trained, saved and exported.

    Initializers of floating-point numbers become weights of layers, batch normalisation
    becomes `BatchNormalization` with its statistics, and Dropout acts in training.
    Images are channels last, as everywhere in fastconv: an input N C H W of the file is
    N H W C here (but not one that the file transposes first), and so are outputs that
    are maps. The batch is open, whatever the file says. Numbers are float32.

    Parameters
    ----------
    filepath: operators of version 7 to 28. Arrays may lie in other files of its folder.
    input_shape: of one sample, as the model takes it, for a file with open sizes and
        one input; default the file's.

    Raises
    ------
    FormatError if the file is damaged, its graph has a cycle, a path leaves its folder,
    or an operator is not supported: all of them are listed. OSError if it cannot be
    read. Nothing in a file runs, and sizes in it are compared with its length.

    >>> import fastconv as fc
    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "lenet.onnx")
    >>> fc.models.LeNet5().export(path)
    >>> model = fc.onnx.load(path)
    >>> model.input_shape, model.get_layer("C1").trainable
    ((None, 32, 32, 1), True)
    """
    contents = read(filepath)
    try:
        with weight_budget(LARGEST + 2 * contents.size):
            return _model(contents, input_shape)
    except FastconvError as error:
        raise FormatError(f"{contents.source}: refused: {error}") from error
    except (
        ArithmeticError, AttributeError, IndexError, KeyError, OverflowError,
        TypeError, ValueError,
    ) as error:  # fmt: skip
        raise FormatError(
            f"{contents.source}: refused: its attributes or shapes make no sense: "
            f"{type(error).__name__}: {str(error)[:200]}"
        ) from error


def _model(contents: Contents, input_shape: tuple[int, ...] | None) -> Model:
    graph = contents.graph
    _check_operators(graph)
    values: dict[str, Value] = {
        name: _initializer(name, array) for name, array in contents.arrays.items()
    }
    given = [v for v in graph.input if v.name not in values]
    batches = [_sizes(v)[0] for v in given if _sizes(v)]
    b = Builder(contents.opset, batches[0] if batches else None)
    inputs = []
    for value in given:
        values[value.name] = x = _input(value, graph, input_shape)
        inputs.append(x.last if x.last is not None else x.plain)
    _biases_into_products(graph, contents.arrays)
    budget = 4 * LARGEST + 8 * contents.size
    read_names = {name for node in graph.node for name in node.input}
    read_names.update(value.name for value in graph.output)
    for number, node in enumerate(graph.node):
        where = described(node, number)
        view = NodeView(where, node, [values.get(n) for n in node.input], read_names)
        view.attrs = {a.name: _attribute(a, view) for a in node.attribute}
        results = _run(b, view)
        budget -= sum(_taken(view, v) for v in results)
        if budget < 0:
            raise view.error("its constants take too much memory")
        values.update(zip(node.output, results, strict=False))
    outputs = [_output(b, values[v.name], v.name) for v in graph.output]
    given, made = (x[0] if len(x) == 1 else x for x in (inputs, outputs))
    model = Model(given, made, name=graph.name.replace("/", "_") or None)
    model.metadata = dict(contents.facts)
    return model


def _run(b: Builder, node: NodeView) -> list[Value]:
    """The values that a node makes."""
    if node.op == "Constant":
        return [_constant(node)]
    there = [v for v in node.inputs if v is not None]
    if there and all(v.known is not None for v in there) and node.op in FOLDED:
        made = b.folded(node)
    else:
        try:
            made = _RULES[node.op](b, node)
        except FormatError:
            raise
        except FastconvError as error:
            raise node.error(str(error)) from error
    made = made if isinstance(made, list) else [made]
    for value in made:
        tensors = [value.plain, value.last]
        if any(t is not None and not isinstance(t, KerasTensor) for t in tensors):
            raise node.error("of constants alone it is not supported")
        if value.known is None and any(n and n > _LONGEST for n in value.shape):
            raise node.error(f"its result has the sizes {value.shape}")
    return made


def _check_operators(graph: Any) -> None:
    """All operators that are not supported are in one error."""
    found: dict[str, list[str]] = {}
    for number, node in enumerate(graph.node):
        foreign = node.domain not in ("", "ai.onnx")
        known = node.op_type in _RULES or node.op_type in FOLDED
        if foreign or not (known or node.op_type == "Constant"):
            name = f"{node.domain}.{node.op_type}" if foreign else node.op_type
            found.setdefault(name, []).append(node.name or str(number))
    if found:
        listed = "; ".join(
            f"{op} (node {', '.join(names[:5])}{' ...' if len(names) > 5 else ''})"
            for op, names in found.items()
        )
        raise FormatError(f"operators that are not supported: {listed:.2000}")


def _biases_into_products(graph: Any, arrays: dict[str, np.ndarray]) -> None:
    """A MatMul that an Add of one array alone reads takes that array as third input."""
    readers: dict[str, list[Any]] = {value.name: [None] for value in graph.output}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    for node in graph.node:
        (add, *others) = readers.get(node.output[0], [None]) if node.output else [None]
        if node.op_type != "MatMul" or others or add is None or add.op_type != "Add":
            continue
        bias = [name for name in add.input if name != node.output[0]]
        if len(bias) == 1 and bias[0] in arrays and arrays[bias[0]].ndim == 1:
            node.input = [*node.input[:2], bias[0]]
            add.op_type, add.input = "Identity", [node.output[0]]


def _initializer(name: str, array: np.ndarray) -> Value:
    """Floating-point numbers, more than one, are a weight; others are constants."""
    trained = array.dtype.kind == "f" and array.size > 1
    return Value((array, array), name if trained else "")


def _constant(node: NodeView) -> Value:
    attrs = node.attrs
    for name, dtype in (
        ("value", None), ("value_float", "f4"), ("value_floats", "f4"),
        ("value_int", "i8"), ("value_ints", "i8"),
    ):  # fmt: skip
        if name in attrs:
            array = np.asarray(attrs[name], dtype)
            return Value((array, array))
    raise node.error("a constant without a number")


def _attribute(attribute: Any, node: NodeView) -> Any:
    """The value of an attribute as a Python value."""
    field = proto.ATTRIBUTES.get(attribute.type)
    if field is None:
        raise node.error(f"attribute {attribute.name!r:.80} is a graph, or unknown")
    value = getattr(attribute, field)
    if field == "s":
        return str(value, "utf-8", "replace")
    if field == "t":
        if value is None:
            raise node.error(f"attribute {attribute.name!r:.80} has no array")
        array = to_array(value, None)
        return array.astype(np.float32) if array.dtype.kind == "f" else array
    return value


def _taken(node: NodeView, value: Value) -> int:
    """Elements that were read and written for a value that is no view."""
    if value.known is None or node.op in _VIEWS:
        return 0
    read = [v.array.size for v in node.inputs if v is not None and v.known is not None]
    return 2 * (value.array.size + sum(read))


# Borders ------------------------------------------------------------------------------


def _sizes(value: Any) -> list[int | None]:
    """The sizes of an input; None for an open one."""
    kind = value.type.tensor_type if value.type is not None else None
    if kind is None or kind.shape is None:
        raise FormatError(f"input {value.name!r:.80}: expected a tensor with a shape")
    sizes = [d.dim_value for d in kind.shape.dim]
    if not sizes or any(n < 0 or n > 1 << 31 for n in sizes):
        raise FormatError(f"input {value.name!r:.80}: expected a batch, got {sizes}")
    return [n or None for n in sizes]


def _input(value: Any, graph: Any, given: tuple[int, ...] | None) -> Value:
    sizes, rank = _sizes(value), len(_sizes(value))
    last = rank > 2 and _has_channels_first(value.name, graph, rank > 3)
    shape = tuple(sizes[1:])
    if last:
        shape = permuted(tuple(sizes), to_last(rank))[1:]
    if given is not None:
        if len(given) != len(shape):
            raise FormatError(f"input_shape {given}: expected one like {shape}")
        shape = tuple(given)
    number = value.type.tensor_type.elem_type
    dtype = proto.DTYPES.get(number, "float32")
    dtype = "float32" if dtype.startswith("float") else dtype
    tensor = Input(shape, dtype=dtype, name=value.name.replace("/", "_"))
    return Value(last=tensor) if last else Value(plain=tensor)


def _has_channels_first(name: str, graph: Any, otherwise: bool) -> bool:
    """Whether an operator with channels first reads an input, before a Transpose."""
    reached = {name}
    for node in graph.node:
        if reached.isdisjoint(node.input):
            continue
        if node.op_type in _FIRST:
            return True
        if node.op_type == "Transpose" and _to_first(node):
            return False
        if node.op_type in _EITHER:
            reached.update(node.output)
    return otherwise


def _to_first(node: Any) -> bool:
    perms = [tuple(a.ints) for a in node.attribute if a.name == "perm"]
    return bool(perms) and len(perms[0]) > 2 and perms[0] == to_first(len(perms[0]))


def _output(b: Builder, value: Value, name: str) -> Any:
    if value.known is not None:
        raise FormatError(f"output {name!r:.80} depends on no input")
    return value.last if value.last is not None else b.plain(value)

