"""Where the time of a step goes, layer by layer, and how far each is from its limit.

The limit is the roofline (Williams, Waterman, Patterson, CACM 52, 2009): no step of a
plan takes less than its operations at the machine's peak rate, nor than its bytes at
the machine's bandwidth (that of its caches for few bytes); both are measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from fastconv import _core, random
from fastconv.execution.executable import Executable, StepReport
from fastconv.training import plan_report
from fastconv.training.snapshot import unchanged

__all__ = ["Layer", "Peak", "Step", "layers", "measure", "model_table", "table"]

RUNS = 5  # profiled runs, of which the medians count; one before them warms up
AT_LIMIT = 0.7  # share of the limit from which nothing is left to say
CACHED = 4 << 20  # bytes of a step that stay in caches
SMALL = 20.0  # microseconds, below which starting a kernel counts
LANES = 16  # floats of the widest vector
PRODUCTS = ("conv", "gemm")  # what operations with many multiply-adds begin with


@dataclass(frozen=True)
class Peak:
    """What the machine reaches: 10^9 operations and bytes a second; bytes in caches."""

    gflops: float
    gbytes_per_second: float
    cached_gbytes_per_second: float

    @classmethod
    def measure(cls, seconds: float = 0.5) -> Peak:
        """Of this machine, with the threads and the instruction set in use."""
        found = _core.measure_peak(seconds)
        del found["threads"]
        return cls(**found)


@dataclass(frozen=True)
class Step:
    """One step of a plan and its time."""

    report: StepReport
    us: float

    @property
    def bytes(self) -> int:
        """That its kernel reads and writes; some steps need no kernel."""
        return self.report.bytes if self.report.kernel else 0

    def limits(self, peak: Peak) -> tuple[float, float]:
        """Microseconds that its operations take at least, and its bytes."""
        rate = peak.gbytes_per_second
        if self.bytes <= CACHED:
            rate = peak.cached_gbytes_per_second
        return self.report.flops / peak.gflops / 1e3, self.bytes / rate / 1e3


@dataclass(frozen=True)
class Layer:
    """The steps of one layer, forward and backward."""

    name: str
    steps: tuple[Step, ...]
    peak: Peak

    @property
    def us(self) -> float:
        """Microseconds of all steps."""
        return sum(step.us for step in self.steps)

    @property
    def gflops(self) -> float:
        """10^9 operations a second."""
        return sum(s.report.flops for s in self.steps) / max(self.us, 1e-3) / 1e3

    @property
    def gbytes_per_second(self) -> float:
        """10^9 bytes a second that kernels read and write, in memory or caches."""
        return sum(s.bytes for s in self.steps) / max(self.us, 1e-3) / 1e3

    @property
    def share_of_limit(self) -> float:
        """The least time that the machine allows, as a share of the time taken."""
        least = sum(max(step.limits(self.peak)) for step in self.steps)
        return least / max(self.us, 1e-3)

    @property
    def bound(self) -> str:
        """What most of the least time goes to: "compute" or "memory"."""
        both = [step.limits(self.peak) for step in self.steps]
        compute = sum(flops for flops, moved in both if flops >= moved)
        memory = sum(moved for flops, moved in both if flops < moved)
        return "compute" if compute > memory else "memory"

    @property
    def advice(self) -> str:
        """What may help, in a few words."""
        products = [s for s in self.steps if s.report.op.startswith(PRODUCTS)]
        if not any(step.report.kernel for step in self.steps):
            return "costs nothing"
        if self.share_of_limit >= AT_LIMIT:
            return "at its limit"
        if self.us < SMALL * len(self.steps):
            return "small: larger batch"
        if any(step.report.kernel == "direct_loop" for step in products):
            return "plain kernel: explain() says why"
        if any(step.report.shape[-1] % LANES for step in products):
            return f"odd maps: a multiple of {LANES}"
        if self.bound == "compute":
            return "larger batch"
        return "memory: larger batch" if products else "memory: fuse"


def measure(plan: Executable, arrays: Sequence[np.ndarray]) -> list[Step]:
    """The steps of a plan with their median times.

    They run as always: those of training update variables.
    """
    runs = [plan.profile(arrays) for _ in range(1 + RUNS)][1:]
    times = zip(*runs, strict=True)
    return [
        Step(report, median(nanoseconds) / 1e3)
        for report, nanoseconds in zip(plan.report(), times, strict=True)
    ]


def layers(steps: Sequence[Step], peak: Peak) -> list[Layer]:
    """The layers by their time, longest first."""
    found: dict[str, list[Step]] = {}
    for step in steps:
        found.setdefault(step.report.layer, []).append(step)
    made = [Layer(name, tuple(own), peak) for name, own in found.items()]
    return sorted(made, key=lambda layer: -layer.us)


_HEADER = (
    "layer", "us", "share", "GFLOP/s", "of peak", "GB/s", "of limit", "bound", "advice",
)  # fmt: skip


def table(found: Sequence[Layer]) -> str:
    """The layers, a line each."""
    total = sum(layer.us for layer in found) or 1.0
    rows = [_HEADER, *(_cells(layer, total) for layer in found)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *figures, bound, advice in rows:
        middle = [f.rjust(w) for f, w in zip(figures, widths[1:-2], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *middle, f"{bound:<7}", advice]))
    return "\n".join(lines)


def _cells(layer: Layer, total: float) -> tuple[str, ...]:
    return (
        layer.name or "-", f"{layer.us:.1f}", f"{layer.us / total:.1%}",
        f"{layer.gflops:.1f}", f"{layer.gflops / layer.peak.gflops:.0%}",
        f"{layer.gbytes_per_second:.1f}", f"{layer.share_of_limit:.0%}",
        layer.bound, layer.advice,
    )  # fmt: skip


def random_arrays(plan: Executable) -> list[np.ndarray]:
    """Inputs for a plan: random numbers, and zeros for integers."""
    draw = random.generator(0)
    return [
        draw.standard_normal(t.shape, np.float32)
        if t.dtype == "float32"
        else np.zeros(t.shape, t.dtype)
        for t in plan.graph.inputs
    ]


def model_table(model: Any, batch_size: int) -> str:
    """Profile of a model, which stays as it is.

    Of a training step if it is compiled, else of inference; numbers in its inputs and
    targets are random, labels are 0.
    """
    training = model.compiled_loss is not None
    plan = plan_report.plan(model, batch_size, training)
    with unchanged(model) if training else nullcontext():
        steps = measure(plan, random_arrays(plan))
    peak = Peak.measure()
    title = "a training step" if training else "inference"
    return (
        f"Profile of {title}, batch {batch_size}; peak {peak.gflops:.0f} GFLOP/s, "
        f"{peak.gbytes_per_second:.0f} GB/s\n{table(layers(steps, peak))}"
    )
