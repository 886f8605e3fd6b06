"""Checks what an sdist and a wheel hold: `packages.py SDIST WHEEL`."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

MAX_WHEEL_BYTES = 6 << 20  # without the CUDA backend
MAX_CUDA_WHEEL_BYTES = 20 << 20
CUDA_LIBRARY, MAX_CUDA_BYTES = "fastconv/libfastconv_cuda.so", 12 << 20
WHEEL_HOLDS = (
    "fastconv/include/fastconv/plan.h",
    "fastconv/include/fastconv/op.h",
    "fastconv/cmake/fastconvConfig.cmake",
    "fastconv/cmake/fastconvConfigVersion.cmake",
    "fastconv/cmake/fastconvTargets.cmake",
    "fastconv/libfastconv.so",
    "fastconv/_core.pyi",
    "fastconv/py.typed",
    "fastconv/data/digits.npz",
    "fastconv/data/digits.LICENSE.txt",
)
# What the build and the tests of an sdist need.
SDIST_FOLDERS = ("cmake", "include", "python", "src", "tests", "examples")


def missing_in_wheel(path: Path) -> list[str]:
    """Faults of the wheel."""
    sizes = {f.filename: f.file_size for f in zipfile.ZipFile(path).filelist}
    names = list(sizes)
    faults = [f"the wheel lacks {name}" for name in WHEEL_HOLDS if name not in names]
    if not any(name.endswith("licenses/LICENSE") for name in names):
        faults.append("the wheel lacks LICENSE")
    cuda = sizes.get(CUDA_LIBRARY, 0)
    if cuda > MAX_CUDA_BYTES:
        faults.append(f"{CUDA_LIBRARY} has {cuda} bytes > {MAX_CUDA_BYTES}")
    most = MAX_CUDA_WHEEL_BYTES if cuda else MAX_WHEEL_BYTES
    if path.stat().st_size > most:
        faults.append(f"the wheel has {path.stat().st_size} bytes > {most}")
    print(f"{path.name}: {path.stat().st_size / 2**20:.2f} MiB, {len(names)} files")
    return faults


def missing_in_sdist(path: Path) -> list[str]:
    """Faults of the sdist: tracked files of the folders above that it lacks."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    listed = subprocess.run(
        ["git", "ls-files", "-z", "*.toml", "CMakeLists.txt", *SDIST_FOLDERS],
        capture_output=True, check=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    print(f"{path.name}: {path.stat().st_size / 2**20:.2f} MiB, {len(names)} files")
    return [f"the sdist lacks {name}" for name in listed if name and name not in names]


if __name__ == "__main__":
    sdist, wheel = map(Path, sys.argv[1:])
    found = missing_in_sdist(sdist) + missing_in_wheel(wheel)
    print("\n".join(found) or "packages: complete")
    sys.exit(bool(found))
