"""Single convolutions in each direction against PyTorch's best mode, in rounds.

    python bench/ops.py --peer-python PEERS/bin/python
    python bench/ops.py --peer-python PEERS/bin/python 'mobilenetv2:*' 'vgg16:*'

The problems are those of bench/shapes/conv_*.txt, each once. PyTorch runs in both
memory formats, with a malloc that keeps large buffers. The rows are printed, and
written as JSON and Markdown. See bench/README.md.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import machine
from op_models import DIRECTIONS, flops
from peer_processes import (
    BUSY,
    LIMITS,
    SLOWER,
    Engine,
    MissingError,
    Process,
    Setting,
    wait_until_idle,
)
from problems import Problem, read

OURS = Engine("fastconv", "fastconv")
PEER = Engine("pytorch", "torch", keep_memory=True)
PAUSE = 0.03  # seconds in which the threads of the last library stop spinning
WORKER = str(Path(__file__).with_name("op_worker.py"))
CLASSES = ("dense", "1x1", "stem", "grouped", "depthwise")


def family(problem: Problem) -> str:
    """Which of `CLASSES` a convolution belongs to."""
    if problem["g"] > 1:
        return "depthwise" if problem["g"] == problem["c"] else "grouped"
    if problem["c"] <= 4:
        return "stem"
    return "1x1" if set(problem.sizes("w")) == {1} else "dense"


def chosen_problems(patterns: list[str]) -> list[Problem]:
    """Those whose names match, without repeated ones."""
    found: dict[str, Problem] = {}
    for problem in read("conv_*"):
        if any(fnmatch(problem.name, pattern) for pattern in patterns):
            found.setdefault(problem.text, problem)
    return list(found.values())


class Contest:
    """Both libraries, at one problem after the other."""

    def __init__(self, setting: Setting, rounds: int, seconds: float) -> None:
        self.rounds, self.seconds = rounds, seconds
        self.processes = {
            engine: Process(
                [setting.python(engine), WORKER, engine.module],
                setting.environment(engine),
            )
            for engine in (OURS, PEER)
        }
        self.peak = self.processes[OURS].first["peak"]["gflops"]

    def direction(self, problem: Problem, direction: str) -> dict:
        """One direction: PyTorch's slower layout is left out after the warm-up."""
        layouts = ["contiguous", "channels_last"][: len(problem.sizes("i"))]
        order = {"problem": f"{problem.name} {problem.text}", "direction": direction}
        warm = {layout: self._ask(layout, **order) for layout in ("", *layouts)}
        limit = SLOWER * min(warm[layout]["ms"] for layout in layouts)
        runs = ["", *(name for name in layouts if warm[name]["ms"] <= limit)]
        times: dict[str, list[float]] = {layout: [] for layout in runs}
        for _ in range(self.rounds):
            for layout in runs:
                time.sleep(PAUSE)
                times[layout].append(self._ask(layout, seconds=self.seconds)["ms"])
        return self._found(problem, times, warm[""]["kernel"])

    def _found(
        self, problem: Problem, times: dict[str, list[float]], kernel: str
    ) -> dict:
        """Ours are the times of ""."""
        ours = times.pop("")
        medians = {name: statistics.median(t) for name, t in times.items()}
        best = min(medians, key=medians.__getitem__)
        ratios = [p / o for p, o in zip(times[best], ours, strict=True)]
        rate = flops(problem) / statistics.median(ours) / 1e6
        return {
            "kernel": kernel,
            "ours_ms": statistics.median(ours),
            "peers_ms": medians,
            "best_peer": best,
            "ratio": statistics.median(ratios),
            "ratio_range": [min(ratios), max(ratios)],
            "gflops": rate,
            "share_of_peak": rate / self.peak,
        }

    def _ask(self, layout: str, **order: object) -> dict:
        process = self.processes[PEER if layout else OURS]
        return process.ask(json.dumps({"layout": layout, **order}))

    def row(self, problem: Problem) -> dict:
        """All directions of a problem."""
        load = machine.Load([p.process.pid for p in self.processes.values()])
        return {
            "row": problem.name,
            "problem": problem.text,
            "class": family(problem),
            "directions": {d: self.direction(problem, d) for d in DIRECTIONS},
            "cpu_share_of_others": load.others(),
        }

    def stop(self) -> None:
        for process in self.processes.values():
            process.stop()


HEAD = """\
| problem | class | direction | kernel | ms | PyTorch | ratio | range | GF/s | peak |
|---|---|---|---|---:|---:|---:|---:|---:|---:|"""


