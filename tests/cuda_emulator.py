"""Builds the CUDA backend for the CPU: with g++, and the emulator of src/cuda."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "src" / "cuda"
BUILD = ROOT / "build" / "emulator"
ON_GPUS_ALONE = ("cuda_backend", "hopper_map")
# -ffp-contract=off: sums round as written, so that they are the same everywhere.
# -fno-strict-aliasing: kernels move elements of any type in words, as on a GPU.
FLAGS = (
    "-std=c++20 -O2 -fno-strict-aliasing -fPIC -fvisibility=hidden "
    "-ffp-contract=off -DFASTCONV_EMULATED "
    f"-Wall -Wextra -Werror -Wno-unknown-pragmas -I{ROOT / 'include'} -I{SOURCES}"
).split()


def library(*sources: Path) -> Path:
    """The backend's library; made once for each state of the sources.

    sources: files to take instead of the kernels, beside the emulator.
    """
    compiler = shutil.which("g++")
    if compiler is None or not SOURCES.exists():
        pytest.skip("needs g++ and the source tree")
    launcher = shutil.which("ccache")
    command = [*([launcher] if launcher else []), compiler, *FLAGS]
    kernels = [p for p in SOURCES.glob("*.cu") if p.stem not in ON_GPUS_ALONE]
    units = sorted([*(sources or kernels), *SOURCES.glob("emulator*.cpp")])
    name = sources[0].stem if sources else "fastconv_emulated"
    made = BUILD / _digest(units) / f"lib{name}.so"
    if made.exists():
        return made
    made.parent.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        objects = list(pool.map(lambda u: _object(command, u, made.parent), units))
    unfinished = made.with_suffix(f".{os.getpid()}")
    _run([compiler, "-shared", *map(str, objects), "-o", str(unfinished)])
    unfinished.replace(made)
    return made


def environment(path: Path) -> dict[str, str]:
    """The environment of a process whose device "cuda" is the emulator."""
    return {**os.environ, "FASTCONV_CUDA_LIBRARY": str(path)}


def _object(command: list[str], unit: Path, folder: Path) -> Path:
    target = folder / f"{unit.stem}.{os.getpid()}.o"
    _run([*command, "-x", "c++", "-c", str(unit), "-o", str(target)])
    return target


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-8000:]


def _digest(units: list[Path]) -> str:
    """Of all that the library is made of."""
    headers = [*SOURCES.glob("*.h"), *(ROOT / "include").rglob("*.h")]
    state = hashlib.sha256(" ".join(FLAGS).encode())
    for path in [*units, *sorted(headers), ROOT / "src" / "cpu" / "convert.h"]:
        state.update(path.name.encode() + path.read_bytes())
    return state.hexdigest()[:16]
