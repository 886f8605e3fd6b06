"""What the benchmarks ran on, and who else was running."""

import os
import platform
import re
from pathlib import Path

_FEATURES = (
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "amx_bf16",
    "asimd",
    "sve",
)
_MAKERS = ("amd", "intel", "cpu", "core")


def describe() -> dict[str, object]:
    """Processor, its vector features, usable CPUs, memory and software versions."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    model = re.search(r"model name\s*:\s*(.*)", info)
    flags = re.search(r"(?:flags|Features)\s*:\s*(.*)", info)
    known = set(flags[1].split()) if flags else set()
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": model[1] if model else platform.machine(),
        "features": [name for name in _FEATURES if name in known],
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def name() -> str:
    """A short one for files: "epyc-2cores"."""
    words = re.findall(r"[a-z]\w+", str(describe()["cpu"]).lower())
    model = next((w for w in words if w not in _MAKERS), platform.machine())
    return f"{model}-{len(os.sched_getaffinity(0))}cores"


class Load:
    """CPU time of all processes against that of our own, from construction on.

    Parameters
    ----------
    pids: children that are our own; they may end meanwhile.
    """

    def __init__(self, pids: list[int]) -> None:
        self.pids = pids
        self.start = self._read()

    def others(self) -> float:
        """Share of the machine's CPU time that went to processes not ours."""
        total, busy, own = (
            now - before for now, before in zip(self._read(), self.start, strict=True)
        )
        return max(0.0, busy - own) / max(total, 1)

    def _read(self) -> tuple[int, int, int]:
        """Clock ticks since boot: of all CPUs, of those the busy ones, and our own."""
        line = Path("/proc/stat").read_text(encoding="utf-8").partition("\n")[0]
        ticks = [int(field) for field in line.split()[1:9]]  # user ... steal
        idle = ticks[3] + ticks[4]
        own = sum(_ticks(os.getpid())) + sum(_ticks(pid)[0] for pid in self.pids)
        return sum(ticks), sum(ticks) - idle, own


def _ticks(pid: int) -> tuple[int, int]:
    """Of a process, and of its children that have ended; 0 if it has ended itself."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return 0, 0
    user, system, *ended = map(int, text.rpartition(")")[2].split()[11:15])
    return user + system, sum(ended)
