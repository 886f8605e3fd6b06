"""State dicts that ``torch.save`` wrote, read without PyTorch.

A file is a zip with ``data.pkl`` and one entry a storage or, before PyTorch 1.6, five
pickles and then the storages. The pickle may name what `_NAMES` lists; each name
stands for a class or function below. A file that wants another one is refused.
"""

from __future__ import annotations

import io
import math
import mmap
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.data.restricted_pickle import restricted_object
from fastconv.errors import FormatError
from fastconv.weights.archive import Archive
from fastconv.weights.stored import checked, widened

__all__ = ["LEGACY", "read_legacy", "read_zip"]

LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the first pickle, a number
_PICKLE = 4 << 20  # bytes, at most
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "weights", "params")


@dataclass(frozen=True)
class _Kind:
    """Stands for a class of storages, such as torch.FloatStorage."""

    name: str
    code: str  # of NumPy; "bf" is bfloat16

    @property
    def size(self) -> int:
        return 2 if self.code == "bf" else np.dtype(self.code).itemsize

    def array(self, data: bytes) -> np.ndarray:
        """The elements in ``data``."""
        return widened(data) if self.code == "bf" else np.frombuffer(data, self.code)


@dataclass(frozen=True)
class _Storage:
    """What a persistent id names: a kind, a key and a number of elements."""

    kind: _Kind
    key: str
    count: int


@dataclass(frozen=True)
class _Tensor:
    """A view of a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Ordered(dict[Any, Any]):
    """Stands for collections.OrderedDict; versions of modules are dropped."""

    def __setstate__(self, state: Any) -> None:
        pass


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """Stands for ``_rebuild_tensor_v2``; the view lies in its storage."""
    if not isinstance(storage, _Storage):
        raise FormatError("a tensor without a storage")
    shape, strides = checked(shape, "size of a tensor"), checked(strides, "its strides")
    checked((offset,), "offset of a tensor")
    count = math.prod(shape)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if count and (last >= storage.count or count > storage.count):
        raise FormatError(
            f"a tensor of shape {shape}, strides {strides} and offset {offset} in a "
            f"storage of {storage.count} elements"
        )
    return _Tensor(storage, offset, shape, strides)


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


_KINDS = {
    "Float": "<f4", "Double": "<f8", "Half": "<f2", "BFloat16": "bf", "Long": "<i8",
    "Int": "<i4", "Short": "<i2", "Char": "|i1", "Byte": "|u1", "Bool": "|b1",
}  # fmt: skip
_NAMES: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): _Ordered,
    ("torch", "Size"): tuple,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
} | {
    ("torch", f"{name}Storage"): _Kind(f"{name}Storage", code)
    for name, code in _KINDS.items()
}


def _storage(pid: Any) -> _Storage:
    """What a persistent id of either format says."""
    if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] != "storage":
        raise FormatError("a persistent id that is no storage")
    kind, key, _location, count = pid[1:5]
    if not isinstance(kind, _Kind) or not isinstance(key, str):
        raise FormatError("a storage of unknown kind")
    if len(pid) > 5 and pid[5] is not None:
        raise FormatError("a storage that is a view of another one; save it again")
    checked((count,), "length of a storage")
    return _Storage(kind, key, count)


def read_zip(archive: Archive) -> dict[str, np.ndarray]:
    """The tensors of a zip by name, as views of their storages."""
    pickles = [n for n in archive.names() if n.rpartition("/")[2] == "data.pkl"]
    if len(pickles) != 1:
        raise FormatError(f"expected one data.pkl, received {len(pickles)}")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in archive.names():
        order = archive.read(f"{root}byteorder", 16)
        if order != b"little":
            raise FormatError(f"expected byte order little, received {order!r}")
    loaded = restricted_object(archive.read(pickles[0], _PICKLE), _NAMES, _storage)
    return _arrays(loaded, lambda s: archive.read(f"{root}data/{s.key}"))


def read_legacy(file: Any) -> dict[str, np.ndarray]:
    """The tensors of a file of PyTorch before 1.6 by name."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        head = io.BytesIO(data[: len(LEGACY) + 4 * _PICKLE])
        pickles = [_next_pickle(head) for _ in range(5)]
        storages: dict[str, _Storage] = {}

        def load(pid: Any) -> _Storage:
            storage = _storage(pid)
            return storages.setdefault(storage.key, storage)

        loaded = restricted_object(pickles[3], _NAMES, load)
        keys = restricted_object(pickles[4], {})
        places = _places(data, head.tell(), keys, storages)
        return _arrays(loaded, lambda s: data[places[s.key]])


def _places(
    data: Any, at: int, keys: Any, storages: dict[str, _Storage]
) -> dict[str, slice]:
    """Where each storage lies: a number of elements, then the elements."""
    if not isinstance(keys, list) or sorted(map(str, keys)) != sorted(storages):
        raise FormatError("its list of storages is not that of its tensors")
    places = {}
    for key in keys:
        storage = storages[key]
        start, size = at + 8, storage.count * storage.kind.size
        if int.from_bytes(data[at:start], "little") != storage.count:
            raise FormatError(f"storage {key!r:.40} has another length than its tensor")
        at = start + size
        if at > len(data):
            raise FormatError(f"storage {key!r:.40} is truncated")
        places[key] = slice(start, at)
    return places


def _next_pickle(file: io.BytesIO) -> bytes:
    start = file.tell()
    for opcode, _, _ in pickletools.genops(file):
        if file.tell() - start > _PICKLE or opcode.name == "STOP":
            break
    end = file.tell()
    if end - start > _PICKLE:
        raise FormatError(f"a pickle of more than {_PICKLE} bytes")
    return file.getvalue()[start:end]


def _state(loaded: Any) -> dict[str, _Tensor]:
    """The tensors of a state dict, which may lie in a checkpoint."""
    for _ in range(3):
        if not isinstance(loaded, dict):
            break
        found = {k: v for k, v in loaded.items() if isinstance(v, _Tensor)}
        if found:
            return {str(name): tensor for name, tensor in found.items()}
        inner = (loaded[k] for k in _WRAPPERS if isinstance(loaded.get(k), dict))
        loaded = next(inner, None)
    raise FormatError("expected a state dict, tensors by name, and found none")


def _arrays(
    loaded: Any, read: Callable[[_Storage], bytes]
) -> dict[str, np.ndarray]:  # each storage is read once, tensors are views
    made: dict[str, tuple[_Storage, np.ndarray]] = {}
    found = {}
    for name, tensor in _state(loaded).items():
        storage = tensor.storage
        if storage.key not in made:
            data = read(storage)
            if len(data) != storage.count * storage.kind.size:
                raise FormatError(
                    f"{name!r:.80}: expected a storage of {storage.count} elements, "
                    f"received {len(data)} bytes"
                )
            made[storage.key] = storage, storage.kind.array(data)
        known, values = made[storage.key]
        if known != storage:
            raise FormatError(f"{name!r:.80}: a storage of two kinds")
        found[name] = np.lib.stride_tricks.as_strided(
            values[tensor.offset :],
            tensor.shape,
            tuple(n * values.itemsize for n in tensor.strides),
            writeable=False,
        )
    return found
