"""Moving averages of neighbours, moved together.

Batch normalisations keep two averages each, a few hundred numbers; to move each on its
own is three steps, which take longer to start than to compute. Where averages lie side
by side in a block of variables and move alike, this is done for all in three steps.
"""

from __future__ import annotations

from dataclasses import replace

from fastconv._core import BinaryOp, OpKind
from fastconv.graph.ir import Graph, Leaf, Node, Tensor
from fastconv.graph.scope import scope
from fastconv.graph.variable import Variable, runs, span
from fastconv.operators import OPERATORS

Rates = tuple[float, float]  # of the average and of the new value


def move_together(graph: Graph) -> Graph:
    """The graph with one update for averages that are neighbours."""
    groups: dict[Rates, dict[Variable, Tensor]] = {}
    for variable, value in graph.updates:
        found = _average(graph, variable, value)
        if found is not None:
            rates, new = found
            groups.setdefault(rates, {})[variable] = new
    if not groups:
        return graph
    updates = dict(graph.updates)
    for rates, values in groups.items():
        for group in runs(values):
            if len(group) > 1:
                flat = span(group)
                updates[flat] = _moved(flat, rates, [values[v] for v in group])
                for variable in group:
                    del updates[variable]
    return replace(graph, updates=tuple(updates.items()))


def _moved(flat: Variable, rates: Rates, values: list[Tensor]) -> Tensor:
    """The variable times the first rate, and the values times the second one."""
    spec = (flat.shape, flat.dtype)
    with scope("moving_averages"):
        old = Node(Leaf.variable, None, (), [spec], label=flat.name, payload=flat)
        keep, take = rates
        flat_values = [OPERATORS["reshape"](v, (v.size,)) for v in values]
        new = OPERATORS["concatenate"](flat_values, 0)
        return old.outputs[0] * keep + new * take


def _average(
    graph: Graph, variable: Variable, value: Tensor
) -> tuple[Rates, Tensor] | None:
    """The rates and the new value, if the update is ``variable * a + new * b``.

    And if nothing else reads what is computed on the way.
    """
    consumers = graph.consumers()
    read = value in consumers or value in graph.outputs
    if read or not _is(value.node, BinaryOp.add):
        return None
    products = [t for t in value.node.inputs if len(consumers[t]) == 1]
    terms = [term for term in map(_term, products) if term is not None]
    if len(terms) != 2:
        return None
    (old, keep), (new, take) = terms
    own = old.node.kind is Leaf.variable and old.node.payload is variable
    if not own or len(consumers[old]) > 1 or new.shape != old.shape:
        return None
    return (keep, take), new


def _term(product: Tensor) -> tuple[Tensor, float] | None:
    """The tensor and the number of which ``product`` is the product, or None."""
    if not _is(product.node, BinaryOp.multiply):
        return None
    x, rate = product.node.inputs
    if rate.node.kind is not Leaf.constant or rate.shape:
        return None
    return x, rate.node.payload.item()


def _is(node: Node, op: BinaryOp) -> bool:
    return node.kind == OpKind.binary and node.attrs.op == op
