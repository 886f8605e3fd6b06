"""Numbered files in a folder, of which the last ones are kept."""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import Any

from fastconv.errors import FormatError
from fastconv.io import atomic, container

logger = logging.getLogger("fastconv")


class Series:
    """The files ``NAME-1.safetensors``, ``NAME-2.safetensors`` ... of a folder.

    The last ``keep`` that were written, or read, and are whole stay; the one before is
    deleted only when the next is on the disk.
    """

    def __init__(
        self, folder: str | os.PathLike[str], name: str = "checkpoint", keep: int = 2
    ) -> None:
        self.folder = Path(folder)
        self.keep = keep
        self._name = name
        self._whole: list[Path] = []

    def paths(self) -> list[Path]:
        """All files, the oldest first."""
        pattern = re.compile(rf"{re.escape(self._name)}-(\d+)\.safetensors")
        there = self.folder.iterdir() if self.folder.is_dir() else iter(())
        found = {p: m for p in there if (m := pattern.fullmatch(p.name))}
        return sorted(found, key=lambda path: int(found[path][1]))

    def write(self, data: bytes) -> None:
        """Adds a file, then deletes those that are no longer kept.

        Raises
        ------
        OSError with the path if it cannot be written; all others stay.
        """
        there = self.paths()
        number = int(there[-1].stem.rpartition("-")[2]) + 1 if there else 1
        path = self.folder / f"{self._name}-{number}.safetensors"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic.write(path, data)
        except OSError as error:
            rest = f"; {self._whole[-1].name} stays as it is" if self._whole else ""
            reason = f"the checkpoint cannot be written: {error.strerror}{rest}"
            raise OSError(error.errno, reason, str(path)) from error
        self._whole = [*self._whole, path][-self.keep :]
        for old in there:
            if old not in self._whole:
                old.unlink(missing_ok=True)

    def read(self) -> tuple[dict[str, Any], container.Arrays, str] | None:
        """Header and arrays of the last file that is whole, and its path.

        Damaged ones after it are named in a warning. None if there are no files.

        Raises
        ------
        FormatError if all are damaged; OSError if one cannot be read.
        """
        damaged: list[FormatError] = []
        for path in reversed(self.paths()):
            try:
                header, arrays = container.parse(path.read_bytes(), str(path))
            except FormatError as error:
                damaged.append(error)
                continue
            for reason in damaged:
                logger.warning("%s; %s is used in its place", reason, path.name)
            self._whole = [path]
            self._tidy()
            return header, arrays, str(path)
        if damaged:
            raise FormatError(
                f"{self.folder}: all checkpoints are damaged, so the training cannot "
                f"go on; delete them to start again: {'; '.join(map(str, damaged))}"
            )
        return None

    def clear(self) -> None:
        """Deletes all files, and the folder if nothing else is in it."""
        for path in self.paths():
            path.unlink(missing_ok=True)
        self._whole = []
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def _tidy(self) -> None:
        """Deletes what a killed process left half written."""
        for path in self.folder.glob(f".{self._name}-*.tmp"):
            path.unlink(missing_ok=True)
