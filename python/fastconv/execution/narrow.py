"""Storage in halves of what layers under "mixed_bfloat16" and "mixed_float16" compute.

Products (convolutions, matrix products) begin: those for which the backend has a kernel
that takes the layer's half, if it can also of the weights, which are then cast once for
all that use them. What follows one and only maps or moves its result goes on in it,
again if there is a kernel. Arithmetic, parameters, their gradients, statistics and the
results of the graph stay float32; casts stand in between. What a function casts to a
half itself stays so, and an op without a kernel for it computes in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from fastconv import _core
from fastconv._core import OpKind
from fastconv.errors import ArgumentError
from fastconv.execution.tf32 import PRODUCTS
from fastconv.graph.ir import DTYPES, HALVES, RULES, Graph, Leaf, Node, Tensor, wide
from fastconv.graph.passes.verify import verify
from fastconv.graph.scope import scope
from fastconv.mixed_precision import halves_on_cpu
from fastconv.operators import OPERATORS

Places = tuple[Sequence[int], Sequence[int]]  # of inputs and of outputs


def narrow(graph: Graph, backend: _core.Backend) -> Graph:
    """The graph with halves wherever its layers allow them and kernels take them."""
    on_cpu = backend.available_bytes is None
    mixed = halves_on_cpu(graph.mixed) if on_cpu else graph.mixed
    dtypes = (t.dtype for node in graph.nodes() for t in node.outputs)
    if not mixed and not set(HALVES).intersection(dtypes):
        return graph
    casts = _Casts()

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        half = mixed.get(node.label, "")
        for places in _places(node, inputs, half):
            made = _narrowed(node, inputs, places, half, casts)
            if accepted(made[0].node, backend):
                return made
        return _as_traced(node, inputs, casts, backend)

    result = graph.rewrite(visit)
    outputs = zip(result.outputs, graph.outputs, strict=True)
    updates = zip(result.updates, graph.updates, strict=True)
    return verify(
        replace(
            result,
            outputs=tuple(casts(new, old.dtype) for new, old in outputs),
            updates=tuple((v, casts(new, old.dtype)) for (v, new), (_, old) in updates),
        )
    )


class _Casts:
    """Casts, one for each tensor and dtype."""

    def __init__(self) -> None:
        self._made: dict[tuple[Tensor, str], Tensor] = {}

    def __call__(self, t: Tensor, dtype: str) -> Tensor:
        if t.dtype == dtype:
            return t
        if (t, dtype) not in self._made:
            with scope(t.node.label):
                self._made[t, dtype] = OPERATORS["cast"](t, dtype)
        return self._made[t, dtype]


def _remade(
    node: Node, inputs: Sequence[Tensor], dtypes: Sequence[str]
) -> tuple[Tensor, ...]:
    """The outputs of the node with other inputs and dtypes, behind what made them."""
    specs = [(t.shape, dtype) for t, dtype in zip(node.outputs, dtypes, strict=True)]
    attrs = node.attrs
    if getattr(attrs, "dtype", None):  # where the attributes name that of the result
        attrs = replace(attrs, dtype=dtypes[0])
    label, payload = node.label, node.payload
    return Node(node.kind, attrs, inputs, specs, label=label, payload=payload).outputs


def _narrowed(
    node: Node, inputs: Sequence[Tensor], places: Places, half: str, casts: _Casts
) -> tuple[Tensor, ...]:
    """The outputs of the node with that half at some places."""
    operands = [
        casts(t, half if i in places[0] else old.dtype)
        for i, (t, old) in enumerate(zip(inputs, node.inputs, strict=True))
    ]
    made = [half if i in places[1] else t.dtype for i, t in enumerate(node.outputs)]
    return _remade(node, operands, made)


def _as_traced(
    node: Node, inputs: Sequence[Tensor], casts: _Casts, backend: _core.Backend
) -> tuple[Tensor, ...] | None:
    """The outputs of the node with its own dtypes, if need be by casts."""
    own, made = [t.dtype for t in node.inputs], [t.dtype for t in node.outputs]
    halved = not set(HALVES).isdisjoint(own)
    if halved and node.kind in RULES and not accepted(node, backend):
        floats = [casts(t, wide(dtype)) for t, dtype in zip(inputs, own, strict=True)]
        results = _remade(node, floats, [wide(dtype) for dtype in made])
        return tuple(casts(t, dtype) for t, dtype in zip(results, made, strict=True))
    if own == [t.dtype for t in inputs]:
        return None
    operands = [casts(t, dtype) for t, dtype in zip(inputs, own, strict=True)]
    return _remade(node, operands, made)


def accepted(node: Node, backend: _core.Backend) -> bool:
    """Whether the backend has a kernel for the node."""
    step, slots = alone(node)
    try:
        _core.workspaces(backend, [step], slots)
    except ArgumentError:
        return False
    return True


def alone(node: Node) -> tuple[_core.Step, list[_core.Slot]]:
    """The node as the only step of a plan, without places."""
    tensors = (*node.inputs, *node.outputs)
    slots = [
        _core.Slot(
            DTYPES[t.dtype], list(t.shape), 0, 0, t.node.kind is Leaf.constant
        )
        for t in tensors
    ]
    inputs = list(range(len(node.inputs)))
    outputs = list(range(len(inputs), len(tensors)))
    return _core.Step(node.op, node.attrs, inputs, outputs, node.label), slots


def _places(node: Node, inputs: Sequence[Tensor], half: str) -> list[Places]:
    """Where the node would have a half, best first; empty if it would not at all."""
    if not half or not isinstance(node.kind, OpKind):
        return []
    find = _PLACES.get(node.kind)
    if find is None or any(t.dtype != "float32" for t in node.outputs[:1]):
        return []
    places: Places = find(node)
    if node.kind in PRODUCTS:
        operands, results = places
        return [([*operands, 1], results), places] if 1 not in operands else [places]
    read = [inputs[i] for i in places[0]]
    follows = any(t.dtype == half for t in read)
    fixed = any(isinstance(t.node.kind, Leaf) for t in read)
    return [places] if follows and not fixed else []


def _tensors(node: Node, first: int) -> list[int]:
    """The operands of an epilogue, from input ``first`` on, that are no parameters."""
    epilogue = node.attrs.epilogue
    return list(range(first + epilogue.scale + epilogue.bias, len(node.inputs)))


def _product(node: Node) -> Places:
    return [0, *_tensors(node, 2)], [0]


def _gemm(node: Node) -> Places:
    """The gradient of weights is the sum of products of two results."""
    if node.attrs.transpose_a:
        return [0, 1], []
    return _product(node)


def _map(node: Node) -> Places:
    return list(range(len(node.inputs))), [0]


def _first(_: Node) -> Places:
    return [0], [0]


def _norm_backward(node: Node) -> Places:
    if node.attrs.epilogue.add:
        return [0, 1, 5], [0, 3]
    return [0, 1], [0]


_PLACES: dict[OpKind, Callable[[Node], Places]] = {
    OpKind.conv: _product,
    OpKind.conv_backward_data: _product,
    OpKind.conv_backward_weights: lambda _: ([0, 1], []),
    OpKind.gemm: _gemm,
    OpKind.batch_norm: lambda node: ([0, *_tensors(node, 3)], [0]),
    OpKind.batch_norm_inference: lambda node: ([0, *_tensors(node, 5)], [0]),
    OpKind.batch_norm_backward: _norm_backward,
    OpKind.reduce: lambda _: ([0], []),
    **dict.fromkeys(
        (
            OpKind.activation,
            OpKind.activation_backward,
            OpKind.unary,
            OpKind.binary,
            OpKind.concat,
        ),
        _map,
    ),
    **dict.fromkeys(
        (
            OpKind.max_pool,
            OpKind.max_pool_backward,
            OpKind.average_pool,
            OpKind.average_pool_backward,
            OpKind.lp_pool,
            OpKind.dropout,
            OpKind.dropout_backward,
            OpKind.slice,
            OpKind.pad,
            OpKind.reshape,
            OpKind.transpose,
            OpKind.broadcast,
        ),
        _first,
    ),
}
