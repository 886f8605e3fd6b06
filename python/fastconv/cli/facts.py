"""What is known about this machine and this installation, read and never changed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

__all__ = ["as_text", "machine_facts", "peak_facts"]

_FEATURES = (
    "sse4_2", "avx", "f16c", "fma", "avx2", "avx512f", "avx512bw", "avx512dq",
    "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16",
    "asimd", "sve",
)  # fmt: skip
_EXTRAS = {"image": "PIL", "plot": "matplotlib"}
_OPENMP = re.compile(r"/(lib(?:gomp|iomp5|omp)[^/\s]*\.so[^/\s]*)$")
_GIB = 1 << 30


def machine_facts() -> dict[str, str]:
    """Version, Python, CPU, instruction sets, threads, memory, GPU, extras."""
    import numpy as np

    from fastconv import _core

    return {
        "fastconv": str(_core.__version__),
        "Python": f"{platform.python_implementation()} {platform.python_version()}, "
        f"NumPy {np.__version__}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        **_cpu(),
        "instruction set": _instruction_sets(),
        "threads": f"{_core.thread_count()} ({_core.thread_count_reason()})",
        "memory": _memory(),
        "GPU": _gpu(),
        "CUDA": _cuda(),
        "extras": _extras(),
        "OpenMP runtimes": ", ".join(_openmp_runtimes()) or "none",
    }


def peak_facts(peak: dict[str, float]) -> dict[str, str]:
    """What ``_core.measure_peak`` found, in words.

    >>> facts = peak_facts({"gflops": 99.0, "gbytes_per_second": 20.0, "threads": 2})
    >>> facts["bandwidth"]
    '20.0 GB/s (2 threads)'
    """
    on = f"({peak['threads']} threads)"
    return {
        "peak": f"{peak['gflops']:.1f} GFLOP/s float32 multiply-add {on}",
        "bandwidth": f"{peak['gbytes_per_second']:.1f} GB/s {on}",
    }


def as_text(facts: dict[str, str]) -> str:
    """One line a fact.

    >>> print(as_text({"threads": "2", "GPU": "none"}))
    threads: 2
    GPU:     none
    """
    width = 1 + max(map(len, facts))
    return "\n".join(f"{name + ':':<{width}} {value}" for name, value in facts.items())


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _field(text: str, *names: str) -> str:
    """The value of the first ``name : value`` line."""
    for name in names:
        found = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
        if found:
            return found[1].strip()
    return ""


def _cpu() -> dict[str, str]:
    info = _read("/proc/cpuinfo")
    model = _field(info, "model name", "Model", "CPU part")
    flags = set(_field(info, "flags", "Features").split())
    count = os.cpu_count() or 1
    return {
        "CPU": f"{model or platform.processor() or 'unknown'}, {count} logical cores",
        "CPU features": " ".join(f for f in _FEATURES if f in flags) or "unknown",
    }


def _instruction_sets() -> str:
    from fastconv import _core

    used = _core.active_isa()
    others = [
        name if supported else f"{name} (not on this CPU)"
        for name, _, supported in _core.isas()
        if name != used
    ]
    return f"{used} in use; also built: {', '.join(others) or 'none'}"


def _memory() -> str:
    info = _read("/proc/meminfo")
    sizes = [_field(info, name).split() for name in ("MemTotal", "MemAvailable")]
    if not all(sizes):
        return "unknown"
    total, free = (int(size[0]) * 1024 / _GIB for size in sizes)
    limit = _read("/sys/fs/cgroup/memory.max").strip()
    bound = f", cgroup limit {int(limit) / _GIB:.1f} GiB" if limit.isdigit() else ""
    return f"{total:.1f} GiB, {free:.1f} GiB available{bound}"


def _gpu() -> str:
    driver = _read("/proc/driver/nvidia/version").partition("\n")[0].strip()
    tool = shutil.which("nvidia-smi")
    cards = ""
    if tool:
        fields = "name,memory.total,driver_version"
        query = [f"--query-gpu={fields}", "--format=csv,noheader"]
        try:
            answer = subprocess.run(
                [tool, *query], capture_output=True, text=True, timeout=10, check=False
            )
            cards = "; ".join(answer.stdout.split("\n")).strip("; ")
        except (OSError, subprocess.TimeoutExpired):
            cards = "nvidia-smi does not answer"
    return "; ".join(filter(None, (cards, driver))) or "no NVIDIA GPU or driver found"


def _cuda() -> str:
    from fastconv import config
    from fastconv.errors import DeviceError
    from fastconv.execution.devices import backend_of

    try:
        return (
            f"ready: {backend_of('cuda').detail}; products in "
            f"{config.float32_precision()} (fastconv.config.set_float32_precision)"
        )
    except DeviceError as error:
        return f"not usable: {error}"


def _extras() -> str:
    return ", ".join(
        f"{extra} ({package}) {'yes' if find_spec(package) else 'no'}"
        for extra, package in _EXTRAS.items()
    )


def _openmp_runtimes() -> list[str]:
    """Shared OpenMP libraries mapped into this process; two of them may fight."""
    found = (_OPENMP.search(line) for line in _read("/proc/self/maps").splitlines())
    return sorted({match[1] for match in found if match})
