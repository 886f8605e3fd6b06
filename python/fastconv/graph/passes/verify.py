"""The invariants of a graph. Runs after every pass."""

from __future__ import annotations

from fastconv.graph.ir import RULES, Graph, Leaf, Node, check_arity


def verify(graph: Graph) -> Graph:
    """Returns the graph, or raises AssertionError naming the node that is wrong."""
    known = set(graph.inputs)
    for node in graph.nodes():
        if node.kind is Leaf.input:
            assert node.outputs[0] in known, f"{node!r} belongs to another function"
        made = known.issuperset(node.inputs)
        assert made, f"{node!r} reads one of {node.inputs} before it is made"
        known.update(node.outputs)
        if not node.verified:  # nodes never change
            assert check_arity(node), f"{node!r} has {len(node.inputs)} inputs"
            _check_specs(node)
            node.verified = True
    for variable, value in graph.updates:
        spec = (variable.shape, variable.dtype)
        assert spec == (value.shape, value.dtype), f"{variable!r} gets {value!r}"
    return graph


def _check_specs(node: Node) -> None:
    """What the node makes is what the rule of its kind says."""
    if isinstance(node.kind, Leaf):
        return
    expected = [
        (tuple(s), d) for s, d in RULES[node.kind].shape(node.attrs, *node.inputs)
    ]
    made = [(t.shape, t.dtype) for t in node.outputs]
    if node.payload is None:  # a callback declares its own
        assert made == expected, f"{node!r} should make {expected}"
