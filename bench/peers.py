"""fastconv against its peers: alternately, in one call, never two at once.

    python bench/peers.py --peer-python PEERS/bin/python
    python bench/peers.py --peer-python PEERS/bin/python train/lenet infer/vgg16/*

fastconv runs in this interpreter's environment, the peers in that of --peer-python.
Each library is a process that builds its model once, then waits; rounds go through all
of them in turn, so that whatever else the machine does meets all alike. The ratio is
the median over rounds of peer / ours, for the peer with the lowest median. The rows are
printed, and written as JSON and Markdown. See bench/README.md.
"""

import argparse
import json
import sys
import tempfile
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import machine
import peer_report as report
from peer_models.task import Task
from peer_processes import (
    ENGINES,
    LIMITS,
    OURS,
    MissingError,
    Run,
    Setting,
    export,
    wait_until_idle,
)

RESULTS = Path(__file__).with_name("results")
# Mode, model, batch; the ratio to the best peer that fastconv is to reach, in float32.
ROWS = (
    ("train", "lenet", 64, 3.0), ("train", "smallnet", 32, 3.0),
    ("train", "alexnet", 16, 1.5), ("train", "vgg16", 4, 2.0),
    ("train", "googlenet", 8, 1.3), ("train", "resnet18", 8, 1.6),
    ("train", "resnet50", 8, 1.25), ("train", "mobilenetv2", 8, 1.4),
    ("train", "densenet121", 4, 1.4), ("train", "squeezenet", 16, 1.5),
    ("train", "unet", 2, 2.0),
    ("infer", "lenet", 64, 2.5), ("infer", "lenet", 1, 2.5),
    ("infer", "vgg16", 8, 2.2), ("infer", "vgg16", 1, 1.7),
    ("infer", "alexnet", 8, 1.3), ("infer", "googlenet", 8, 1.15),
    ("infer", "resnet50", 8, 1.15), ("infer", "resnet50", 1, 1.1),
    ("infer", "mobilenetv2", 8, 1.0), ("infer", "densenet121", 8, 1.2),
    ("infer", "squeezenet", 8, 1.1),
)  # fmt: skip


def chosen_tasks(chosen: argparse.Namespace) -> list[tuple[Task, float | None]]:
    """The tasks of the patterns, and their goals."""
    found = []
    for mode, model, batch, goal in ROWS:
        task = Task(model, batch, mode, chosen.dtype)
        plain = not (chosen.dtype != "float32" or chosen.isa or chosen.threads)
        trains = mode == "train"
        fits = not trains if chosen.dtype == "int8" else trains or not chosen.memory
        if fits and any(
            fnmatch(task.name, f"{pattern}*") for pattern in chosen.rows
        ):
            found.append((task, goal if plain else None))
    return found


def chosen_engines(task: Task, chosen: argparse.Namespace) -> list:
    engines = [e for e in ENGINES if task.mode == "infer" or e.trains]
    if task.dtype == "int8":  # those that run such a graph, and our own float32
        engines = [e for e in engines if e.ours or e.module == "onnx_models"]
    else:
        engines = [e for e in engines if e.variant != "float32"]
    if chosen.memory:
        engines = [e for e in engines if e.obeys_limits and not e.keep_memory]
    return [e for e in engines if e.name == OURS
            or any(fnmatch(e.name, f"{p}*") for p in chosen.peers)]  # fmt: skip


def run_of(task: Task, chosen: argparse.Namespace, setting: Setting) -> Run:
    """The processes for a task, at first with the graph that some of them read."""
    engines = chosen_engines(task, chosen)
    readers = ("tensorflow_models", "onnx_models")
    with tempfile.TemporaryDirectory() as folder:
        task = replace(task, graph=f"{folder}/model.onnx")
        reason = ""
        if any(e.module in readers for e in engines):
            try:
                export(task, setting)
            except MissingError as error:
                reason = str(error)
        lost = [e for e in engines if reason and e.module in readers]
        run = Run(task, setting, [e for e in engines if e not in lost])
    run.missing |= {e.name: reason for e in lost}
    return run


def measured(
    task: Task, goal: float | None, chosen: argparse.Namespace, setting: Setting
) -> dict:
    """The row of a task."""
    wait_until_idle(chosen.wait)
    run = run_of(task, chosen, setting)
    try:
        if chosen.memory:
            return report.memory_row(run)
        wait_until_idle(chosen.wait, run.pids())
        share = run.rounds(chosen.budget, chosen.seconds, chosen.rounds, 15)
        return report.row(run, share, goal)
    finally:
        run.stop()


def output(chosen: argparse.Namespace) -> Path:
    """The file of the results, without a suffix."""
    if chosen.output:
        return Path(chosen.output)
    parts = ["memory" if chosen.memory else "peers"]
    parts += [chosen.dtype] * (chosen.dtype != "float32")
    parts += [f"{chosen.threads}thread"] * bool(chosen.threads)
    parts += [chosen.isa] * bool(chosen.isa)
    return RESULTS / "-".join([*parts, machine.name()])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("rows", nargs="*", default=["*"], help="patterns, such as train/vgg16/b4")
    add("--peer-python", required=True, help="interpreter with the peers")
    add("--peers", nargs="+", default=["*"], metavar="PATTERN", help="of engines")
    add("--dtype", choices=("float32", "bfloat16", "int8"), default="float32")
    add("--threads", type=int, default=0, help="of each library; default all CPUs")
    add("--isa", choices=sorted(LIMITS), default="", help="for those that obey")
    text = "peak resident memory of a training step, instead of times"
    add("--memory", action="store_true", help=text)
    add("--rounds", type=int, default=5, help="of a row, at least")
    add("--seconds", type=float, default=0.4, help="of a library in a round")
    add("--budget", type=float, default=45, help="seconds for the rounds of a row")
    add("--wait", type=float, default=60, help="seconds to wait for an idle machine")
    add("--output", help="path of the results, without a suffix")
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    setting = Setting(chosen.peer_python, chosen.threads, chosen.isa)
    tasks = chosen_tasks(chosen)
    if not tasks:
        print(f"no row matches {chosen.rows}", file=sys.stderr)
        return 2
    make = report.memory_table if chosen.memory else report.table
    path = output(chosen).with_suffix(".json")
    order = [f"{mode}/{model}/b{batch}" for mode, model, batch, _ in ROWS]
    rows: list[dict] = []
    for task, goal in tasks:
        rows.append(measured(task, goal, chosen, setting))
        print(make(rows[-1:]), flush=True)
        every = report.merge(path, rows, order)
        path.write_text(json.dumps({"rows": every}, indent=1), encoding="utf-8")
        path.with_suffix(".md").write_text(make(every), encoding="utf-8")
    print(make(rows))
    return 0 if all(row.get("ratio") for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
