"""One library in a process of its own: builds a model, then runs rounds on command.

Started by peers.py with one argument, a JSON object. It answers each line of its
standard input ("round SECONDS") with one line of JSON; whatever libraries print goes to
standard error.
"""

import importlib
import json
import os
import statistics
import sys
import time

WARM_UP = 0.5  # seconds, and 5 steps at least


def timed(step, seconds: float, at_least: int) -> list[float]:
    """Milliseconds of each step, until `seconds` have passed."""
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < at_least or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - start))
    return times


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    order = json.loads(sys.argv[1])

    from peer_models.task import Task

    library = importlib.import_module(f"peer_models.{order['module']}")
    task = Task(**order["task"])
    step = library.build(task)
    named = [task.variant] if order["module"] == "onnx_models" else []
    timed(step, WARM_UP, 5)
    print(json.dumps({"version": library.version(*named)}), file=answers)
    for line in sys.stdin:
        times = timed(step, float(line.split()[1]), 3)
        result = {"ms": statistics.median(times), "steps": len(times)}
        print(json.dumps(result), file=answers)


if __name__ == "__main__":
    main()
