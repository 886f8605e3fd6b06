"""What a model's plans are and need, known before they run."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, DeviceError
from fastconv.execution.devices import has_plans
from fastconv.execution.executable import Executable
from fastconv.layers.base import is_spec
from fastconv.tree import map_structure


def plan(model: Any, batch_size: int, training: bool) -> Executable:
    """The plan of a step with ``batch_size`` samples; nothing runs."""
    if not hasattr(batch_size, "__index__") or batch_size < 1:
        raise ArgumentError(f"batch_size: expected an integer >= 1, got {batch_size!r}")
    if training and model.compiled_loss is None:
        raise ArgumentError(
            f"model {model.name!r}: its training is not known yet: call "
            "compile(optimizer, "
            "loss) first, or ask with training=False"
        )
    if not model.described:
        raise ArgumentError(
            f"model {model.name!r}: its inputs are not known yet; call "
            "build(input_shape), "
            "or give the first layer an input_shape"
        )
    x = map_structure(
        model.input_specs, is_spec, lambda t: _zeros(t.shape, t.dtype, batch_size)
    )
    plans = model._prepare(x)
    if not has_plans(plans.device):
        raise DeviceError(
            f"model {model.name!r}: device {plans.device!r} has no plans; compile with "
            "device='cpu' to see them"
        )
    if not training:
        return plans.executable("predict", x)
    losses, _ = model.compiled_loss.of(model.output_names)
    targets = []
    for loss, spec in zip(losses, model.output_specs, strict=True):
        shape = spec.shape[:-1] if loss is not None and loss.sparse else spec.shape
        dtype = "int64" if loss is not None and loss.sparse else "float32"
        targets.append(None if loss is None else _zeros(shape, dtype, batch_size))
    y = targets if len(targets) > 1 else targets[0]
    return plans.executable("train", x, y, None)


def memory(model: Any, batch_size: int, training: bool) -> dict[str, int]:
    """Bytes of the buffers of a plan, and of what its kernels prepare of constants."""
    made = plan(model, batch_size, training)
    arena, *rest = (int(n) for n in made.plan.buffer_bytes)
    inputs = len(made.graph.inputs)
    found = {
        "arena": arena,
        "inputs": sum(rest[:inputs]),
        "variables": sum(rest[inputs:-1]),
        "constants": rest[-1],
        "prepared": int(made.plan.prepared_bytes),
    }
    return {**found, "total": sum(found.values())}


def explanation(model: Any, batch_size: int, training: bool) -> str:
    """The steps of a plan, a line each."""
    made = plan(model, batch_size, training)
    rows: list[tuple[str, ...]] = [
        ("layer", "op", "kernel", "output", "bytes", "operations", "declined")
    ]
    report = made.report()
    rows += [
        (
            line.layer,
            line.op,
            line.choice,
            "x".join(map(str, line.shape)),
            f"{line.bytes:,}",
            f"{line.flops:,}",
            "; ".join(line.declined),
        )
        for line in report
    ]
    total = sum(line.flops for line in report)
    mode = "training" if training else "inference"
    return "\n".join(
        (
            f"{model.name}: {mode}, batch {batch_size}, {len(report)} steps, "
            f"{total:,} operations, arena {made.arena_bytes:,} bytes",
            *_aligned(rows),
        )
    )


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = []
        for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
            cells.append(cell.rjust(width) if i in (4, 5) else cell.ljust(width))
        lines.append("  ".join(cells).rstrip())
    return lines


def _zeros(shape: tuple[int | None, ...], dtype: str, batch: int) -> np.ndarray:
    if any(n is None for n in shape[1:]):
        raise ArgumentError(
            f"expected a model with fixed sizes, received an input or output of shape "
            f"{shape}; its memory follows from the data"
        )
    return np.zeros((batch, *shape[1:]), dtype)  # type: ignore[arg-type]
