"""The processes in which the libraries run, and the rounds that go through them."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from machine import Load
from peer_models.task import Task

OURS = "fastconv"
BUSY = 0.05  # share of the CPUs that others use, above which times mean little
PAUSE = 0.25  # seconds in which the threads of the last library stop spinning
ROOM = 1.3  # of the largest process so far, free memory for another one
SLOWER = 1.5  # a mode so much slower than another of its library is left out
WORKER = Path(__file__).with_name("peer_worker.py")
# By default glibc unmaps every large buffer, and page faults then hide the kernels.
KEEP_MEMORY = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(1 << 36)}
# What limits the instruction sets of each library that can be limited.
LIMITS = {
    "avx2": {
        "FASTCONV_ISA": "avx2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    }
}


@dataclass(frozen=True)
class Engine:
    """A library in one of its useful modes."""

    name: str
    module: str
    variant: str = ""
    keep_memory: bool = False
    trains: bool = True

    @property
    def ours(self) -> bool:
        return self.name.startswith(OURS)

    @property
    def obeys_limits(self) -> bool:
        return self.module in ("fastconv_models", "torch_models")


ENGINES = (  # in the order in which they start: for the last, memory may lack
    Engine(OURS, "fastconv_models"),
    Engine(f"{OURS} float32", "fastconv_models", "float32", trains=False),
    Engine("onnxruntime", "onnx_models", "onnxruntime", trains=False),
    Engine("openvino", "onnx_models", "openvino", trains=False),
    Engine("tensorflow", "tensorflow_models"),
    Engine(
        "pytorch channels_last, tuned malloc", "torch_models", "channels_last", True
    ),
    Engine("pytorch contiguous, tuned malloc", "torch_models", "contiguous", True),
    Engine("pytorch channels_last", "torch_models", "channels_last"),
    Engine("pytorch contiguous", "torch_models", "contiguous"),
)


@dataclass(frozen=True)
class Setting:
    """What holds for all libraries."""

    peer_python: str
    threads: int = 0  # 0: all CPUs
    isa: str = ""  # "": what the machine has

    def environment(self, engine: Engine) -> dict[str, str]:
        found = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="3")
        found |= LIMITS.get(self.isa, {}) | (KEEP_MEMORY if engine.keep_memory else {})
        if self.threads:
            found["OMP_NUM_THREADS"] = str(self.threads)
        return found

    def python(self, engine: Engine) -> str:
        return sys.executable if engine.ours else self.peer_python


class MissingError(Exception):
    """A library that is absent, or cannot run the task; says why."""


class Process:
    """A child that answers a line with a line of JSON, after a first one of its own."""

    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115  (stop closes it)
        try:
            self.process = subprocess.Popen(
                command, env=environment, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            )  # fmt: skip
        except OSError as error:
            self.log.close()
            raise MissingError(f"its interpreter: {error.strerror}") from None
        self.first = self._answer()

    def ask(self, command: str) -> dict:
        with contextlib.suppress(BrokenPipeError):  # the answer tells why
            self.process.stdin.write(f"{command}\n")
            self.process.stdin.flush()
        return self._answer()

    def stop(self) -> None:
        self.process.kill()
        with contextlib.suppress(BrokenPipeError):
            self.process.communicate()
        self.log.close()

    def _answer(self) -> dict:
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        reason = _last_line(self.log, self.process.wait())
        self.stop()
        raise MissingError(reason)


class Worker(Process):
    """A library in its process, with the milliseconds of its rounds."""

    def __init__(self, engine: Engine, task: Task, setting: Setting) -> None:
        self.engine = engine
        self.times: list[float] = []
        task = replace(task, variant=engine.variant, threads=setting.threads)
        order = {"module": engine.module, "task": asdict(task)}
        command = [setting.python(engine), str(WORKER), json.dumps(order)]
        super().__init__(command, setting.environment(engine))


def _last_line(log, code: int) -> str:
    log.seek(0)
    lines = log.read().strip().splitlines()
    return lines[-1] if lines else f"exit code {code}"


def export(task: Task, setting: Setting) -> None:
    """Writes the ONNX graph of the task to its path; raises MissingError."""
    order = {"module": "torch_models", "task": asdict(task), "export": True}
    with tempfile.TemporaryFile("w+") as log:
        command = [setting.peer_python, str(WORKER), json.dumps(order)]
        try:
            code = subprocess.call(command, stdout=log, stderr=log)
        except OSError as error:
            raise MissingError(f"its interpreter: {error.strerror}") from None
        if code:
            raise MissingError(f"no ONNX graph: {_last_line(log, code)}")


class Run:
    """All libraries at one task: those that work, and why the others do not.

    Attributes
    ----------
    workers: by the engine's name.
    missing: the engine's name, and why it is not there or stopped.
    left_out: modes that were too slow, and their milliseconds while warming up.
    """

    def __init__(self, task: Task, setting: Setting, engines: list[Engine]) -> None:
        self.task, self.setting = task, setting
        self.workers: dict[str, Worker] = {}
        self.missing: dict[str, str] = {}
        self.left_out: dict[str, float] = {}
        for engine in engines:
            if setting.isa and not engine.obeys_limits:
                self.missing[engine.name] = f"cannot be limited to {setting.isa}"
            else:
                self._start(engine)

    def _start(self, engine: Engine) -> None:
        most = max((w.first["resident_mib"] for w in self.workers.values()), default=0)
        if memory_left() < ROOM * most:
            self.missing[engine.name] = "no memory beside the others"
            return
        try:
            self.workers[engine.name] = Worker(engine, self.task, self.setting)
        except MissingError as error:
            self.missing[engine.name] = str(error)
            return
        modes = [w for w in self.workers.values() if w.engine.module == engine.module]
        if engine.module == "onnx_models":  # two libraries, not two modes of one
            return
        limit = SLOWER * min(worker.first["warm_ms"] for worker in modes)
        for worker in modes:
            if worker.first["warm_ms"] > limit:
                self.left_out[worker.engine.name] = worker.first["warm_ms"]
                self.workers.pop(worker.engine.name).stop()

    def rounds(self, budget: float, seconds: float, fewest: int, most: int) -> float:
        """Measures; the share of the CPUs that other processes used meanwhile.

        As many rounds as fit into ``budget`` seconds, from ``fewest`` to ``most``. A
        library that dies on the way is missing in the result.
        """
        one = sum(
            PAUSE + max(seconds, worker.first["warm_ms"] / 1e3)
            for worker in self.workers.values()
        )
        load = Load(self.pids())
        for _ in range(max(fewest, min(most, int(budget / max(one, 1e-3))))):
            for name, worker in list(self.workers.items()):
                time.sleep(PAUSE)
                try:
                    worker.times.append(worker.ask(f"round {seconds}")["ms"])
                except MissingError as error:
                    self.missing[name] = str(error)
                    del self.workers[name]
        return load.others()

    def pids(self) -> list[int]:
        return [worker.process.pid for worker in self.workers.values()]

    def stop(self) -> None:
        for worker in self.workers.values():
            worker.stop()


def memory_left() -> float:
    """MiB that a new process can have."""
    text = Path("/proc/meminfo").read_text(encoding="utf-8")
    return int(re.search(r"MemAvailable:\s*(\d+)", text)[1]) / 1024


def wait_until_idle(limit: float, pids: Iterable[int] = ()) -> None:
    """Returns when processes but `pids` are quiet, or after `limit` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        load = Load([*pids])
        time.sleep(1)
        if load.others() < BUSY:
            return
