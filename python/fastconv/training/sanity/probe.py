"""One pass of a few samples through a model, of which only figures come back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastconv import ops
from fastconv._core import Activation, OpKind
from fastconv.data import tree
from fastconv.errors import FastconvError
from fastconv.execution.devices import has_plans
from fastconv.execution.function import Function
from fastconv.graph.autodiff import grad
from fastconv.graph.ir import RULES, Graph, Leaf, Node, Tensor, ancestors
from fastconv.graph.variable import Variable
from fastconv.io.available import available_bytes
from fastconv.layers import context
from fastconv.training.sanity import judge
from fastconv.training.sanity.finding import Finding
from fastconv.training.sanity.targets import Output
from fastconv.tree import flatten

ROWS = 64  # samples in the pass
WORK = 20_000_000_000  # operations of the pass, at most: some tenths of a second
BACKWARD = 3  # a pass forward and back costs so many times the one forward
STEPS = 1500  # of the graph with gradients: planning them takes time, too
FIRINGS = 16  # values of a unit, for a statement about it
_WEIGHTED = (OpKind.conv, OpKind.gemm)
_RECTIFIED = (Activation.relu, Activation.relu6)


class Probe:
    """What a step of training would compute, on up to 64 samples.

    Batch normalisation and dropout work as in training, but nothing is assigned, and
    dropout draws from a copy of the model's state.

    scored: whether the targets may be given to the loss.

    Attributes
    ----------
    figures: numbers by name; those that were left out are missing.
    skipped: what was left out, and why.
    cost: operations of the pass forward.
    """

    def __init__(self, model: Any, x: Any, aims: Any, scored: bool) -> None:
        self.model = model
        self.skipped: list[str] = []
        self.figures: dict[str, Any] = {}
        self.cost = 0
        self._scored = scored
        self._plans = model._prepare(x)
        self._seeds = Variable(model._seed_and_step.value.copy(), "random_state", False)
        if not has_plans(self._plans.device):
            self._skip("the pass through the model", "the device has no plans")
            return
        traced = _Unassigned(self._trace, self._plans.device)
        rows = slice(ROWS)
        given = tree.slice_rows(x, rows), tree.slice_rows(aims, rows)
        try:
            needed = traced.compile(*given).arena_bytes
        except FastconvError as error:  # the first step says it with its own shapes
            self._skip("the pass through the model", str(error))
            return
        if self._fits(needed):
            self.figures = traced(*given)

    def faults(self, outputs: Sequence[Output]) -> list[Finding]:
        """What the figures tell."""
        found = judge.scales(self._entries, self.figures.get("entries", ()))
        if "losses" in self.figures:
            found += judge.losses(outputs, self.figures["losses"])
        if "outputs" in self.figures:
            rows = self.figures["outputs"]
            for output, figures in zip(outputs, rows, strict=True):
                found += judge.predictions(output, figures)
        if "units" in self.figures:
            found += judge.units(self._rectified, self.figures["units"])
        if "gradients" in self.figures:
            found += judge.gradients(self._trained, self.figures["gradients"])
        return found

    # Names of what the figures are of, noted while tracing
    _entries: Sequence[str] = ()
    _rectified: Sequence[str] = ()
    _trained: Sequence[str] = ()

    def _skip(self, what: str, why: str) -> None:
        self.skipped.append(f"{what} is left out: {why}")

    def _fits(self, needed: int) -> bool:
        free = self._plans.arena.backend.available_bytes
        there = available_bytes() if free is None else free
        if there is None or needed <= there // 2:
            return True
        self._skip(
            "the pass through the model",
            f"it needs {needed:,} bytes, and {there:,} are available",
        )
        return False

    def _trace(self, x: Any, aims: list[Any]) -> dict[str, Any]:
        """The figures that are not too dear, as tensors."""
        model = self.model
        random = context.randomness(self._seeds)
        with self._plans.trained.in_force(), context.training(True), random:
            predictions = flatten(model._forward(x), Tensor)
            nodes = _nodes(predictions)
            if any(n.kind == OpKind.callback for n in nodes):
                self._skip("the pass through the model", "it would call host functions")
                return {}
            figures: dict[str, Any] = {}
            entries = _entries(nodes)
            self._entries = [node.label for node in entries]
            figures["entries"] = [_moments(node.inputs[0]) for node in entries]
            self.cost = sum(
                RULES[n.op].cost(n) for n in nodes if not isinstance(n.kind, Leaf)
            )
            if self.cost > WORK:
                self._skip("the pass forward", f"it has {self.cost:,} operations")
                return figures
            rectified = [n for n in nodes if _is_rectified(n)]
            self._rectified = [n.label for n in rectified]
            figures["units"] = [_largest(n.outputs[0]) for n in rectified]
            if self._scored:
                figures |= self._scores(predictions, aims, len(nodes))
        return figures

    def _scores(
        self, predictions: list[Tensor], aims: list[Any], steps: int
    ) -> dict[str, Any]:
        model = self.model
        names = model.output_names
        losses, _ = model.compiled_loss.of(names)
        weights = [None] * len(names)
        total, parts = model.compiled_loss.total(names, aims, predictions, weights)
        if any(n.kind == OpKind.callback for n in _nodes([total])):
            self._skip("the loss", "it would call host functions")
            return {}
        chosen = zip(predictions, losses, strict=True)
        figures = {
            "losses": parts,
            "outputs": [_summary(p) for p, loss in chosen if loss is not None],
        }
        if self.cost * BACKWARD > WORK or steps * BACKWARD > STEPS:
            self._skip(
                "the gradient", f"it has about {BACKWARD * self.cost:,} operations"
            )
            return figures
        variables = model.trainable_weights
        self._trained = [v.name for v in variables]
        gradients = grad(total, variables)
        figures["gradients"] = [ops.max(ops.abs(g)) for g in gradients]
        return figures


class _Unassigned(Function):
    """A function whose assignments to variables are left out."""

    def _trace(self, spec: Any, arrays: list[np.ndarray]) -> tuple[Graph, Any, Any]:
        graph, structure, _ = super()._trace(spec, arrays)
        return replace(graph, updates=()), structure, {}


def _nodes(tensors: Iterable[Tensor]) -> list[Node]:
    return sorted(ancestors(tensors), key=lambda node: node.order)


def _entries(nodes: list[Node]) -> list[Node]:
    """The convolutions and products that read inputs no weight has touched."""
    raw: set[Tensor] = set()
    found = []
    for node in nodes:
        if node.kind is Leaf.input:
            raw.update(node.outputs)
        elif any(t in raw for t in node.inputs):
            weights = [n for n in ancestors(node.inputs) if n.kind is Leaf.variable]
            if not weights:
                raw.update(node.outputs)
            elif node.kind in _WEIGHTED and node.inputs[0] in raw:
                found.append(node)
    return found


def _moments(x: Tensor) -> list[Tensor]:
    """Mean and deviation over everything."""
    mean = ops.mean(x)
    return [mean, ops.sqrt(ops.mean(ops.square(x - mean)))]


def _is_rectified(node: Node) -> bool:
    if node.kind != OpKind.activation or node.attrs.activation not in _RECTIFIED:
        return False
    made = node.outputs[0]
    return made.ndim > 1 and made.size >= FIRINGS * made.shape[-1]


def _largest(x: Tensor) -> Tensor:
    """The largest value of each unit or channel."""
    return ops.max(x, axis=tuple(range(x.ndim - 1)))


def _summary(p: Tensor) -> dict[str, Any]:
    """What is told of predictions: extremes, sums over the last axis, spread."""
    node = p.node
    sigmoid = node.kind == OpKind.activation and (
        node.attrs.activation == Activation.sigmoid
    )
    sums = ops.sum(p, axis=-1) if p.ndim > 1 else p
    spread = ops.max(p, axis=0) - ops.min(p, axis=0)
    return {
        "low": ops.min(p),
        "high": ops.max(p),
        "least_sum": ops.min(sums),
        "largest_sum": ops.max(sums),
        "spread": ops.max(spread),
        "sigmoid": float(sigmoid),
    }
