"""fastconv against its peers: alternately, in one call, never two at once.

    python bench/peers.py --model lenet --batch 64 --mode train --peer-python PATH

fastconv runs in this interpreter's environment, the peers in that of PATH. Each library
is a process that builds its model once, then waits; rounds go through all of them in
turn, so that whatever else the machine does meets all alike. The ratio is the median
over rounds of peer / ours, for the peer with the lowest median. See bench/README.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from machine import Load, describe
from peer_models.task import INPUTS, Task

OURS = "fastconv"
BUSY = 0.05  # share of the CPUs that others use, above which times mean little
PAUSE = 0.25  # seconds in which the threads of the last library stop spinning
# By default glibc unmaps every large buffer, and page faults then hide the kernels.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 36)}


@dataclass(frozen=True)
class Engine:
    """A library in one of its useful modes."""

    name: str
    module: str
    variant: str = ""
    keep_memory: bool = False
    trains: bool = True


ENGINES = (
    Engine(OURS, "fastconv_models"),
    Engine("pytorch contiguous", "torch_models", "contiguous"),
    Engine("pytorch channels_last", "torch_models", "channels_last"),
    Engine("pytorch contiguous, tuned malloc", "torch_models", "contiguous", True),
    Engine(
        "pytorch channels_last, tuned malloc", "torch_models", "channels_last", True
    ),
    Engine("tensorflow", "tensorflow_models"),
    Engine("onnxruntime", "onnx_models", "onnxruntime", trains=False),
    Engine("openvino", "onnx_models", "openvino", trains=False),
)


class MissingError(Exception):
    """A library that is absent, or cannot run the task; says why."""


class Worker:
    """A library in its process."""

    def __init__(self, engine: Engine, python: str, task: Task) -> None:
        order = {
            "module": engine.module,
            "task": {**asdict(task), "variant": engine.variant},
        }
        script = Path(__file__).with_name("peer_worker.py")
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (the worker closes it)
        environment = dict(os.environ, **(KEEP_MEMORY if engine.keep_memory else {}))
        self.process = subprocess.Popen(
            [python, str(script), json.dumps(order)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            text=True, env=environment,
        )  # fmt: skip
        self.times: list[float] = []
        self.version = self._answer()["version"]

    def round(self, seconds: float) -> None:
        """Measures for about `seconds`."""
        self.process.stdin.write(f"round {seconds}\n")
        self.process.stdin.flush()
        self.times.append(self._answer()["ms"])

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.process.wait()
        self.log.seek(0)
        lines = self.log.read().strip().splitlines()
        reason = lines[-1] if lines else f"exit code {self.process.returncode}"
        raise MissingError(reason)


def start(task: Task, peer_python: str) -> tuple[dict[str, Worker], dict[str, str]]:
    """The workers that run, and why the others do not."""
    workers: dict[str, Worker] = {}
    missing: dict[str, str] = {}
    for engine in ENGINES:
        if task.mode == "train" and not engine.trains:
            continue
        python = sys.executable if engine.name == OURS else peer_python
        try:
            workers[engine.name] = Worker(engine, python, task)
        except MissingError as error:
            missing[engine.name] = str(error)
        except OSError as error:
            missing[engine.name] = f"its interpreter: {error.strerror}"
    return workers, missing


def wait_until_idle(limit: float) -> None:
    """Returns when the other processes are quiet, or after `limit` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        load = Load([])
        time.sleep(1)
        if load.others() < BUSY:
            return


def measure(workers: dict[str, Worker], rounds: int, seconds: float) -> float:
    """Runs the rounds; the share of the CPUs that other processes used meanwhile.

    A library that dies on the way ends the measurement: its times would not be paired.
    """
    load = Load([worker.process.pid for worker in workers.values()])
    for _ in range(rounds):
        for worker in workers.values():
            time.sleep(PAUSE)
            worker.round(seconds)
    return load.others()


def result(task: Task, workers: dict[str, Worker], missing: dict[str, str]) -> dict:
    """The medians and the ratio to the best peer."""
    medians = {
        name: statistics.median(worker.times) for name, worker in workers.items()
    }
    peers = {name: ms for name, ms in medians.items() if name != OURS}
    best = min(peers, key=peers.__getitem__, default=None)
    ratios = None
    if best and OURS in workers:
        pairs = zip(workers[best].times, workers[OURS].times, strict=True)
        ratios = [peer / ours for peer, ours in pairs]
    return {
        "model": task.model,
        "batch": task.batch,
        "mode": task.mode,
        "dtype": task.dtype,
        "ours_ms": medians.get(OURS),
        "peers_ms": peers,
        "best_peer": best,
        "ratio": statistics.median(ratios) if ratios else None,
        "ratio_range": [min(ratios), max(ratios)] if ratios else None,
        "rounds_ms": {name: worker.times for name, worker in workers.items()},
        "missing": missing,
        "versions": {name: worker.version for name, worker in workers.items()},
        "machine": describe(),
    }


def table(found: dict) -> str:
    """The result in Markdown."""
    title = (
        f"{found['model']}, {found['mode']}, batch {found['batch']}, {found['dtype']}"
    )
    lines = [f"**{title}**", "", "| engine | version | ms a step | range | / ours |"]
    lines.append("|---|---|---|---|---|")
    ours = found["rounds_ms"].get(OURS)
    for name, times in found["rounds_ms"].items():
        ratio = "-"
        if ours:
            pairs = zip(times, ours, strict=True)
            ratio = f"{statistics.median(peer / mine for peer, mine in pairs):.2f}"
        lines.append(
            f"| {name} | {found['versions'][name]} | {statistics.median(times):.3f} "
            f"| {min(times):.3f} - {max(times):.3f} | {ratio} |"
        )
    lines += [
        f"| {name} | missing: {why} | | | |" for name, why in found["missing"].items()
    ]
    lines += [
        "",
        f"Other processes used {found['cpu_share_of_others']:.1%} of the CPUs.",
    ]
    if found["cpu_share_of_others"] > BUSY:
        lines.append("That is too much: measure again on an idle machine.")
    return "\n".join(lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", choices=sorted(INPUTS), required=True)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--mode", choices=("train", "infer"), default="train")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument(
        "--peer-python", required=True, help="interpreter with the peers"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.4, help="of one round")
    parser.add_argument(
        "--wait", type=float, default=30, help="seconds to wait for an idle machine"
    )
    parser.add_argument(
        "--json", action="store_true", help="last line: one JSON object"
    )
    return parser.parse_args()


def main() -> int:
    chosen = arguments()
    task = Task(chosen.model, chosen.batch, chosen.mode, chosen.dtype)
    workers, missing = start(task, chosen.peer_python)
    try:
        wait_until_idle(chosen.wait)
        share = measure(workers, chosen.rounds, chosen.seconds)
        found = result(task, workers, missing)
    finally:
        for worker in workers.values():
            worker.stop()
    found["cpu_share_of_others"] = share
    print(table(found))
    if chosen.json:
        print(json.dumps(found))
    return 0 if found["ratio"] is not None else 1


if __name__ == "__main__":
    sys.exit(main())
