"""Devices by name: the CPU, interpreters of graphs, GPUs (opened on demand)."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import _core, config
from fastconv.errors import DeviceError, FastconvWarning
from fastconv.graph.ir import Graph

# What the NVIDIA driver makes, natively and in WSL.
DRIVER_FILES = ("/dev/nvidiactl", "/dev/dxg")

Runner = Callable[[Graph, Sequence[np.ndarray]], list[np.ndarray]]
INTERPRETERS: dict[str, Runner] = {}


def register_backend(name: str, run: Runner) -> None:
    """Adds a device that interprets graphs."""
    INTERPRETERS[name] = run


def has_plans(device: str) -> bool:
    """Whether a device runs plans, or interprets graphs."""
    return device not in INTERPRETERS


def resolve_device(device: str) -> str:
    """The name of the device behind a device string, of which there may be several.

    "auto" is "cuda" where there is a GPU that can be used, else "cpu"; "cuda:0" is
    "cuda". Others are "cpu", "cuda:1" and so on, and "reference".

    Raises
    ------
    DeviceError for an unknown name, or a GPU that cannot be used.
    """
    if device == "auto":
        return "cuda" if has_gpu() else "cpu"
    if device == "cpu" or device in INTERPRETERS:
        return device
    gpu = re.fullmatch(r"cuda(?::(\d{1,3}))?", str(device))
    if gpu is None:
        known = ", ".join(["auto", "cpu", "cuda", "cuda:1", *INTERPRETERS])
        raise DeviceError(f"expected a device of {known}; received {device!r}")
    index = int(gpu[1] or 0)
    name = f"cuda:{index}" if index else "cuda"
    backend_of(name)
    return name


def backend_of(device: str) -> _core.Backend:
    """The backend that runs plans on a device of `resolve_device`."""
    if device == "cpu":
        return _core.backend(device)
    library = gpu_library()
    if library is None:
        raise DeviceError(
            f"device {device!r}: this installation of fastconv has no CUDA backend; it "
            "is built where nvcc is found"
        )
    try:
        return _core.load_backend(str(library), int(device.partition(":")[2] or 0))
    except DeviceError as error:
        raise DeviceError(f"device {device!r}: {error}") from None


def gpu_library() -> Path | None:
    """The library of the CUDA backend, or None if there is none."""
    named = config.setting("cuda_library")
    library = Path(named or Path(_core.__file__).with_name("libfastconv_cuda.so"))
    return library if library.exists() else None


@functools.cache
def has_gpu() -> bool:
    """Whether "auto" takes a GPU; warns, once, where there is one that cannot be used.

    Nothing of CUDA is opened where there is no driver or no library.
    """
    if not any(map(Path.exists, map(Path, DRIVER_FILES))) or gpu_library() is None:
        return False
    try:
        backend_of("cuda")
    except DeviceError as error:
        warnings.warn(f"{error}; the CPU is used", FastconvWarning, stacklevel=3)
        return False
    return True


def arena_of(device: str) -> Any:
    """A new arena on a device; None if plans do not run there."""
    return _core.Arena(backend_of(device)) if has_plans(device) else None
