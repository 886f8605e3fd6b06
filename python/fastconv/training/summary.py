"""The table of a model: shapes, parameters, operations, memory."""

from __future__ import annotations

from collections import Counter
from typing import Any

from fastconv._core import OpKind
from fastconv.errors import DeviceError, FastconvError
from fastconv.graph.ir import RULES, Leaf, Tensor
from fastconv.graph.trace import Trace
from fastconv.layers import context
from fastconv.layers.base import KerasTensor, Layer, is_spec
from fastconv.training import plan_report
from fastconv.tree import flatten, map_structure

HEADER = ("Layer (type)", "Output shape", "Parameters", "Operations")
_PRODUCTS = (OpKind.conv, OpKind.conv_backward_data, OpKind.gemm)
UNKNOWN_SIZE = 224  # stands for a None that is not the batch


def rows(model: Any) -> list[tuple[str | int, ...]]:
    """A row for each layer; operations are "?" as long as the shapes are not known."""
    operations, shapes = _traced(model) if model.described else ({}, {})
    return [
        (
            f"{layer.name} ({type(layer).__name__})",
            str(shapes.get(layer.name, "?")),
            layer.count_params(),
            operations[layer.name] if operations else "?",
        )
        for layer in model.layers
    ]


def table(model: Any, batch_size: int) -> str:
    """All lines of the summary."""
    found = rows(model)
    cells = [tuple(f"{v:,}" if isinstance(v, int) else v for v in row) for row in found]
    widths = [max(len(row[i]) for row in (HEADER, *cells)) for i in range(4)]
    line = "-" * (sum(widths) + 6)
    lines = [f"Model: {model.name}", line, _row(HEADER, widths), line]
    lines += [_row(row, widths) for row in cells]
    operations = sum(row[3] for row in found if isinstance(row[3], int))
    lines += [
        line,
        *_totals(model, operations),
        *_published(model),
        *_memory(model, batch_size),
    ]
    return "\n".join(lines)


def _row(cells: tuple[str, ...], widths: list[int]) -> str:
    name, shape, parameters, operations = cells
    return "  ".join(
        (
            name.ljust(widths[0]),
            shape.ljust(widths[1]),
            parameters.rjust(widths[2]),
            operations.rjust(widths[3]),
        )
    )


def _totals(model: Any, operations: int) -> list[str]:
    trainable = sum(w.size for w in model.trainable_weights)
    total = sum(w.size for w in model.weights)
    return [
        f"Parameters: {total:,} ({trainable:,} trainable, {total - trainable:,} not)",
        f"Operations: {operations:,} for one sample, forward",
    ]


def _published(model: Any) -> list[str]:
    """What is published about a network of the zoo, beside what this model has."""
    facts = model.metadata.get("published")
    if not isinstance(facts, dict):
        return []
    numbers = {k: f"{v:,}" for k, v in facts.items() if isinstance(v, int | float)}
    source, parameters = facts.get("reference"), numbers.get("parameters", "?")
    found = f"{sum(w.size for w in model.trainable_weights):,}"
    adds = f"{multiply_adds(model) / 1e9:.3f}" if model.described else "?"
    lines = [
        f"Network: {facts.get('paper')}",
        f"Trainable parameters: {found} ({source}: {parameters})",
        f"Multiply-adds, 10^9: {adds} ({source}: {numbers.get('multiply_adds', '?')})",
        f"Images: (x / 255 - {model.metadata.get('mean')}) / "
        f"{model.metadata.get('deviation')}",
    ]
    if "top1" in numbers:
        top5 = f", top-5 {numbers['top5']} %" if "top5" in numbers else ""
        top1 = f"top-1 {numbers['top1']} %{top5}"
        lines.append(f"Published accuracy: {top1} on {facts.get('data')}")
    return lines


def _memory(model: Any, batch_size: int) -> list[str]:
    lines = []
    for training, title in ((True, "training"), (False, "inference")):
        try:
            total = plan_report.memory(model, batch_size, training)["total"]
            text = f"{total:,} bytes for a batch of {batch_size}"
        except DeviceError:
            return []
        except FastconvError as error:
            text = f"not known ({error})"
        lines.append(f"Memory of {title}: {text}")
    return lines


def multiply_adds(model: Any) -> int:
    """Multiplications, each with its addition, of convolutions and dense layers.

    For one sample, forward; batch, biases and element-wise work are not counted, as in
    the tables of papers.

    >>> import fastconv as fc
    >>> from fastconv.training.summary import multiply_adds
    >>> multiply_adds(fc.Sequential([fc.Input((3,)), fc.layers.Dense(2)]))
    6
    """
    graph = _graph(model)
    costs = (RULES[n.kind].cost(n) for n in graph.nodes() if n.kind in _PRODUCTS)
    return sum(costs) // 2


def _graph(model: Any) -> Any:
    """What the model does with one sample in inference."""
    trace = Trace()

    def stand_in(spec: Any) -> Tensor:
        sizes = (UNKNOWN_SIZE if n is None else n for n in spec.shape[1:])
        return trace.input((1, *sizes), spec.dtype, spec.name)

    with trace.active(), context.training(False):
        specs = map_structure(model.input_specs, is_spec, stand_in)
        outputs = flatten(model._forward(specs), Tensor)
        return trace.graph(outputs)


def _traced(model: Any) -> tuple[Counter[str], dict[str, Any]]:
    """Operations of each layer for one sample, and the shape of its last output."""
    graph = _graph(model)
    operations: Counter[str] = Counter({layer.name: 0 for layer in model.layers})
    shapes: dict[str, Any] = {}
    for node in graph.nodes():
        name = node.label.split("/")[0]
        if isinstance(node.kind, Leaf) or name not in operations:
            continue
        operations[name] += RULES[node.kind].cost(node)
        shapes[name] = (None, *node.outputs[0].shape[1:])
    return operations, {**shapes, **_connected_shapes(model)}


def _connected_shapes(model: Any) -> dict[str, Any]:
    """The shapes that the connection of a model says, one layer at a time."""
    shapes: dict[str, Any] = {}
    for call in model.connections:
        layer: Layer = call.layer
        found = [t.shape for t in flatten(call.outputs, KerasTensor)]
        shapes[layer.name] = found[0] if len(found) == 1 else found
    return shapes
