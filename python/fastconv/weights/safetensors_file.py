"""Safetensors files of any library."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from fastconv.errors import FormatError
from fastconv.io import container
from fastconv.weights.stored import Stored, checked, widened

__all__ = ["dump", "parsed_facts", "read"]

_HEADER = 100 << 20
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2",
    "I8": "|i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip
# Metadata that travel -> type of the items of a list; None is one text.
_FACTS: dict[str, Any] = {
    "network": None, "mean": int | float, "deviation": int | float, "class_names": str,
}  # fmt: skip


def read(data: bytes, source: str) -> Stored:
    """The arrays of a file; those of an own one after a check of its digest."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_HEADER, len(data) - 8):
        raise FormatError(f"a header of {length} bytes in a file of {len(data)}")
    header = json.loads(data[8 : 8 + length], object_pairs_hook=_unique)
    if not isinstance(header, dict):
        raise FormatError("its header is no table")
    metadata = header.pop("__metadata__", None) or {}
    if container.KEY in metadata:
        own, arrays = container.parse(data, source)
        order = [str(name) for name in own.get("weights", [])]
        return Stored(source, arrays, True, order, metadata=_facts(own.get("metadata")))
    body = memoryview(data)[8 + length :]
    arrays = {name: _array(body, entry, name) for name, entry in header.items()}
    used = sum(_range(entry, name)[1] - _range(entry, name)[0]
               for name, entry in header.items())  # fmt: skip
    if used != len(body):
        raise FormatError(f"{used} bytes of arrays in a body of {len(body)} bytes")
    return Stored(source, arrays, metadata=parsed_facts(metadata))


def dump(arrays: dict[str, np.ndarray], metadata: dict[str, Any]) -> bytes:
    """The bytes of a file for other libraries; metadata as JSON, a string each."""
    from safetensors.numpy import save

    facts = {k: json.dumps(v) for k, v in metadata.items() if k in _FACTS}
    return save(arrays, metadata={"format": "pt", **facts})


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise FormatError("a name stands twice in its header")
    return found


def _range(entry: Any, name: str) -> tuple[int, int]:
    return checked(entry["data_offsets"], name)  # type: ignore[return-value]


def _array(body: memoryview, entry: Any, name: str) -> np.ndarray:
    shape = checked(entry["shape"], name)
    start, end = _range(entry, name)
    dtype = entry["dtype"]
    if dtype not in _DTYPES and dtype != "BF16":
        raise FormatError(f"{name!r:.80}: dtype {dtype!r:.20} is not supported")
    size = 2 if dtype == "BF16" else np.dtype(_DTYPES[dtype]).itemsize
    if end > len(body) or end - start != math.prod(shape) * size:
        raise FormatError(
            f"{name!r:.80}: {dtype}{list(shape)} at bytes {start} to {end} of "
            f"{len(body)}"
        )
    piece = body[start:end]
    array = widened(piece) if dtype == "BF16" else np.frombuffer(piece, _DTYPES[dtype])
    return array.reshape(shape)


def parsed_facts(texts: dict[str, Any]) -> dict[str, Any]:
    """The metadata that other files hold as JSON, a text each."""
    return _facts({k: _parsed(v) for k, v in texts.items() if k in _FACTS})


def _parsed(text: Any) -> Any:
    """A fact as JSON; text that is none is itself."""
    try:
        return json.loads(text)
    except (ValueError, TypeError):
        return text


def _facts(found: Any) -> dict[str, Any]:
    """The metadata that have the types they should have."""
    if not isinstance(found, dict):
        return {}
    return {k: found[k] for k, type_ in _FACTS.items() if _is(found.get(k), type_)}


def _is(value: Any, type_: Any) -> bool:
    """Whether a value is text, or a list of texts or numbers."""
    if type_ is None:
        return isinstance(value, str)
    return isinstance(value, list) and all(
        isinstance(item, type_) and not isinstance(item, bool) for item in value
    )
