"""A .npy file that grows by rows, of which memory holds none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from fastconv.errors import DataError, ShapeError
from fastconv.io import atomic

__all__ = ["Rows", "writing"]


class Rows:
    """Takes arrays (n, ...), which become one array, one after the other."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._dtype: np.dtype | None = None
        self._shape: tuple[int, ...] = ()
        self.count = 0

    def add(self, rows: np.ndarray) -> None:
        """Writes rows; the first ones say dtype and shape of all.

        Raises
        ------
        ShapeError if rows differ from those before.
        """
        if self._dtype is None:
            self._dtype, self._shape = rows.dtype, rows.shape[1:]
            self._header()
        if (rows.dtype, rows.shape[1:]) != (self._dtype, self._shape):
            raise ShapeError(
                f"rows of a file: expected {self._dtype}{list(self._shape)} as those "
                f"before, received {rows.dtype}{list(rows.shape[1:])}"
            )
        self._file.write(np.ascontiguousarray(rows).data)
        self.count += len(rows)

    def finish(self) -> None:
        """Writes how many there are.

        Raises
        ------
        DataError for none.
        """
        if not self.count:
            raise DataError("rows of a file: expected one or more, received none")
        self._file.seek(0)
        self._header()

    def _header(self) -> None:
        """Of one length for any number of rows: NumPy leaves room for it."""
        assert self._dtype is not None
        header = {
            "descr": np.lib.format.dtype_to_descr(self._dtype),
            "fortran_order": False,
            "shape": (self.count, *self._shape),
        }
        np.lib.format.write_array_header_1_0(self._file, header)


@contextlib.contextmanager
def writing(path: str | os.PathLike[str]) -> Iterator[Rows]:
    """`Rows` for a file, which is there after the with block, or after an error not."""
    with atomic.replacing(path) as file:
        rows = Rows(file)
        yield rows
        rows.finish()
