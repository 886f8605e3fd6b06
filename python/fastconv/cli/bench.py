"""``fastconv bench``: the time of a step, and where it goes."""

from __future__ import annotations

import time
from argparse import Namespace
from collections import defaultdict
from statistics import median
from typing import Any

import numpy as np

from fastconv import _core, random
from fastconv.cli.common import make_model, set_machine
from fastconv.graph.lower import Executable
from fastconv.training import plan_report

__all__ = ["measured", "prepared", "run"]

_WARM_UP = 5  # steps that are not measured
_PROFILES = 5  # profiled steps, of which the medians are shown


def run(args: Namespace) -> dict[str, Any]:
    """Prints the median time of a step on random images, with nothing around it."""
    set_machine(args)
    model = make_model(args.model)
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
        result["steps"] = _profile(plan, arrays)
        print(_table(result["steps"]))
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


def _profile(plan: Executable, arrays: list[np.ndarray]) -> list[dict[str, Any]]:
    """Each step of the plan with the median of its time."""
    runs = [plan.profile(arrays) for _ in range(_PROFILES)]
    rows = []
    for step, *nanoseconds in zip(plan.report(), *runs, strict=True):
        spent = median(nanoseconds)
        rows.append({
            "layer": step.layer,
            "op": step.op,
            "kernel": step.kernel,
            "us": spent / 1e3,
            "gflops": step.flops / max(spent, 1.0),
            "gbytes_per_second": step.bytes / max(spent, 1.0),
        })  # fmt: skip
    return rows


def _headline(result: dict[str, Any]) -> str:
    return (
        f"{result['model']}, {result['mode']}, batch {result['batch_size']}: "
        f"{result['median_ms']:.3f} ms a step (best {result['best_ms']:.3f}), "
        f"{result['images_per_second']:,.0f} images/s, {result['gflops']:.1f} GFLOP/s; "
        f"{result['threads']} threads, {result['isa']}"
    )


def _table(rows: list[dict[str, Any]]) -> str:
    """Layers by their time, then the steps of each."""
    total = sum(row["us"] for row in rows) or 1.0
    by_layer: dict[str, float] = defaultdict(float)
    for row in rows:
        by_layer[row["layer"]] += row["us"]
    lines = [f"{'layer':<24} {'us':>9} {'share':>6}"]
    for layer, spent in sorted(by_layer.items(), key=lambda item: -item[1]):
        lines.append(f"{layer or '-':<24.24} {spent:9.1f} {spent / total:6.1%}")
    lines.append(f"\n{'step':<44} {'kernel':<20} {'us':>8} {'GFLOP/s':>8} {'GB/s':>6}")
    lines += [_step_line(row) for row in rows]
    return "\n".join(lines)


def _step_line(row: dict[str, Any]) -> str:
    name = f"{row['layer']} {row['op']}".strip()
    return (
        f"{name:<44.44} {row['kernel']:<20.20} {row['us']:8.1f} "
        f"{row['gflops']:8.1f} {row['gbytes_per_second']:6.1f}"
    )
