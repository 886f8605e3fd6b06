"""NumPy's .npz files: arrays of plain numbers, never pickled objects."""

from __future__ import annotations

import io
import math

import numpy as np

from fastconv.errors import FormatError
from fastconv.weights.archive import Archive
from fastconv.weights.stored import checked

__all__ = ["read"]


def read(archive: Archive) -> dict[str, np.ndarray]:
    """The arrays of all entries ``NAME.npy``."""
    names = [name for name in archive.names() if name.endswith(".npy")]
    return {n.removesuffix(".npy"): _array(archive.read(n), n) for n in names}


def _array(data: bytes, name: str) -> np.ndarray:
    """An array whose header says as many bytes as there are."""
    file = io.BytesIO(data)
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0)):
        raise FormatError(f"{name!r}: version {version} of NumPy's format")
    older = version == (1, 0)
    header = (
        np.lib.format.read_array_header_1_0
        if older
        else np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = header(file)
    if dtype.hasobject or dtype.kind not in "biuf":
        raise FormatError(f"{name!r}: expected numbers, received dtype {dtype}")
    count, start = math.prod(checked(shape, name)), file.tell()
    if count * dtype.itemsize != len(data) - start:
        raise FormatError(
            f"{name!r}: its shape {shape} takes {count * dtype.itemsize} bytes, there "
            f"are {len(data) - start}"
        )
    array = np.frombuffer(data, dtype, offset=start)
    return array.reshape(shape, order="F" if fortran else "C")
