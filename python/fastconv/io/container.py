"""The bytes of a file: named arrays and a JSON header in one safetensors file.

The header is one string of the file's metadata, "fastconv". Its ``digest`` is the
SHA-256 of the rest of the header and of all arrays, so that nothing can change unseen.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastconv.errors import FormatError

VERSION = 1  # of the format; a file of a later one is refused
KEY = "fastconv"

Arrays = dict[str, np.ndarray]


def dump(header: Mapping[str, Any], arrays: Arrays) -> bytes:
    """The bytes of a file."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    full = {"version": VERSION, **header}
    full["digest"] = digest(full, arrays)
    return save(arrays, metadata={KEY: json.dumps(full)})


def parse(data: bytes, source: str) -> tuple[dict[str, Any], Arrays]:
    """Header and arrays of a file's bytes, all checked. ``source`` is named in errors.

    Raises
    ------
    FormatError if it is truncated, damaged, newer, or another kind of file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(data)
        metadata = _metadata(data)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(
            f"{source}: expected a safetensors file, received {len(data)} bytes that "
            "are "
            f"damaged, truncated or of another format: {error}"
        ) from error
    if KEY not in metadata:
        raise FormatError(
            f"{source}: expected a model of fastconv, received a safetensors file "
            "without "
            f"its header (metadata {sorted(metadata)})"
        )
    header = _header(metadata[KEY], source)
    expected, actual = header.pop("digest", None), digest(header, arrays)
    if expected != actual:
        raise FormatError(
            f"{source}: the file is damaged: expected the digest {expected}, received "
            f"{actual}"
        )
    return header, arrays


def digest(header: Mapping[str, Any], arrays: Arrays) -> str:
    """SHA-256 of a header and of arrays, in the order of their names."""
    sha = hashlib.sha256(json.dumps(header).encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"{name} {array.dtype.name} {array.shape}".encode())
        sha.update(array.reshape(-1).view(np.uint8).data)
    return f"sha256:{sha.hexdigest()}"


def _metadata(data: bytes) -> dict[str, str]:
    """The metadata; the lengths were checked when the arrays were read."""
    length = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + length]).get("__metadata__") or {}


def _header(text: str, source: str) -> dict[str, Any]:
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{source}: its header is no JSON: {error}") from error
    version = header.get("version") if isinstance(header, dict) else None
    if not isinstance(version, int) or version < 1:
        raise FormatError(f"{source}: expected a format version, received {version!r}")
    if version > VERSION:
        raise FormatError(
            f"{source}: expected format version {VERSION} or older, received "
            f"{version}, "
            f"written by fastconv {header.get('fastconv')}; install a newer fastconv"
        )
    return header
