"""Maximum pooling of 2x2 as the end of the convolution before it.

Where the backend has a kernel for both together, the whole map is never stored. It asks
the kernels: one accepts only if no other is faster with a pooling of its own.
"""

from __future__ import annotations

from fastconv import _core
from fastconv._core import OpKind, WindowGeometry
from fastconv.execution.narrow import accepted
from fastconv.graph.ir import Graph, Node, Tensor, private
from fastconv.graph.passes.memory import unread_outputs
from fastconv.graph.passes.verify import verify


def pool_into(graph: Graph, backend: _core.Backend) -> Graph:
    """The graph with the poolings that convolutions can do themselves in these."""
    if not any(node.kind == OpKind.max_pool for node in graph.nodes()):
        return graph
    alone, unread = private(graph), unread_outputs(graph)

    def visit(node: Node, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...] | None:
        if node.kind != OpKind.max_pool or not _halves(node.attrs.geometry):
            return None
        [src], (dst, *indices) = inputs, node.outputs
        conv = src.node
        if conv.kind != OpKind.conv or node.inputs[0] not in alone:
            return None
        epilogue = conv.attrs.epilogue
        if epilogue.add or epilogue.derivative or not unread.issuperset(indices):
            return None
        attrs, spec = conv.attrs.replace(max_pool=1), (dst.shape, dst.dtype)
        made = Node(conv.kind, attrs, conv.inputs, [spec], label=conv.label)
        return (*made.outputs, *indices) if accepted(made, backend) else None

    return verify(graph.rewrite(visit))


def _halves(g: WindowGeometry) -> bool:
    """Whether the windows are of 2x2 pixels, side by side, without padding."""
    halves, plain = (1, 2, 2), (1, 1, 1)
    return (
        g.kernel == g.stride == halves
        and g.dilation == plain
        and not any(g.pad_before)
    )
