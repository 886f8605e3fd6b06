"""What the first step of a network takes, and for what, against the steps after it.

    python bench/first_step.py
    python bench/first_step.py 'train/*' infer/resnet50/b8 --processes 5

Every measurement is a process of its own: a model is made and compiled, then eleven
steps are timed. The first one traces, plans, takes memory, and runs. The table has
medians over processes: milliseconds of the first step, of a later one (the median of
the ninth to the eleventh), their ratio, milliseconds of the parts of the first, and
page faults in the first and in the last three. Before it, memory is taken and given
back: what the host of a virtual machine has yet to supply costs twenty times what
clearing it costs, and is not the library's.
"""

import argparse
import functools
import importlib
import json
import mmap
import resource
import statistics
import subprocess
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from peer_models.task import Task
from peers import ROWS

# Functions, and the part of a step that they are, without those that they call.
WATCHED = {
    "execution.function:Function._trace": "trace",
    "graph.autodiff:_gradients": "gradients",
    "execution.lower:fuse": "passes",
    "execution.lower:move_together": "passes",
    "execution.lower:narrow": "passes",
    "execution.lower:pool_into": "passes",
    "execution.lower:recompute": "recompute",
    "execution.executable:lower": "lower",
    "_core:workspaces": "kernels",
    "execution.lower:plan_memory": "places",
    "execution.lower:_Draft.finish": "native",
    "execution.executable:Executable.__call__": "run",
}
SUPPLIED = 2 << 30  # bytes, more than a row needs
COLUMNS = ("first", "later", "ratio", *dict.fromkeys(WATCHED.values()), "rest",
           "faults", "later faults")  # fmt: skip


class Watch:
    """Milliseconds by part, as functions of `WATCHED` take them."""

    def __init__(self) -> None:
        self.ms = dict.fromkeys(WATCHED.values(), 0.0)
        self._inside = 0.0  # of those that the one that runs now called
        for path, part in WATCHED.items():
            module, _, name = path.partition(":")
            owner = importlib.import_module(f"fastconv.{module}")
            *outer, name = name.split(".")
            owner = functools.reduce(getattr, outer, owner)
            setattr(owner, name, self._timed(getattr(owner, name), part))

    def _timed(self, function, part):
        @functools.wraps(function)
        def timed(*args, **kwargs):
            start, before, self._inside = time.perf_counter(), self._inside, 0.0
            try:
                return function(*args, **kwargs)
            finally:
                spent = 1e3 * (time.perf_counter() - start)
                self.ms[part] += spent - self._inside
                self._inside = before + spent

        return timed


def supply_memory() -> None:
    """Touches memory, and gives it back to the system."""
    with mmap.mmap(-1, SUPPLIED) as memory:
        memory.madvise(mmap.MADV_HUGEPAGE)
        for at in range(0, SUPPLIED, mmap.PAGESIZE):
            memory[at] = 1


def faults() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def timed(step) -> tuple[float, int]:
    """Milliseconds of a step, and its page faults."""
    before, start = faults(), time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - start), faults() - before


def steps_of(task: Task) -> dict[str, float]:
    """The columns of a task, measured in this process."""
    from peer_models import fastconv_models

    step, watch = fastconv_models.build(task), Watch()
    supply_memory()
    first, taken = timed(step)
    parts = dict(watch.ms)
    later = [timed(step) for _ in range(10)][-3:]
    ms = statistics.median(ms for ms, _ in later)
    return {
        "first": first, "later": ms, "ratio": first / ms,
        **parts, "rest": first - sum(parts.values()),
        "faults": taken, "later faults": sum(count for _, count in later),
    }  # fmt: skip


def measured(name: str, processes: int) -> dict[str, float]:
    """Medians of the columns of a row over new processes."""
    command = [sys.executable, __file__, "--here", name]
    found = [
        json.loads(subprocess.check_output(command, text=True))
        for _ in range(processes)
    ]
    return {c: statistics.median(one[c] for one in found) for c in COLUMNS}


def line(name: str, row: dict[str, float]) -> str:
    cells = [
        f"{row[c]:.0f}" if "faults" in c
        else f"{row[c]:.2f}" if c == "ratio"
        else f"{row[c]:.4g}" if abs(row[c]) >= 10
        else f"{row[c]:.1f}"
        for c in COLUMNS
    ]  # fmt: skip
    return f"| {name} | {' | '.join(cells)} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("rows", nargs="*", default=["*"], help="such as train/vgg16/b4")
    parser.add_argument("--processes", type=int, default=3, help="new ones, a row")
    parser.add_argument("--here", action="store_true", help="one row, this process")
    chosen = parser.parse_args()
    tasks = [Task(model, batch, mode) for mode, model, batch, _ in ROWS]
    tasks = [t for t in tasks if any(fnmatch(t.name, f"{p}*") for p in chosen.rows)]
    if chosen.here:
        print(json.dumps(steps_of(tasks[0])))
        return 0
    print(f"| row | {' | '.join(COLUMNS)} |")
    print("|---|" + "---:|" * len(COLUMNS))
    for task in tasks:
        print(line(task.name, measured(task.name, chosen.processes)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
