"""``fastconv doctor``: one block of text to paste into a bug report."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from fastconv.cli.facts import as_text, machine_facts, peak_facts

__all__ = ["run"]


def run(args: Namespace) -> dict[str, Any]:
    """Prints the facts of this machine."""
    facts: dict[str, Any] = dict(machine_facts())
    peak: dict[str, Any] = {}
    if not args.no_peak:
        from fastconv import _core

        peak = _core.measure_peak(1.0)
        facts |= peak_facts(peak)
    print(as_text(facts))
    return facts | peak
