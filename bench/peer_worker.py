"""One library in a process of its own: builds a model, then works on command.

Started by peers.py with one argument, a JSON object. It answers each line of its
standard input ("round SECONDS" or "memory") with one line of JSON; whatever libraries
print goes to standard error.
"""

import importlib
import json
import os
import re
import statistics
import sys
import time
from pathlib import Path

WARM_UP = 0.5  # seconds, and three steps at least


def timed(step, seconds: float, at_least: int = 1) -> list[float]:
    """Milliseconds of each step, until `seconds` have passed."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < at_least or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def resident(field: str) -> float:
    """MiB of this process in memory: now (VmRSS), or at most (VmHWM)."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(re.search(rf"{field}:\s*(\d+)", status)[1]) / 1024


def run(step, line: str) -> dict[str, float]:
    command, *rest = line.split()
    if command == "round":
        times = timed(step, float(rest[0]))
        return {"ms": statistics.median(times), "steps": len(times)}
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # VmHWM = VmRSS
    timed(step, WARM_UP, 3)
    return {"peak_mib": resident("VmHWM")}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    order = json.loads(sys.argv[1])

    from peer_models.task import Task

    library = importlib.import_module(f"peer_models.{order['module']}")
    task = Task(**order["task"])
    if order.get("export"):
        library.export(task)
        return
    imported = resident("VmRSS")
    step = library.build(task)
    named = [task.variant] if order["module"] == "onnx_models" else []
    first = {
        "version": library.version(*named),
        "imported_mib": imported,
        "warm_ms": min(timed(step, WARM_UP, 3)[1:]),
        "resident_mib": resident("VmHWM"),
    }
    if hasattr(library, "facts"):
        first["facts"] = library.facts(task)
    print(json.dumps(first), file=answers)
    for line in sys.stdin:
        print(json.dumps(run(step, line)), file=answers)


if __name__ == "__main__":
    main()
