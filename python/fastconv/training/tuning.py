"""Which kernel is the fastest for each product of a model, by measuring all that can.

Each trial is a plan of the whole step, in which every product takes the next of its
options: so they are measured where they will run, among the steps around them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

from fastconv import _core, config
from fastconv.errors import ArgumentError
from fastconv.execution import tuned
from fastconv.execution.executable import Executable
from fastconv.execution.narrow import alone
from fastconv.execution.tuned import PRODUCTS, Wish, problem
from fastconv.graph.ir import Node
from fastconv.training import plan_report, step_profile
from fastconv.training.snapshot import unchanged

MARGIN = 0.02  # by which another kernel must be faster than the one without a table
PLAIN = ("direct_loop",)  # kernels that are there to be right


@dataclass(frozen=True)
class Tuned:
    """A problem of a model, and what was measured of it: microseconds of all its steps.

    usual: what is taken without a table. layers: those that have the problem.
    """

    problem: str
    layers: tuple[str, ...]
    usual: Wish
    times: Mapping[Wish, float]

    @property
    def best(self) -> Wish:
        """The fastest, or the usual one where that is as fast."""
        fastest = min(self.times, key=self.times.__getitem__)
        gain = 1 - self.times[fastest] / max(self.times[self.usual], 1e-9)
        return fastest if gain > MARGIN else self.usual


def tune(model: Any, batch_size: int, training: bool = True) -> list[Tuned]:
    """Measures the kernels of a compiled model's step; longest problems first.

    The model stays as it is, and no table is read or written.

    Raises
    ------
    ArgumentError while FASTCONV_KERNEL forces kernels.
    """
    if config.setting("kernel"):
        raise ArgumentError("tune: FASTCONV_KERNEL forces kernels; unset it")
    first = _planned(model, batch_size, training, {})
    nodes = [node for node in first.nodes if node.kind in PRODUCTS]
    options = {problem(node): _options(first, node) for node in nodes}
    times: dict[str, dict[Wish, list[float]]] = {name: {} for name in options}
    with unchanged(model) if training else nullcontext():
        for turn in range(max(map(len, options.values()), default=0)):
            trial = {name: own[turn % len(own)] for name, own in options.items()}
            plan = _planned(model, batch_size, training, trial)
            for name, us in _measured(plan).items():
                times[name].setdefault(trial[name], []).append(us)
    model.reset_plans()
    found = [
        Tuned(name, _layers(nodes, name), own[0], _medians(times[name]))
        for name, own in options.items()
    ]
    return sorted(found, key=lambda one: -one.times[one.usual])


def _planned(
    model: Any, batch_size: int, training: bool, wishes: tuned.Wishes
) -> Executable:
    """A new plan, by these wishes."""
    model.reset_plans()
    with tuned.trying(wishes):
        return plan_report.plan(model, batch_size, training)


def _options(plan: Executable, node: Node) -> list[Wish]:
    found = _core.kernel_options(plan.arena.backend, *alone(node))
    wishes = [Wish(kernel, *tiling) for kernel, tiling, _ in found]
    return [wish for wish in wishes if wish.kernel not in PLAIN] or wishes[:1]


def _measured(plan: Executable) -> dict[str, float]:
    """Microseconds of each problem, in all its steps."""
    steps = step_profile.measure(plan, step_profile.random_arrays(plan))
    total: dict[str, float] = {}
    for node, step in zip(plan.nodes, steps, strict=True):
        if node.kind in PRODUCTS:
            total[problem(node)] = total.get(problem(node), 0.0) + step.us
    return total


def _layers(nodes: Iterable[Node], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(n.label for n in nodes if problem(n) == name))


def _medians(times: Mapping[Wish, list[float]]) -> dict[Wish, float]:
    return {wish: median(found) for wish, found in times.items()}
