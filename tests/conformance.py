"""Whether instructions of GPUs do what the emulator's models of them do.

    python tests/conformance.py [--gpu] [--write] [--json FILE]

Runs every case of conformance.cu, in the emulator or, with --gpu (it needs nvcc), on
the GPU of this machine, and compares it with conformance.json. That holds of each case
how many words come out, their digest, and what made them; --write makes it anew.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
GOLDEN = HERE / "conformance.json"
MOST_WORDS = 128 * 64
CASES = (
    "copies", "matrices", "matrices, transposed", "product of a warp",
    "product of a warp, TF32", "product of a warp, float16", "rounding",
    "rounding to float16",
    "box", "windows", "product of a group, 64", "product of a group, 64, a turned",
    "product of a group, 64, b turned", "product of a group, 128",
    "product of a group, 128, both turned", "product of a group, 64, float16",
    "product of a group, 128, float16",
)  # fmt: skip
VERSION = 5  # kDeviceVersion


def emulated() -> Path:
    """The cases in the emulator, as a library."""
    sys.path.insert(0, str(HERE))
    import cuda_emulator

    return cuda_emulator.library(HERE / "conformance.cu")


def compiled(folder: str) -> Path:
    """The cases for the GPU of this machine."""
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    found = subprocess.run(query, check=True, capture_output=True, text=True).stdout
    target = found.split()[0].replace(".", "")
    hopper = target == "90"
    target += "a" * hopper
    sources = HERE.parent / "src" / "cuda"
    made = Path(folder) / "conformance.so"
    units = [
        HERE / "conformance.cu", sources / "cuda_backend.cu", sources / "hopper_map.cu"
    ]  # fmt: skip
    subprocess.run(
        [
            "nvcc", "-shared", "-Xcompiler", "-fPIC", "-std=c++20", "-O2",
            "--extended-lambda", "--expt-relaxed-constexpr", "-cudart", "static",
            f"-gencode=arch=compute_{target},code=sm_{target}",
            *["-DFASTCONV_SM90A"] * hopper, f"-I{HERE.parent / 'include'}",
            f"-I{sources}", *map(str, units), "-o", str(made),
        ],
        check=True,
    )  # fmt: skip
    return made


def run(path: Path) -> dict[str, dict[str, Any]]:
    """Of each case that the device can run, the number of words and their digest."""
    library = ctypes.CDLL(str(path))
    library.fastconv_backend.restype = ctypes.c_void_p
    library.conformance.restype = ctypes.c_int64
    reason = ctypes.c_char_p()
    backend = library.fastconv_backend(VERSION, 0, ctypes.byref(reason))
    assert backend, reason.value
    out = np.zeros(MOST_WORDS, np.uint32)
    address = out.ctypes.data_as(ctypes.c_void_p)
    found = {}
    for case in CASES:
        words = library.conformance(ctypes.c_void_p(backend), case.encode(), address)
        digest = hashlib.sha256(out[: max(words, 0)].tobytes()).hexdigest()
        if words:
            found[case] = {"words": words, "sha256": digest}
    return found


def differences(found: dict[str, Any], golden: dict[str, Any]) -> list[str]:
    """The cases that do something else."""
    return [case for case in found if found[case] != golden["cases"][case]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = run(compiled(folder) if chosen.gpu else emulated())
    made_by = "a GPU" if chosen.gpu else "the emulator"
    if chosen.write:
        text = json.dumps({"made by": made_by, "cases": found}, indent=1)
        GOLDEN.write_text(text + "\n", "utf-8")
    wrong = differences(found, json.loads(GOLDEN.read_text("utf-8")))
    print(f"{len(found)} cases on {made_by}; otherwise: {', '.join(wrong) or 'none'}")
    if chosen.json:
        facts = {"device": made_by, "cases": found, "wrong": wrong}
        chosen.json.write_text(json.dumps(facts, indent=1), "utf-8")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
