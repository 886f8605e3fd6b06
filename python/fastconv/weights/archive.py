"""Zip files as data: entries with checked sizes; nothing is written to the disk."""

from __future__ import annotations

import os
import zipfile
from typing import Any

from fastconv.errors import FormatError
from fastconv.weights.stored import GROWTH, grows_too_much

__all__ = ["Archive"]

_ENTRIES = 100_000


class Archive:
    """A zip file that is open for reading; its entries are named, never extracted."""

    def __init__(self, file: Any) -> None:
        self._zip = zipfile.ZipFile(file)
        found = self._zip.infolist()
        self._entries = {entry.filename: entry for entry in found}
        if len(found) > _ENTRIES or len(self._entries) != len(found):
            raise FormatError(f"{len(found)} entries: too many, or with equal names")
        file.seek(0, os.SEEK_END)
        packed = sum(entry.compress_size for entry in found)
        if packed > file.tell():
            raise FormatError(f"its entries of {packed} bytes lie over each other")

    def names(self) -> list[str]:
        """Of all entries, in the order of the file."""
        return list(self._entries)

    def read(self, name: str, limit: int | None = None) -> bytes:
        """The bytes of an entry, their CRC checked; at most ``limit``."""
        entry = self._entries.get(name)
        if entry is None:
            raise FormatError(f"expected the entry {name!r:.80}, which is not there")
        size, packed = entry.file_size, entry.compress_size
        stored = entry.compress_type == zipfile.ZIP_STORED
        if (stored and size != packed) or grows_too_much(size, packed):
            raise FormatError(
                f"entry {name!r:.80}: {packed} bytes claim to be {size}; expected at "
                f"most {GROWTH} times as many"
            )
        if limit is not None and size > limit:
            raise FormatError(f"entry {name!r:.80}: {size} bytes, more than {limit}")
        data = self._zip.read(entry)
        if len(data) != size:
            raise FormatError(f"entry {name!r:.80}: expected {size} bytes")
        return data