def lines(row: dict) -> list[str]:
    """A row in Markdown, a line a direction."""
    busy = "!" * (row["cpu_share_of_others"] > BUSY)
    return [
        f"| {row['row']} `{row['problem']}` | {row['class']} | {direction} "
        f"| {one['kernel']} | {one['ours_ms']:.4g} "
        f"| {one['peers_ms'][one['best_peer']]:.4g} "
        f"| **{one['ratio']:.2f}**{busy} "
        f"| {one['ratio_range'][0]:.2f}-{one['ratio_range'][1]:.2f} "
        f"| {one['gflops']:.1f} | {one['share_of_peak']:.0%} |"
        for direction, one in row["directions"].items()
    ]


def means(rows: list[dict]) -> str:
    """Geometric means of the ratios by class and direction, and the worst of each."""
    found = ["| class | problems | " + " | ".join(DIRECTIONS) + " | all | lowest |"]
    found.append("|---|" + "---:|" * (len(DIRECTIONS) + 3))
    for name in (*CLASSES, "all"):
        of_class = [row for row in rows if name in (row["class"], "all")]
        if not of_class:
            continue
        ratios = {d: [row["directions"][d]["ratio"] for row in of_class]
                  for d in DIRECTIONS}  # fmt: skip
        every = [ratio for found in ratios.values() for ratio in found]
        cells = [statistics.geometric_mean(r) for r in (*ratios.values(), every)]
        figures = " | ".join(f"{cell:.2f}" for cell in (*cells, min(every)))
        found.append(f"| {name} | {len(of_class)} | {figures} |")
    return "\n".join(found)


def write(path: Path, rows: list[dict], facts: dict) -> None:
    """JSON and Markdown; rows of other problems in the file stay."""
    old = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.exists() else []
    every = list({row["row"]: row for row in [*old, *rows]}.values())
    path.write_text(json.dumps({**facts, "rows": every}, indent=1), encoding="utf-8")
    table = "\n".join(line for row in every for line in lines(row))
    text = f"{means(every)}\n\n{HEAD}\n{table}\n"
    path.with_suffix(".md").write_text(text, encoding="utf-8")


def contests(
    make: Callable[[], Contest], problems: list[Problem], path: Path
) -> tuple[list[dict], int]:
    """The rows of all problems, and how many failed; who dies starts anew."""
    rows: list[dict] = []
    contest, failed = make(), 0
    facts = {e.name: p.first for e, p in contest.processes.items()}
    facts["machine"] = machine.describe()
    print(HEAD)
    for problem in problems:
        try:
            rows.append(contest.row(problem))
            print("\n".join(lines(rows[-1])), flush=True)
            write(path, rows, facts)
        except MissingError as error:
            failed += 1
            print(f"| {problem.name} | failed: {error} |", flush=True)
            contest.stop()
            contest = make()
    contest.stop()
    return rows, failed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("problems", nargs="*", default=["*"], help="patterns, such as 'vgg16:*'")
    add("--peer-python", required=True, help="interpreter with PyTorch")
    add("--classes", nargs="+", choices=CLASSES, default=CLASSES)
    add("--threads", type=int, default=0, help="of each library; default all CPUs")
    add("--isa", choices=sorted(LIMITS), default="")
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=0.03, help="of a mode in a round")
    add("--wait", type=float, default=60, help="seconds to wait for an idle machine")
    add("--output", help="path of the results, without a suffix")
    return parser.parse_args()


def output(chosen: argparse.Namespace) -> Path:
    if chosen.output:
        return Path(chosen.output).with_suffix(".json")
    parts = ["ops"] + [f"{chosen.threads}thread"] * bool(chosen.threads)
    name = "-".join([*parts, *[chosen.isa] * bool(chosen.isa), machine.name()])
    return Path(__file__).with_name("results") / f"{name}.json"


def main() -> int:
    chosen = arguments()
    found = [p for p in chosen_problems(chosen.problems) if family(p) in chosen.classes]
    if not found:
        print(f"no problem matches {chosen.problems}", file=sys.stderr)
        return 2
    wait_until_idle(chosen.wait)
    setting = Setting(chosen.peer_python, chosen.threads, chosen.isa)
    make = partial(Contest, setting, chosen.rounds, chosen.seconds)
    try:
        rows, failed = contests(make, found, output(chosen))
    except MissingError as error:
        print(f"a library is missing: {error}", file=sys.stderr)
        return 1
    print(f"\n{means(rows)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
