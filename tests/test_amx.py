"""The kernels for AMX on any CPU with AVX512-BF16: with models of its instructions."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastconv import _core

HERE = Path(__file__).parent
ROOT = HERE.parent
SOURCES = ROOT / "src" / "cpu"
LIBRARY = Path(_core.__file__).with_name("libfastconv.so")
FLAGS = (
    "-std=gnu++20 -O2 -fPIC -fopenmp -march=x86-64-v4 -mprefer-vector-width=512 "
    "-mavx512vnni -mavx512bf16 -fno-math-errno -fno-trapping-math -ffp-contract=off "
    "-fwrapv -Wall -Wextra -Wpedantic -Wno-psabi -Werror -DFASTCONV_EMULATED "
    "-DFASTCONV_ISA=amx_emulated -DFASTCONV_LANES=16 "
    f"-I{ROOT / 'include'} -I{ROOT / 'src'}"
).split()
FILES = ["test_op_conv_bfloat16.py", "test_op_gemm.py", "test_op_quantized.py"]


def run(command: list[str], **environment: str) -> str:
    done = subprocess.run(
        command, env={**os.environ, **environment}, cwd=ROOT, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout


@pytest.fixture(scope="module")
def emulated(tmp_path_factory) -> Path:
    """A library whose device "cuda" is the CPU with emulated AMX."""
    compiler = shutil.which("g++")
    if compiler is None or not SOURCES.exists():
        pytest.skip("needs g++ and the source tree")
    if not any(n == "avx512_bf16" and has for n, _, has in _core.isas()):
        pytest.skip("needs a CPU with AVX512-BF16")
    folder = tmp_path_factory.mktemp("amx")
    cmake = (SOURCES / "CMakeLists.txt").read_text(encoding="utf-8")
    listed = re.search(r"set\(AMX_FILES(.*?)\)", cmake, re.S)
    units = [HERE / "amx_emulated.cpp", *(SOURCES / file for file in listed[1].split())]
    launcher = [found] if (found := shutil.which("ccache")) else []

    def compiled(unit: Path) -> str:
        made = str(folder / f"{unit.stem}.o")
        run([*launcher, compiler, *FLAGS, "-c", str(unit), "-o", made])
        return made

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        objects = list(pool.map(compiled, units))
    library = folder / "libfastconv_amx.so"
    path = f"-Wl,-rpath,{LIBRARY.parent}"
    run([compiler, "-shared", *objects, str(LIBRARY), path, "-o", str(library)])
    return library


@pytest.mark.parametrize("file", FILES)
def test_products_on_emulated_tiles(emulated, file):
    options = ("-q", "-x", "-p", "no:cacheprovider", "-k", "cuda")
    command = [sys.executable, "-m", "pytest", *options, str(HERE / file)]
    out = run(command, FASTCONV_CUDA_LIBRARY=str(emulated))
    assert " passed" in out
