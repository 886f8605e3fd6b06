"""``fastconv tune``: the fastest kernels for a model, for the table of the user."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from fastconv.cli.common import make_model, set_machine
from fastconv.execution import tuned
from fastconv.execution.devices import backend_of, resolve_device
from fastconv.training import tuning

__all__ = ["run"]


def run(args: Namespace) -> dict[str, Any]:
    """Measures all kernels of a step, prints what is faster, and extends the table."""
    set_machine(args)
    model = make_model(args.model, dtype=args.dtype)
    model.compile("sgd", "sparse_categorical_crossentropy", device=args.device)
    found = tuning.tune(model, args.batch_size, args.mode == "train")
    device = tuned.device_name(backend_of(resolve_device(args.device)))
    path = Path(args.out).expanduser() if args.out else tuned.user_table()
    tuned.extend(path, device, {one.problem: one.best for one in found})
    usual = sum(one.times[one.usual] for one in found)
    best = sum(one.times[one.best] for one in found)
    for one in found:
        if one.best != one.usual:
            print(_line(one))
    print(
        f"{args.model}, {args.mode}, batch {args.batch_size} on {device}: {len(found)} "
        f"problems, {usual:.0f} us without a table, {best:.0f} us with; {path}"
    )
    problems = [_facts(one) for one in found]
    return {"device": device, "table": str(path), "problems": problems}


def _line(one: tuning.Tuned) -> str:
    kernels = f"{one.usual} -> {one.best}"
    times = f"{one.times[one.usual]:.1f} -> {one.times[one.best]:.1f} us"
    return f"{kernels:<40} {times:<26} {one.problem}"


def _facts(one: tuning.Tuned) -> dict[str, Any]:
    times = {str(wish): us for wish, us in one.times.items()}
    chosen = {"usual": str(one.usual), "best": str(one.best)}
    return {"problem": one.problem, "layers": one.layers, **chosen, "us": times}
