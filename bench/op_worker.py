"""fastconv or PyTorch in a process of its own: runs single operations on command.

Started by ops.py with the library's name. It answers a line of JSON with another: an
order with "problem" (a line of bench/shapes), "direction" and "layout" builds, and one
with "seconds" and "layout" measures.
"""

import json
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import op_models
from problems import parse

WARM_UP = 3  # steps


def about(library: str) -> dict[str, object]:
    if library == "torch":
        import torch

        return {"version": torch.__version__}
    import fastconv
    from fastconv import _core

    found = {"version": fastconv.__version__, "isa": _core.active_isa()}
    return {**found, "peak": _core.measure_peak(1.0)}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    library = sys.argv[1]
    build = getattr(op_models, f"build_{library}")
    steps: dict[str, op_models.Step] = {}
    print(json.dumps(about(library)), file=answers)
    for line in sys.stdin:
        order = json.loads(line)
        layout = order["layout"]
        if "problem" in order:
            steps.pop(layout, None)
            problem = parse(*order["problem"].split())
            steps[layout], kernel = build(problem, order["direction"], layout)
            ms = min([steps[layout]() for _ in range(WARM_UP)][1:])
            found = {"ms": ms, "kernel": kernel}
        else:
            found = {"ms": statistics.median(timed(steps[layout], order["seconds"]))}
        print(json.dumps(found), file=answers)


def timed(step: op_models.Step, seconds: float) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        times.append(step())
    return times


if __name__ == "__main__":
    main()
