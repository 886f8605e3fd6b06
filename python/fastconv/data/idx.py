"""IDX files, the format of MNIST: reader for plain and gzip-compressed files.

Layout: two zero bytes, one byte for the type, one for the number of dimensions, each
dimension as a big-endian 32-bit integer, then the elements, big-endian, row-major
(http://yann.lecun.com/exdb/mnist/).
"""

import math
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fastconv.errors import DataError, FormatError

__all__ = ["FILES", "Split", "find_idx", "read_idx", "read_idx_folder", "read_idx_pair"]

Split = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_MAX_DIMENSIONS = 8
_MAX_DEFLATE_RATIO = 1032  # what one compressed byte can become, at most
_CHUNK = 1 << 20


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """The array in an IDX file; compression is recognised by content.

    Sizes in the header are compared with the length of the file before memory is
    taken; of a compressed file no more memory is taken than its content fills.

    Raises:
        FormatError: another format, a truncated or damaged file, or one with bytes
            too many; with what was expected and what came.
        OSError: the file cannot be opened.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "two.idx"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 9]))
    >>> read_idx(path)
    array([7, 9], dtype=uint8)
    """
    import gzip
    import zlib

    path = Path(path)
    with path.open("rb") as file:
        length = os.fstat(file.fileno()).st_size
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if not compressed:
            return _read(file, path, length, exact=True)
        try:
            with gzip.open(file) as inner:
                limit = length * _MAX_DEFLATE_RATIO
                return _read(inner, path, limit, exact=False)  # type: ignore[arg-type]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise FormatError(f"{path}: damaged or truncated gzip: {error}") from error


def _read(file: BinaryIO, path: Path, length: int, exact: bool) -> np.ndarray:
    """``length`` is that of the content, or its upper bound if not exact."""
    dtype, shape = _header(file, path)
    header = 4 + 4 * len(shape)
    expected = math.prod(shape) * dtype.itemsize
    if length < header + expected or (exact and length != header + expected):
        raise FormatError(
            f"{path}: the header says {shape} of {dtype}, expected {expected} bytes "
            f"after it, got {'' if exact else 'at most '}{length - header}"
        )
    content = bytearray()
    while len(content) <= expected:
        chunk = file.read(min(_CHUNK, expected + 1 - len(content)))
        if not chunk:
            break
        content += chunk
    if len(content) != expected:
        more = "more" if len(content) > expected else str(len(content))
        raise FormatError(
            f"{path}: the header says {shape} of {dtype}, expected {expected} bytes "
            f"after it, got {more}"
        )
    array = np.frombuffer(content, dtype=dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _header(file: BinaryIO, path: Path) -> tuple[np.dtype, tuple[int, ...]]:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES:
        raise FormatError(
            f"{path}: no IDX file: expected the first bytes 00 00, a type "
            f"({', '.join(f'{t:02x}' for t in _TYPES)}) and the number of dimensions, "
            f"got {magic.hex(' ') or 'nothing'}"
        )
    if not 1 <= magic[3] <= _MAX_DIMENSIONS:
        raise FormatError(
            f"{path}: expected 1 to {_MAX_DIMENSIONS} dimensions, got {magic[3]}"
        )
    sizes = file.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise FormatError(
            f"{path}: expected a header of {4 + 4 * magic[3]} bytes, "
            f"got {4 + len(sizes)}: the file is truncated"
        )
    shape = tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4"))
    return np.dtype(_TYPES[magic[2]]), shape


def read_idx_pair(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, H, W) as stored, and labels (N,) as int64, from two IDX files.

    Raises:
        FormatError: a file is damaged, has the wrong number of dimensions, or the
            files hold different numbers of samples.
    """
    x, y = read_idx(images), read_idx(labels)
    for path, array, ndim in ((images, x, 3), (labels, y, 1)):
        if array.ndim != ndim:
            raise FormatError(
                f"{path}: expected {ndim} dimension(s), got shape {array.shape}"
            )
    if y.dtype.kind not in "iu":
        raise FormatError(f"{labels}: expected integers, got {y.dtype}")
    if len(x) != len(y):
        raise FormatError(
            f"{images} holds {len(x)} images but {labels} holds {len(y)} labels; "
            "expected as many labels as images"
        )
    return x, y.astype(np.int64)


def find_idx(folder: Path, name: str) -> Path | None:
    """The file ``name`` in the folder, also with ``.gz`` or a dot before ``idx``."""
    for spelling in (name, name.replace("-idx", ".idx")):
        for suffix in ("", ".gz"):
            path = folder / (spelling + suffix)
            if path.is_file():
                return path
    return None


def read_idx_folder(folder: str | os.PathLike[str]) -> Split:
    """``(x_train, y_train), (x_test, y_test)`` from the four files of MNIST.

    Raises:
        DataError: a file is missing; the message says which.
        FormatError: a file is damaged, or does not fit its twin.
    """
    found: list[Path] = []
    for name in FILES:
        path = find_idx(Path(folder), name)
        if path is None:
            raise DataError(f"{folder}: found no {name}, plain or with .gz")
        found.append(path)
    return read_idx_pair(found[0], found[1]), read_idx_pair(found[2], found[3])
