"""``fastconv compare``: networks of the zoo, measured here, beside their papers."""

from __future__ import annotations

import csv
from argparse import Namespace
from pathlib import Path
from statistics import median
from typing import Any

from fastconv import _core, models, plot
from fastconv.cli.bench import measured, prepared
from fastconv.cli.common import make_model, set_machine
from fastconv.io.available import available_bytes
from fastconv.training import plan_report
from fastconv.training.summary import multiply_adds

__all__ = ["run"]

# Columns: key, heading, format.
_COLUMNS = (
    ("network", "network", "{}"),
    ("parameters", "parameters", "{:,}"),
    ("paper_parameters", "published", "{:,}"),
    ("multiply_adds", "10^9 mult-adds", "{:.3g}"),
    ("top1", "top-1", "{:.2f}"),
    ("top5", "top-5", "{:.2f}"),
    ("data", "data", "{}"),
    ("inference_bytes", "memory", "{:,}"),
    ("training_bytes", "of training", "{:,}"),
    ("inference_images_per_second", "images/s", "{:,.1f}"),
    ("training_images_per_second", "of training", "{:,.1f}"),
)


def run(args: Namespace) -> dict[str, Any]:
    """Prints a table, and leaves it as CSV beside a chart of the accuracies.

    Memory is that of the plan for one batch, exactly, with the weights, in bytes. What
    was not measured (without training, or where a plan does not fit into memory) or not
    published is left out.
    """
    set_machine(args)
    names = _names(args.models)
    widths = [max(len(h), 11) for _, h, _ in _COLUMNS]
    widths[0] = max(map(len, names))
    print(_line([heading for _, heading, _ in _COLUMNS], widths))
    found = []
    for name in names:
        found.append(_row(name, args))
        print(_line(_cells(found[-1]), widths), flush=True)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    with (out / "table.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [key for key, _, _ in _COLUMNS])
        writer.writeheader()
        writer.writerows(found)
    written = [str(out / "table.csv"), *_chart(found, out / "chart.svg")]
    print(f"written: {', '.join(written)}")
    return {
        "batch_size": args.batch_size,
        "threads": _core.thread_count(),
        "isa": _core.active_isa(),
        "networks": found,
        "files": written,
    }


def _names(given: list[str]) -> list[str]:
    """The constructors of what was asked for, each once."""
    if [models.key(name) for name in given] == ["all"]:
        return models.zoo()
    by_network = {id(models.get(name)): name for name in models.zoo()}
    return list(dict.fromkeys(by_network[id(models.get(name))] for name in given))


def _row(name: str, args: Namespace) -> dict[str, Any]:
    facts = models.facts(name)
    model = make_model(name)
    model.compile("sgd", "sparse_categorical_crossentropy", device=args.device)
    found: dict[str, Any] = {
        "network": name,
        "parameters": sum(w.size for w in model.trainable_weights),
        "paper_parameters": facts.parameters,
        "multiply_adds": multiply_adds(model) / 1e9,
        "top1": facts.top1,
        "top5": facts.top5,
        "data": facts.data,
    }
    for training, mode in ((False, "inference"), (True, "training")):
        size = plan_report.memory(model, args.batch_size, training)["total"]
        found[f"{mode}_bytes"] = size
        skipped = training and args.no_training
        rate = None if skipped else _rate(model, args, training)
        found[f"{mode}_images_per_second"] = rate
    return found


def _rate(model: Any, args: Namespace, training: bool) -> float | None:
    """Images a second; None if the plan does not fit into memory."""
    plan, arrays = prepared(model, args.batch_size, training)
    free = plan.arena.backend.available_bytes
    there = available_bytes() if free is None else free
    if there is not None and plan.arena_bytes > there:
        return None
    seconds = measured(plan, arrays, args.seconds, warm_up=1)
    return float(args.batch_size / median(seconds))


def _cells(row: dict[str, Any]) -> list[str]:
    values = ((row[key], form) for key, _, form in _COLUMNS)
    return ["-" if v is None else form.format(v) for v, form in values]


def _line(cells: list[str], widths: list[int]) -> str:
    first, *others = (c.rjust(w) for c, w in zip(cells, widths, strict=True))
    return "  ".join([cells[0].ljust(len(first)), *others])


def _chart(rows: list[dict[str, Any]], path: Path) -> list[str]:
    """Accuracy by operations, with areas as parameters; none without accuracies."""
    shown = [row for row in rows if row["top1"] is not None]
    if not shown:
        return []
    figure = plot.bubbles(
        {r["network"]: (r["multiply_adds"], r["top1"], r["parameters"]) for r in shown},
        [r["data"] for r in shown],
        title="Published accuracy, operations and size",
        x_label="multiply-adds of one image, 10^9",
        y_label="top-1 accuracy, %",
        size_label="parameters",
    )
    figure.save(path)
    return [str(path)]
