"""The NumPy backend: slow, plain, in any precision. The oracle of all tests.

It shares no code with the kernels that it judges; it runs a graph node by node.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastconv._core import OpKind
from fastconv.execution.devices import register_backend
from fastconv.graph.ir import Graph, Leaf, Node, Tensor
from fastconv.reference import (  # noqa: F401  (they fill the table)
    activation,
    adaptive,
    conv,
    dropout,
    elementwise,
    gemm,
    loss,
    norm,
    pool,
    quantized,
    random,
    reduce,
    resize,
    sgd,
    shape,
)
from fastconv.reference.registry import KERNELS


def run(graph: Graph, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Values of the outputs for those of the inputs; updates variables at the end."""
    values: dict[Tensor, np.ndarray] = dict(zip(graph.inputs, arrays, strict=True))
    for node in graph.nodes():
        if node.kind is not Leaf.input:
            values.update(zip(node.outputs, _node(node, values), strict=True))
    outputs = [np.array(values[t]) for t in graph.outputs]
    for variable, tensor in graph.updates:
        variable.value[...] = values[tensor]
    return outputs


def _node(node: Node, values: dict[Tensor, np.ndarray]) -> tuple[np.ndarray, ...]:
    if node.kind is Leaf.variable:
        return (node.payload.numpy(),)
    if node.kind is Leaf.constant:
        return (node.payload,)
    inputs = [values[t] for t in node.inputs]
    if node.kind == OpKind.callback:
        results = node.payload(*map(np.copy, inputs))
    else:
        with np.errstate(all="ignore"):
            results = KERNELS[node.op](node.attrs, *inputs)
    return tuple(
        np.asarray(r).astype(t.dtype, copy=False).reshape(t.shape)
        for r, t in zip(results, node.outputs, strict=True)
    )


register_backend("reference", run)
