"""``fastconv bench``: the time of a step, and where it goes."""

from __future__ import annotations

import time
from argparse import Namespace
from dataclasses import asdict
from statistics import median
from typing import Any

import numpy as np

from fastconv import _core, random
from fastconv.cli.common import make_model, set_machine
from fastconv.execution.executable import Executable
from fastconv.training import plan_report, step_profile

__all__ = ["measured", "prepared", "run"]

_WARM_UP = 5  # steps that are not measured
_FIGURES = (
    "us", "gflops", "gbytes_per_second", "share_of_limit", "bound", "advice",
)  # fmt: skip


def run(args: Namespace) -> dict[str, Any]:
    """Prints the median time of a step on random images, with nothing around it."""
    set_machine(args)
    model = make_model(args.model, dtype=args.dtype)
    model.compile("sgd", "sparse_categorical_crossentropy", device=args.device)
    plan, arrays = prepared(model, args.batch_size, args.mode == "train")
    seconds = measured(plan, arrays, args.seconds)
    operations = sum(step.flops for step in plan.report())
    result: dict[str, Any] = {
        "model": args.model,
        "mode": args.mode,
        "batch_size": args.batch_size,
        "threads": _core.thread_count(),
        "isa": _core.active_isa(),
        "median_ms": median(seconds) * 1e3,
        "best_ms": min(seconds) * 1e3,
        "steps_measured": len(seconds),
        "images_per_second": args.batch_size / median(seconds),
        "gflops": operations / median(seconds) / 1e9,
        "arena_bytes": plan.arena_bytes,
    }
    print(_headline(result))
    if args.profile:
        result |= _profile(plan, arrays)
    return result


def prepared(
    model: Any, batch_size: int, training: bool
) -> tuple[Executable, list[np.ndarray]]:
    """The plan of a step of a compiled model, and random images and labels for it."""
    plan = plan_report.plan(model, batch_size, training)
    draw = random.generator(0)
    images, *labels = plan.graph.inputs
    x = draw.standard_normal(images.shape, np.float32)
    classes = model.output_shape[-1]
    return plan, [x, *(draw.integers(0, classes, label.shape) for label in labels)]


def measured(
    plan: Executable, arrays: list[np.ndarray], budget: float, warm_up: int = _WARM_UP
) -> list[float]:
    """Seconds of each step, of one at least, for ``budget`` seconds."""
    for _ in range(warm_up):
        plan(arrays)
    found: list[float] = []
    end = time.perf_counter() + budget
    while not found or time.perf_counter() < end:
        start = time.perf_counter()
        plan(arrays)
        found.append(time.perf_counter() - start)
    return found


def _profile(plan: Executable, arrays: list[np.ndarray]) -> dict[str, Any]:
    """Prints the layers by their time, then the steps; all of it as data."""
    steps = step_profile.measure(plan, arrays)
    peak = step_profile.Peak.measure()
    layers = step_profile.layers(steps, peak)
    print(
        f"peak {peak.gflops:.0f} GFLOP/s, {peak.gbytes_per_second:.0f} GB/s\n"
        f"{step_profile.table(layers)}\n"
    )
    rows = [_row(step) for step in steps]
    print(f"{'step':<44} {'kernel':<20} {'us':>8} {'GFLOP/s':>8} {'GB/s':>6}")
    print("\n".join(map(_step_line, rows)))
    found = [
        {name: getattr(layer, name) for name in ("name", *_FIGURES)} for layer in layers
    ]
    return {"peak": asdict(peak), "layers": found, "steps": rows}


def _row(step: step_profile.Step) -> dict[str, Any]:
    us = max(step.us, 1e-3)
    return {
        "layer": step.report.layer,
        "op": step.report.op,
        "kernel": step.report.kernel,
        "us": step.us,
        "gflops": step.report.flops / us / 1e3,
        "gbytes_per_second": step.report.bytes / us / 1e3,
    }


def _headline(result: dict[str, Any]) -> str:
    return (
        f"{result['model']}, {result['mode']}, batch {result['batch_size']}: "
        f"{result['median_ms']:.3f} ms a step (best {result['best_ms']:.3f}), "
        f"{result['images_per_second']:,.0f} images/s, {result['gflops']:.1f} GFLOP/s; "
        f"{result['threads']} threads, {result['isa']}"
    )


def _step_line(row: dict[str, Any]) -> str:
    name = f"{row['layer']} {row['op']}".strip()
    return (
        f"{name:<44.44} {row['kernel']:<20.20} {row['us']:8.1f} "
        f"{row['gflops']:8.1f} {row['gbytes_per_second']:6.1f}"
    )
