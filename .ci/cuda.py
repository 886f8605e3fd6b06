"""Compiles all kernels for every target, and checks what the compiler made of them.

`python .ci/cuda.py [--write]`: fails on a warning, on registers that go to memory, on
local memory, on remarks that serialise matrix instructions (C75..), and on a file whose
dearest kernel takes more registers than cuda_budgets.txt says; --write changes that.
Without nvcc nothing is checked.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUDGETS = Path(__file__).with_name("cuda_budgets.txt")
TARGETS = ("80", "90a", "120")
FLAGS = (
    "-std=c++20 --extended-lambda --expt-relaxed-constexpr -Werror all-warnings "
    "-DFASTCONV_SM90A "
    f"-Xptxas -v,-warn-spills,-warn-lmem-usage -I{ROOT / 'include'}"
).split()
ARCHITECTURES = [f"-gencode=arch=compute_{t},code=sm_{t}" for t in TARGETS]


def compile_file(nvcc: str, source: Path, folder: str) -> tuple[str, int, str]:
    """Name, registers of the dearest kernel, and faults of one file."""
    target = str(Path(folder) / f"{source.stem}.o")
    extra = ["-fmad=false"] if source.name == "random.cu" else []
    command = [nvcc, *FLAGS, *ARCHITECTURES, *extra, "-c", str(source), "-o", target]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    faults = [] if done.returncode == 0 else [said[-4000:]]
    faults += re.findall(r".*\bC75\d\d\b.*", said)
    faults += re.findall(r".*\b[1-9]\d* bytes stack frame.*", said)
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", said)]
    return source.name, max(registers, default=0), "\n".join(faults)


def read_budgets() -> dict[str, int]:
    """Registers by file."""
    lines = BUDGETS.read_text().splitlines()
    return {name: int(count) for name, count in map(str.split, lines)}


def main() -> int:
    """Compiles, and prints a line a file."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        print("nvcc not found: CUDA sources are not compiled here")
        return 0
    sources = sorted((ROOT / "src" / "cuda").glob("*.cu"))
    start = time.monotonic()
    with (
        tempfile.TemporaryDirectory() as folder,
        ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool,
    ):
        made = list(pool.map(lambda s: compile_file(nvcc, s, folder), sources))
    if "--write" in sys.argv:
        BUDGETS.write_text("".join(f"{name} {count}\n" for name, count, _ in made))
    budgets = read_budgets()
    failed = False
    for name, count, faults in made:
        budget = budgets.pop(name, -1)
        print(f"{name}: {count} registers of {budget}")
        if count > budget or faults:
            failed = True
            print("FAILED", faults, sep="\n")
    for name in budgets:
        print(f"{name}: has a budget, and is not there")
    seconds = time.monotonic() - start
    print(f"{len(made)} files, {len(TARGETS)} targets: {seconds:.0f} s")
    return int(failed or bool(budgets))


if __name__ == "__main__":
    sys.exit(main())
