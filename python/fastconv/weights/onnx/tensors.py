"""Arrays as ONNX stores them: in the file, in several ways, or in a file beside."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np

from fastconv.errors import FormatError
from fastconv.weights.onnx import proto
from fastconv.weights.stored import checked, widened

__all__ = ["from_array", "to_array"]

_FIELDS = {
    "float32": "float_data", "float64": "double_data", "int64": "int64_data",
    "uint32": "uint64_data", "uint64": "uint64_data",
}  # fmt: skip


def from_array(array: np.ndarray, name: str = "") -> proto.Tensor:
    """An array as a message."""
    raw = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return proto.Tensor(
        dims=list(array.shape),
        data_type=proto.TYPE_NUMBERS[array.dtype.name],
        name=name,
        raw_data=raw.reshape(-1).view(np.uint8).data,
    )


def to_array(tensor: proto.Tensor, folder: Path | None) -> np.ndarray:
    """The array of a message.

    Parameters
    ----------
    folder: where the file lies; arrays outside the file are read from it, and from no
        other place. None refuses them.

    Raises
    ------
    FormatError if the numbers are not as many as the shape says, the dtype is not
    known, or the path of a file leaves the folder.
    """
    what = f"initializer {tensor.name!r:.80}"
    shape = checked(tensor.dims, what)
    kind = tensor.data_type
    dtype = "uint16" if kind == proto.BFLOAT16 else proto.DTYPES.get(kind)
    if dtype is None or tensor.segment:
        raise FormatError(f"{what}: element type {kind}, or a part, is not supported")
    size = prod(shape)
    if tensor.data_location:
        array = _outside(tensor, what, size, dtype, folder)
    elif len(tensor.raw_data) or size == 0:
        array = _raw(tensor, what, size, dtype)
    else:
        array = _listed(tensor, what, size, dtype)
    if kind == proto.BFLOAT16:
        array = widened(array.tobytes())
    return array.reshape(shape)


def _raw(tensor: proto.Tensor, what: str, size: int, dtype: str) -> np.ndarray:
    stored = np.dtype(dtype).newbyteorder("<")
    if len(tensor.raw_data) != size * stored.itemsize:
        raise FormatError(
            f"{what}: expected {size * stored.itemsize} bytes for {dtype}"
            f"{list(tensor.dims)}, received {len(tensor.raw_data)}"
        )
    return np.frombuffer(tensor.raw_data, stored).astype(dtype, copy=False)


def _listed(tensor: proto.Tensor, what: str, size: int, dtype: str) -> np.ndarray:
    """Numbers one by one; small integers and halves stand in ``int32_data``."""
    numbers = getattr(tensor, _FIELDS.get(dtype, "int32_data"))
    if len(numbers) != size:
        raise FormatError(
            f"{what}: expected {size} numbers for {dtype}{list(tensor.dims)}, "
            f"received {len(numbers)}"
        )
    if dtype == "float16":
        return np.array(numbers).astype(np.uint16).view(np.float16)
    return np.array(numbers).astype(dtype)


def _outside(
    tensor: proto.Tensor, what: str, size: int, dtype: str, folder: Path | None
) -> np.ndarray:
    """An array in a file of the same folder, from an offset on."""
    said = {entry.key: entry.value for entry in tensor.external_data}
    path = _inside(folder, said.get("location", ""), what)
    stored = np.dtype(dtype).newbyteorder("<")
    try:
        offset = int(said.get("offset") or 0)
        length = int(said.get("length") or size * stored.itemsize)
    except ValueError:
        raise FormatError(f"{what}: an offset or length that is no number") from None
    there = path.stat().st_size
    if length != size * stored.itemsize or not 0 <= offset <= there - length:
        raise FormatError(
            f"{what}: {dtype}{list(tensor.dims)} in {length} bytes at {offset} of "
            f"{path.name}, which has {there}"
        )
    array = np.fromfile(path, stored, size, offset=offset)
    return array.astype(dtype, copy=False)


def _inside(folder: Path | None, location: str, what: str) -> Path:
    """The file that ``location`` names, which must lie in the folder or below it."""
    if folder is None:
        raise FormatError(f"{what}: it lies in another file, {location!r:.80}")
    root = folder.resolve()
    named = location and "\0" not in location
    path = (root / location).resolve() if named else root.parent
    if not path.is_relative_to(root):
        raise FormatError(
            f"{what}: the path {location!r:.80} does not lie in the folder of the file"
        )
    if not path.is_file():
        raise FormatError(f"{what}: the file {location!r:.80} beside is missing")
    return path
