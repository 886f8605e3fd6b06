"""``fastconv models``: every network of the zoo, with what is published about it."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import asdict
from typing import Any

from fastconv import models

__all__ = ["run"]

_HEADER = ("network", "parameters", "10^9 mult-adds", "top-1", "top-5", "data", "paper")


def run(args: Namespace) -> dict[str, Any]:
    """Prints a line a network; they are built by none, `Facts` has their figures."""
    found = {name: asdict(models.facts(name)) for name in models.zoo()}
    rows = [_HEADER, *(_row(name, facts) for name, facts in found.items())]
    widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
    for name, *figures, data, paper in rows:
        cells = [name.ljust(widths[0])]
        cells += [f.rjust(w) for f, w in zip(figures, widths[1:5], strict=True)]
        print("  ".join([*cells, data.ljust(widths[5]), paper]))
    return {"models": [{"name": name, **facts} for name, facts in found.items()]}


def _row(name: str, facts: dict[str, Any]) -> tuple[str, ...]:
    accuracies = ("" if facts[k] is None else f"{facts[k]:.2f}" for k in _TOPS)
    adds = f"{facts['multiply_adds']:.3g}"
    parameters = f"{facts['parameters']:,}"
    return (name, parameters, adds, *accuracies, facts["data"], facts["paper"])


_TOPS = ("top1", "top5")
