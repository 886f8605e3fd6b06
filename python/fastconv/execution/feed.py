"""What a plan takes from NumPy."""

from __future__ import annotations

import numpy as np

from fastconv.errors import DataError
from fastconv.graph.ir import DTYPES

_READY = {np.dtype(name) for name in ("float32", "uint8", "int64", "int32", "bool")}


def check_feed(name: str, array: np.ndarray, wide: bool = False) -> np.ndarray:
    """The array as a plan takes it: C-contiguous, aligned, of a dtype that there is.

    wide: keep float64 as it is.
    """
    if array.dtype in _READY and array.flags.c_contiguous and array.flags.aligned:
        return array
    kind, size = array.dtype.kind, array.dtype.itemsize
    if kind not in "fiub":
        raise DataError(f"{name}: expected an array of numbers, received {array.dtype}")
    dtype = array.dtype.newbyteorder("=")
    if kind == "f" and size >= 8:
        dtype = np.dtype("float64" if wide else "float32")
    elif dtype.name not in DTYPES:
        dtype = np.dtype("int64")
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])
