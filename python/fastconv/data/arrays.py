"""Arrays in ``.npy`` and ``.npz`` files; never a pickle."""

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fastconv.data.idx import Split
from fastconv.errors import DataError, FormatError

if TYPE_CHECKING:
    import zipfile

__all__ = ["load_arrays", "load_split"]

_SPLIT_KEYS = ("x_train", "y_train", "x_test", "y_test")
_MAX_DEFLATE_RATIO = 1032  # what one compressed byte can become, at most


def load_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file by name, or ``{"x": array}`` of an ``.npy`` file.

    An ``.npz`` file must hold ``x_train, y_train, x_test, y_test``, or ``x`` and
    perhaps ``y``; other arrays in it are left unread. An ``.npy`` file is mapped, not
    read. The size that each header states is compared with the length of the file
    before memory is taken. Objects (pickles) are refused.

    Raises:
        DataError: there is no such file.
        FormatError: another format, other names, a pickle, a truncated or damaged file.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "data.npz"
    >>> np.savez(path, x=np.zeros((2, 3)), y=np.arange(2))
    >>> {name: array.shape for name, array in load_arrays(path).items()}
    {'x': (2, 3), 'y': (2,)}
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        if path.suffix == ".npy":
            return {"x": _load_npy(path)}
        return _load_npz(path)
    except FormatError:
        raise
    except (ValueError, EOFError, SyntaxError, RuntimeError, NotImplementedError) as e:
        raise FormatError(f"{path}: cannot be read as arrays: {e}") from e


def _load_npy(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        count = _check_header(file, os.fstat(file.fileno()).st_size, str(path))
    mode: Any = "r" if count else None  # an empty file part cannot be mapped
    array: np.ndarray = np.load(path, mmap_mode=mode, allow_pickle=False)
    return array


def _load_npz(path: Path) -> dict[str, np.ndarray]:
    import zipfile
    import zlib

    try:
        with zipfile.ZipFile(path) as archive:
            names = _wanted(archive.namelist(), path)
            for name in names:
                _check_member(archive, f"{name}.npy", path)
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (zipfile.BadZipFile, zlib.error) as error:
        raise FormatError(f"{path}: damaged or no .npz file: {error}") from error


def _wanted(members: list[str], path: Path) -> tuple[str, ...]:
    for names in (_SPLIT_KEYS, ("x", "y"), ("x",)):
        if all(f"{name}.npy" in members for name in names):
            return names
    raise FormatError(
        f"{path}: expected the arrays x_train, y_train, x_test, y_test, or x and y; "
        f"got {', '.join(sorted(members)) or 'none'}"
    )


def _check_member(archive: "zipfile.ZipFile", name: str, path: Path) -> None:
    import zipfile

    info = archive.getinfo(name)
    stored = info.compress_type == zipfile.ZIP_STORED
    if not stored and info.compress_type != zipfile.ZIP_DEFLATED:
        raise FormatError(f"{path}: {name}: expected plain or deflate compression")
    limit = min(info.compress_size, path.stat().st_size)
    limit *= 1 if stored else _MAX_DEFLATE_RATIO
    if info.file_size > limit:
        raise FormatError(
            f"{path}: {name}: expected at most {limit} bytes from what is stored, "
            f"got {info.file_size} in the table of contents"
        )
    with archive.open(name) as file:
        _check_header(file, info.file_size, f"{path}: {name}")  # type: ignore[arg-type]


def _check_header(file: BinaryIO, length: int, where: str) -> int:
    """Compare the header of an npy stream with its length; give the element count."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise FormatError(f"{where}: expected npy version 1 or 2, got {version}")
    shape, _, dtype = readers[version](file)
    if dtype.hasobject:
        raise FormatError(f"{where}: expected numbers, got objects (a pickle): refused")
    count = math.prod(shape)
    expected = file.tell() + count * dtype.itemsize
    if min(shape, default=0) < 0 or expected != length:
        raise FormatError(
            f"{where}: the header says {shape} of {dtype}, expected {expected} bytes "
            f"in all, got {length}"
        )
    return count


def load_split(path: str | os.PathLike[str]) -> Split:
    """``(x_train, y_train), (x_test, y_test)`` from an ``.npz`` file.

    Raises:
        DataError: there is no such file.
        FormatError: the file cannot be read or lacks one of the four arrays.
    """
    arrays = load_arrays(path)
    if "x_train" not in arrays:
        raise FormatError(
            f"{path}: expected the arrays {', '.join(_SPLIT_KEYS)}, "
            f"got {', '.join(arrays)}"
        )
    x_train, y_train, x_test, y_test = (arrays[key] for key in _SPLIT_KEYS)
    return (x_train, y_train), (x_test, y_test)
