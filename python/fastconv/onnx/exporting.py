"""Export: the graph of a model's prediction as an ONNX file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastconv import _core, reference
from fastconv._core import OpKind
from fastconv.errors import ArgumentError, unknown_name
from fastconv.graph.ir import Graph, Leaf, Node, Tensor
from fastconv.graph.passes.fuse import bias_into
from fastconv.graph.trace import Trace
from fastconv.graph.variable import Variable
from fastconv.io import atomic
from fastconv.layers import context
from fastconv.layers.base import KerasTensor, is_spec
from fastconv.onnx import export_elements, export_quantized, export_windows
from fastconv.onnx.writer import Dims, Writer
from fastconv.training.weight_names import weight_names
from fastconv.tree import flatten, map_structure
from fastconv.weights.onnx import proto
from fastconv.weights.onnx.wire import encode
from fastconv.weights.torch_layout import NAMES

__all__ = ["NEWEST", "OLDEST", "export"]

OLDEST, NEWEST = 13, 25  # versions of the operators
_BATCHES = (2, 3)  # the sizes of the batch of two traces, to see what follows it
_RULES = export_elements.RULES | export_quantized.RULES | export_windows.RULES
_BY_CHANCE = (OpKind.random, OpKind.dropout, OpKind.callback)
_LARGEST = (1 << 31) - (1 << 20)  # bytes; Protocol Buffers' limit
_IR = ((13, 7), (15, 8), (19, 9), (21, 10), (23, 11), (24, 12), (25, 13))


def export(
    model: Any,
    filepath: str | os.PathLike[str],
    opset: int = 18,
    data_format: str = "channels_first",
) -> None:
    """Writes what `Model.predict` computes as an ONNX file; nothing needs installing.

    The batch is open, all other sizes are fixed. Batch normalisation stays a node of
    its own, so that `load` gives a model that can be fine-tuned. Weights have the names
    of a PyTorch state dict (``features.0.weight``), and its order. The file holds mean,
    deviation and class names of ``metadata``.

    Parameters
    ----------
    model: a built model.
    filepath: the file, by custom ``NAME.onnx``.
    opset: version of ONNX's operators, 13 to 25; default 18.
    data_format: order of the axes of inputs and outputs with three axes or more:
        "channels_first" (the default: N C H W, as ONNX files have it) or
        "channels_last", as `Model.predict` takes them.

    Raises
    ------
    ArgumentError for a model without an input shape, or with an op that has no ONNX
    form (its layers are named), or of 2 GiB or more; OSError if it cannot be written.

    >>> import fastconv as fc
    >>> import os, tempfile
    >>> model = fc.Sequential([fc.Input((2,)), fc.layers.Dense(3)])
    >>> path = os.path.join(tempfile.mkdtemp(), "model.onnx")
    >>> fc.onnx.export(model, path)
    >>> fc.onnx.load(path).output_shape
    (None, 3)
    """
    if not hasattr(opset, "__index__") or not OLDEST <= opset <= NEWEST:
        raise ArgumentError(
            f"export: expected an opset from {OLDEST} to {NEWEST}, received {opset!r}"
        )
    if data_format not in ("channels_first", "channels_last"):
        known = ["channels_first", "channels_last"]
        raise unknown_name("data_format", data_format, known)
    data = encode(_message(model, int(opset), data_format == "channels_first"))
    if len(data) > _LARGEST:
        raise ArgumentError(
            f"export: model {model.name!r} has {len(data):,} bytes; an ONNX file has "
            f"at most {_LARGEST:,}"
        )
    atomic.write(filepath, data)


def _message(model: Any, opset: int, first: bool) -> proto.Model:
    traces = [_traced(model, batch) for batch in _BATCHES]
    dims = _dims(*traces)
    graph = traces[0]
    consumers = {t: list(nodes) for t, nodes in graph.consumers().items()}
    for tensor in graph.outputs:
        consumers.setdefault(tensor, []).append(tensor.node)
    arrays = _arrays(graph, traces[1], dims)
    w = Writer(opset, _names(model), arrays, dims, consumers)
    outputs = [_name(n) for n in model.output_names]
    for name in outputs:
        w.unique(name)
    for tensor in graph.inputs:
        w.input(tensor, _name(tensor.node.payload), first)
    _write(w, graph)
    for tensor, name in zip(graph.outputs, outputs, strict=True):
        w.output(tensor, name, first)
    w.graph.name = model.name
    return proto.Model(
        ir_version=max(ir for since, ir in _IR if opset >= since),
        producer_name="fastconv",
        producer_version=_core.__version__,
        graph=w.graph,
        opset_import=[proto.Opset(version=opset)],
        metadata_props=_metadata(model.metadata),
    )


def _write(w: Writer, graph: Graph) -> None:
    """All nodes by their rules; every op that has none is in one error."""
    faults: dict[str, None] = {}
    for node in graph.nodes():
        if isinstance(node.kind, Leaf) or node.outputs[0] in w.arrays:
            continue
        w.label = node.label.replace("/", ".")
        rule = _RULES.get(node.kind)
        try:
            if rule is None:
                raise ArgumentError(f"op {node.name!r}")
            if not faults:
                rule(w, node)
        except ArgumentError as error:
            faults[f"layer {node.label!r}: {error}"] = None
    if faults:
        raise ArgumentError(f"export: ONNX has no form of {'; '.join(faults)}")


# The graph ----------------------------------------------------------------------------


def _traced(model: Any, batch: int) -> Graph:
    """What `predict` computes of a batch, with biases inside convolutions."""
    if not model.described:
        raise ArgumentError(
            f"export: the inputs of model {model.name!r} are not known yet; call "
            "build(input_shape), or give the first layer an input_shape"
        )
    trace = Trace()

    def stand_in(spec: KerasTensor) -> Tensor:
        if None in spec.shape[1:]:
            raise ArgumentError(
                f"export: expected a model with fixed sizes, received an input of "
                f"shape {spec.shape}; make it with an input_shape"
            )
        sizes: Any = spec.shape[1:]
        return trace.input((batch, *sizes), spec.dtype, spec.name)

    with trace.active(), context.training(False):
        x = map_structure(model.input_specs, is_spec, stand_in)
        outputs = flatten(model.predict_step((model._ready(x),)), Tensor)
    return bias_into(trace.graph(outputs))


def _dims(small: Graph, large: Graph) -> dict[Tensor, Dims]:
    """The sizes of all tensors; those that follow the batch as its negative number."""
    nodes = small.nodes(), large.nodes()
    if [n.kind for n in nodes[0]] != [n.kind for n in nodes[1]]:
        raise ArgumentError("export: what the model computes follows from the batch")
    found = {}
    for one, other in zip(*nodes, strict=True):
        if not _has_geometry(one) and _bytes(one) != _bytes(other):
            raise ArgumentError(_follows(one))
        for a, b in zip(one.outputs, other.outputs, strict=True):
            found[a] = tuple(_size(one, *n) for n in zip(a.shape, b.shape, strict=True))
    unseen = set(small.inputs) - set(found)
    return found | {t: (-1, *t.shape[1:]) for t in unseen}


def _size(node: Node, small: int, large: int) -> int:
    if small == large:
        return small
    times, rest = divmod(small, _BATCHES[0])
    if rest or times * _BATCHES[1] != large:
        raise ArgumentError(_follows(node))
    return -times


def _follows(node: Node) -> str:
    return (
        f"export: layer {node.label!r}: op {node.name!r} depends on the size of the "
        "batch, which is open in the file"
    )


def _has_geometry(node: Node) -> bool:
    """Whether the attributes hold sizes, the batch among them."""
    return hasattr(node.attrs, "geometry") or node.kind == OpKind.gemm


def _bytes(node: Node) -> bytes:
    return node.attrs.to_bytes() if hasattr(node.attrs, "to_bytes") else b""


def _arrays(small: Graph, large: Graph, dims: dict[Tensor, Dims]) -> dict[Tensor, Any]:
    """The values of all tensors that no input and no chance changes.

    Where they are repeated for each sample, one is kept.
    """
    fixed: dict[Tensor, Tensor] = {}
    for one, other in zip(small.nodes(), large.nodes(), strict=True):
        if one.kind is Leaf.input or one.kind in _BY_CHANCE:
            continue
        if all(t in fixed for t in one.inputs):
            fixed.update(zip(one.outputs, other.outputs, strict=True))
    used = {t for n in small.nodes() for t in n.inputs if n.outputs[0] not in fixed}
    read = [t for t in fixed if t in used or t in small.outputs]
    values = {t: t.node.payload.value for t in read if t.node.kind is Leaf.variable}
    made = [t for t in read if t not in values]
    ours, others = (
        reference.run(Graph((), tuple(tensors)), [])
        for tensors in (made, [fixed[t] for t in made])
    )
    for tensor, a, b in zip(made, ours, others, strict=True):
        values[tensor] = _one_sample(tensor, a, b, dims[tensor])
    return values


def _one_sample(tensor: Tensor, a: np.ndarray, b: np.ndarray, dims: Dims) -> np.ndarray:
    repeated = min(dims, default=0) < 0
    if repeated:
        if dims[0] != -1 or min(dims[1:], default=0) < 0:
            raise ArgumentError(_follows(tensor.node))
        a, b = np.broadcast_to(a[:1], a.shape), b[: len(a)]
    if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
        raise ArgumentError(_follows(tensor.node))
    return a[:1] if repeated else a


# Names and facts ----------------------------------------------------------------------


def _names(model: Any) -> dict[Variable, str]:
    """The name of each weight as PyTorch would have it: features.0.weight."""
    found = {}
    for name, weight in weight_names(model).items():
        layer, _, last = name.rpartition("/")
        last = NAMES.get(last, last)
        found[weight] = f"{layer.replace('/', '.')}.{last}" if layer else last
    return found


def _name(name: str) -> str:
    return name.replace("/", ".")


def _metadata(facts: Mapping[str, Any]) -> list[proto.Entry]:
    return [
        proto.Entry(key=key, value=json.dumps(value)) for key, value in facts.items()
    ]
