"""Products of float32 whose operands kernels may round to TF32, if it was asked for."""

from __future__ import annotations

from fastconv import config
from fastconv._core import OpKind
from fastconv.graph.ir import Graph, Node, Tensor

PRODUCTS = (
    OpKind.conv,
    OpKind.conv_backward_data,
    OpKind.conv_backward_weights,
    OpKind.gemm,
)


def in_tf32(graph: Graph) -> Graph:
    """The graph, whose products say so under `fastconv.config.set_float32_precision`.

    Only GPUs have kernels that make use of it.
    """
    if config.float32_precision() != "tf32":
        return graph

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node.kind not in PRODUCTS:
            return None
        attrs = node.attrs.replace(tf32=1)
        specs = [(t.shape, t.dtype) for t in node.outputs]
        return Node(node.kind, attrs, inputs, specs, label=node.label).outputs

    return graph.rewrite(visit)
