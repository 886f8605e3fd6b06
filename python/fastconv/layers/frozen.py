"""A graph as a layer: ops as data, for any batch, with arrays that do not change."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastconv import _core
from fastconv._core import OpKind
from fastconv.errors import ArgumentError
from fastconv.graph.ir import RULES, Graph, Leaf, Node, Tensor
from fastconv.graph.scope import current_trace, label
from fastconv.graph.trace import constant
from fastconv.graph.variable import Variable
from fastconv.layers import context
from fastconv.layers.base import Layer
from fastconv.ops.shape import Target

__all__ = ["BATCHES", "FrozenGraph", "program_of"]

BATCHES = (2, 3)  # of the two graphs that show what follows the batch
_ROLES = {OpKind.quantized_conv: {1: "kernel", 2: "bias", 3: "scale"}}


class FrozenGraph(Layer):
    """The ops of a graph, in their order; `freeze` and `quantize` make it.

    Its arrays are constants of a plan: kernels pack them once. They change through
    `Variable.assign` (and so by `load_weights`), not through their ``value``. It is for
    inference: in training it is an error.

    Parameters
    ----------
    program: the graph as JSON-like data: ``nodes``, each with the numbers of the
        results it reads, and ``outputs``. Sizes that follow the batch N are
        ``{"times": a, "plus": b}``, for a N + b; results of nodes that are ``mixed``
        may be stored in the half that is named there.

    Raises
    ------
    ArgumentError in training.

    >>> import fastconv as fc
    >>> relu = {"op": "activation", "reads": [[0, 0]], "label": "r",
    ...         "attrs": {"struct": "ActivationAttrs", "fields": {"activation": 1}}}
    >>> program = {"nodes": [{"input": 0}, relu], "outputs": [[1, 0]]}
    >>> fc.layers.FrozenGraph(program)([[-1.0, 2.0]])
    array([[0., 2.]], dtype=float32)
    """

    def __init__(self, program: dict[str, Any], **options: Any) -> None:
        super().__init__(**options)
        self.program = program
        self.held: list[Variable] = []
        self._version, self._summed = 0, -1  # of the arrays, as of so many assignments

    def build(self, input_shape: Any) -> None:
        """Makes the arrays."""
        for node in self.program["nodes"]:
            if "weight" in node:
                name, shape, dtype = node["weight"], tuple(node["shape"]), node["dtype"]
                self.held.append(
                    self.add_weight(shape, "zeros", dtype, False, name=name)
                )

    def call(self, *inputs: Any) -> Any:
        """The results: one, or a list of several."""
        if context.is_training():
            raise ArgumentError(
                f"layer {self.name!r}: its arrays are fixed, so it cannot be trained; "
                "train the model that it was made of, and make it again"
            )
        current_trace().involve(self)
        batch, weights = inputs[0].shape[0], iter(self.held)
        made: list[Sequence[Tensor]] = []
        for node in self.program["nodes"]:
            if "op" in node:
                made.append(self._node(node, made, batch))
            elif "input" in node:
                made.append([inputs[node["input"]]])
            elif "weight" in node:
                made.append([_leaf(next(weights).value)])
            else:
                made.append([constant(node["constant"], node["dtype"])])
        outputs = [made[i][j] for i, j in self.program["outputs"]]
        return outputs[0] if len(outputs) == 1 else outputs

    def _node(
        self, node: dict[str, Any], made: list[Sequence[Tensor]], batch: int
    ) -> Sequence[Tensor]:
        kind = OpKind.__members__[node["op"]]
        attrs = _attrs(node["attrs"], batch)
        reads = [made[i][j] for i, j in node["reads"]]
        specs = RULES[kind].shape(attrs, *reads)
        name = "/".join(filter(None, (label(), node["label"])))
        if half := node.get("mixed"):  # True in files of older versions
            current_trace().mixed[name] = "bfloat16" if half is True else half
        return Node(kind, attrs, reads, specs, label=name).outputs

    # What a trace asks of those that take part in a plan.

    def plan_key(self) -> Any:
        """Changes with the arrays."""
        if self._summed != Variable.assigned:
            self._summed = Variable.assigned
            self._version = sum(weight.version for weight in self.held)
        return self._version


def _leaf(array: np.ndarray) -> Tensor:
    spec = (array.shape, array.dtype.name)
    return Node(Leaf.constant, None, (), [spec], payload=array).outputs[0]


# From graphs to a layer ---------------------------------------------------------------


def program_of(
    graphs: Sequence[Graph], name: str
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """The program of two graphs that differ by the batch, and its arrays.

    graphs: of one function, with batches of `BATCHES`; without variables and updates.
    name: of the model, for messages.

    Raises
    ------
    ArgumentError if what is computed follows from the batch, or calls Python.
    """
    first, second = (graph.nodes() for graph in graphs)
    if [n.kind for n in first] != [n.kind for n in second]:
        raise ArgumentError(f"model {name!r}: what it computes follows from the batch")
    places = {t: [i, t.index] for i, node in enumerate(first) for t in node.outputs}
    names = _names(first)
    inputs = {t.node: i for i, t in enumerate(graphs[0].inputs)}
    nodes: list[dict[str, Any]] = []
    arrays: list[np.ndarray] = []
    for one, other in zip(first, second, strict=True):
        if one.kind is Leaf.input:
            nodes.append({"input": inputs[one]})
        elif one.kind is Leaf.constant:
            nodes.append(_constant(one, other, names[one], arrays))
        else:
            reads = [places[t] for t in one.inputs]
            attrs = _packed(one, one.attrs, other.attrs)
            op = {"op": one.name, "label": one.label, "reads": reads, "attrs": attrs}
            half = graphs[0].mixed.get(one.label)
            nodes.append(op | ({"mixed": half} if half else {}))
    return {"nodes": nodes, "outputs": [places[t] for t in graphs[0].outputs]}, arrays


def _names(nodes: Sequence[Node]) -> dict[Node, str]:
    """A name for each constant, after the first op that reads it."""
    names: dict[Node, str] = {}
    used: set[str] = set()
    for node in nodes:
        for i, tensor in enumerate(node.inputs):
            if tensor.node.kind is not Leaf.constant or tensor.node in names:
                continue
            role = _ROLES.get(node.op, {}).get(i, "constant")
            base = f"{node.label}/{role}" if node.label else role
            base = base.replace("/", ".")  # one name, and not a path, in files
            name, count = base, 0
            while name in used:
                count += 1
                name = f"{base}_{count}"
            used.add(name)
            names[tensor.node] = name
    return {n: names.get(n, n.name) for n in nodes}


def _constant(one: Node, other: Node, name: str, arrays: list[Any]) -> dict[str, Any]:
    if not np.array_equal(one.payload, other.payload):
        raise ArgumentError(f"array {name!r} follows from the size of the batch")
    array = one.payload
    if array.ndim == 0:
        return {"constant": array.item(), "dtype": array.dtype.name}
    arrays.append(array)
    return {"weight": name, "shape": list(array.shape), "dtype": array.dtype.name}


def _packed(node: Node, one: Any, other: Any) -> Any:
    """Attributes as data; ``other`` are those of the other batch."""
    if one is None:
        return None
    if isinstance(one, Target):
        return {
            "shape": _number(node, one.shape, other.shape),
            "dtype": one.dtype,
            "native": _packed(node, one.native, other.native),
        }
    if not hasattr(one, "to_dict"):
        raise ArgumentError(f"layer {node.label!r}: op {node.name!r} cannot be kept")
    fields = _number(node, one.to_dict(), other.to_dict())
    return {"struct": type(one).__name__, "fields": fields}


def _number(node: Node, one: Any, other: Any) -> Any:
    """A number, or numbers in tuples and dicts, at two sizes of the batch."""
    if isinstance(one, dict):
        return {k: _number(node, one[k], other[k]) for k in one}
    if isinstance(one, tuple):
        return [_number(node, a, b) for a, b in zip(one, other, strict=True)]
    if one == other:
        return int(one) if isinstance(one, enum.IntEnum) else one
    if not isinstance(one, int):
        raise ArgumentError(
            f"layer {node.label!r}: op {node.name!r} follows from the size of the batch"
        )
    small, large = BATCHES
    times, rest = divmod(other - one, large - small)
    assert rest == 0, (one, other)
    return {"times": times, "plus": one - times * small}


# And back -----------------------------------------------------------------------------


def _attrs(data: Any, batch: int) -> Any:
    if data is None:
        return None
    if "struct" in data:
        return _struct(getattr(_core, data["struct"])(), _sized(data["fields"], batch))
    shape = _sized(data["shape"], batch)
    return Target(shape, data["dtype"], _attrs(data["native"], batch))


def _struct(value: Any, fields: dict[str, Any]) -> Any:
    """``value`` with other fields, in structs of structs too."""
    changed = {}
    for name, new in fields.items():
        old = getattr(value, name)
        if isinstance(new, dict):
            changed[name] = _struct(old, new)
        else:
            changed[name] = type(old)(new) if isinstance(old, enum.IntEnum) else new
    return value.replace(**changed)


def _sized(data: Any, batch: int) -> Any:
    if isinstance(data, dict):
        if data.keys() == {"times", "plus"}:
            return data["times"] * batch + data["plus"]
        return {k: _sized(v, batch) for k, v in data.items()}
    if isinstance(data, list):
        return tuple(_sized(v, batch) for v in data)
    return data
