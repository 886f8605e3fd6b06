"""Images of many files, decoded once, by threads; kept in memory or a mapped file."""

import hashlib
import logging
import os
import tempfile
import threading
import weakref
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.data.arrays import load_arrays
from fastconv.data.image_tree import ImageFile
from fastconv.errors import ArgumentError, FormatError
from fastconv.io.available import available_bytes

__all__ = ["DecodedImages"]

logger = logging.getLogger("fastconv")

_VERSION = 1  # of the file; part of its name
_SHARE = 4  # of the memory that is free, one part in so many may be filled
_NEW, _GOOD, _DAMAGED = range(3)  # states of a record


class DecodedImages:
    """Images by number, uint8, each decoded when it is first asked for.

    A record is the image, its CRC-32, and whether the file was damaged. A file of them
    is an ``.npy`` file in the folder ``cache``; its name is a digest of the names,
    sizes and times of the image files and of how they are decoded, so that what has
    changed is not found there; its records are sorted by them, so that it serves every
    order of the files. It is written beside its place and renamed when it is whole, and
    each record read from it is compared with its checksum once. Several threads may ask
    for images: one at a time until all are there.

    Args:
        files: where the images are.
        decode: makes an array of ``shape`` of a file.
        shape: (H, W, C).
        cache: True keeps the images in memory, if they take a quarter of what is free
            or less; False keeps none; a folder keeps them in a file.
        recipe: what else the images depend on; part of the file's name.
        workers: threads that decode.
        skip: pass over damaged files, rather than raise.

    Raises:
        ArgumentError: another kind of ``cache``.
        FormatError: the cached file is damaged; a damaged image, unless skipped.
    """

    def __init__(
        self,
        files: Sequence[ImageFile],
        decode: Callable[[ImageFile], np.ndarray],
        shape: tuple[int, int, int],
        cache: bool | str | os.PathLike[str],
        recipe: str,
        workers: int,
        skip: bool,
    ) -> None:
        self.files, self.decode, self.workers, self.skip = files, decode, workers, skip
        self.damaged: set[int] = set()
        self._record = np.dtype(
            [("crc", "<u4"), ("state", "u1"), ("image", "u1", shape)]
        )
        self._records: np.ndarray | None = None
        self._place = np.arange(len(files))  # of each file's record
        self._path: Path | None = None
        self._beside: Path | None = None  # while the file is being filled
        if isinstance(cache, str | os.PathLike):
            states = [_state(file) for file in files]
            order = sorted(range(len(files)), key=states.__getitem__)
            self._place[order] = np.arange(len(files))
            name = _digest([states[i] for i in order], recipe)
            self._path = Path(cache) / f"{name}.npy"
        elif not isinstance(cache, bool):
            raise ArgumentError(
                f"cache: expected True, False or a folder, got {cache!r}"
            )
        self._in_memory = cache is True and self._fits()
        self._left = len(files)  # to be decoded, or to be compared with their checksums
        self._seen = np.zeros(len(files), bool)
        self._lock = threading.Lock()
        self._owner = os.getpid()

    @property
    def complete(self) -> bool:
        """Whether everything is decoded and checked."""
        return self._left == 0

    def rows(self, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, H, W, C), uint8, and which of ``numbers`` are not damaged."""
        if not self._in_memory and self._path is None:
            taken = np.zeros(len(numbers), self._record)
            self._fill(taken, np.arange(len(numbers)), numbers)
        else:
            taken = self._kept(numbers).take(self._place[numbers])
        good = taken["state"] == _GOOD
        images = taken["image"]
        return images if good.all() else images[good], good

    def _kept(self, numbers: np.ndarray) -> np.ndarray:
        """All records, of which those of ``numbers`` are there."""
        if self._records is not None and self.complete:
            return self._records
        if self._owner != os.getpid():  # a thread that held it was lost in a fork
            self._lock, self._owner = threading.Lock(), os.getpid()
        with self._lock:
            if self._records is None:
                self._records = self._open()
            self._see(self._records, numbers)
        return self._records

    def _fits(self) -> bool:
        needed = len(self.files) * self._record.itemsize
        free = available_bytes()
        if free is not None and needed > free // _SHARE:
            logger.warning(
                "%d decoded images take %.1f GiB, too much to keep in the %.1f GiB of "
                "free memory: each epoch decodes them again; cache=FOLDER keeps them "
                "in a file",
                len(self.files), needed / 2**30, free / 2**30,
            )  # fmt: skip
            return False
        return True

    def _open(self) -> np.ndarray:
        """Room for all records: in memory, or in a file, which may be full already."""
        if self._path is None:
            return np.zeros(len(self.files), self._record)
        if not self._path.exists():
            return self._new_file(self._path)
        records = load_arrays(self._path)["x"]
        if records.dtype != self._record or records.shape != (len(self.files),):
            raise FormatError(
                f"{self._path}: expected {len(self.files)} records of images "
                f"{self._record['image'].shape}: delete the file"
            )
        return records

    def _new_file(self, path: Path) -> np.ndarray:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        self._beside = Path(beside)
        weakref.finalize(self, self._beside.unlink, missing_ok=True)
        # A full disk is an error here, and not a signal when the map is written to.
        size = len(self.files) * self._record.itemsize + (1 << 16)
        try:
            os.posix_fallocate(handle, 0, size)
        finally:
            os.close(handle)
        count = (len(self.files),)
        records = np.lib.format.open_memmap(beside, "w+", self._record, count)
        os.truncate(beside, records.offset + records.nbytes)
        return records

    def _see(self, records: np.ndarray, numbers: np.ndarray) -> None:
        """Decodes what is new; compares what a file held with its checksum."""
        unseen = np.unique(numbers[~self._seen[numbers]])
        if self._path is None or self._beside is not None:
            self._fill(records, self._place[unseen], unseen)
        else:
            for i in unseen:
                self._compare(records[self._place[i]], int(i))
        self._seen[unseen] = True
        self._left = int(np.count_nonzero(~self._seen))
        if self.complete and self._beside is not None and self._path is not None:
            _publish(records, self._beside, self._path)
            self._beside = None

    def _compare(self, record: Any, number: int) -> None:
        if record["crc"] != zlib.crc32(record["image"]) or record["state"] == _NEW:
            raise FormatError(
                f"{self._path}: the image of {_where(self.files[number])} does not "
                "have its checksum: delete the file"
            )
        if record["state"] == _DAMAGED:
            self._note(number, "damaged when it was first read")

    def _fill(self, records: np.ndarray, at: np.ndarray, numbers: np.ndarray) -> None:
        """Decodes the files ``numbers`` into the records ``at``."""

        def some(first: int) -> None:
            for j in range(first, len(at), step):
                self._decode(records, int(at[j]), int(numbers[j]))

        step = max(1, min(self.workers, len(at)))
        if step == 1:
            some(0)
            return
        with ThreadPoolExecutor(step, "fastconv-decode") as pool:
            for done in [pool.submit(some, first) for first in range(step)]:
                done.result()

    def _decode(self, records: np.ndarray, at: int, number: int) -> None:
        try:
            image = self.decode(self.files[number])
        except FormatError as error:
            if not self.skip:
                raise
            records["state"][at] = _DAMAGED
            records["crc"][at] = zlib.crc32(records["image"][at])
            self._note(number, str(error))
            return
        records["image"][at] = image
        records["crc"][at] = zlib.crc32(records["image"][at])
        records["state"][at] = _GOOD

    def _note(self, number: int, why: str) -> None:
        if number not in self.damaged:
            self.damaged.add(number)
            logger.warning("skipped %s: %s", _where(self.files[number]), why)


def _publish(records: np.ndarray, beside: Path, path: Path) -> None:
    """Makes a file that is whole visible, at once."""
    if isinstance(records, np.memmap):
        records.flush()
    handle = os.open(beside, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    beside.replace(path)


def _where(file: ImageFile) -> str:
    return str(file[2]) if isinstance(file[2], Path) else f"{file[0]}/{file[1]}"


def _state(file: ImageFile) -> str:
    """What tells a file from others, and from itself after a change."""
    folder, name, source = file
    if isinstance(source, bytes):
        return f"\0{folder}\0{name}\0{len(source)} {zlib.crc32(source)}"
    found = source.stat()
    return f"\0{folder}\0{name}\0{found.st_size} {found.st_mtime_ns}"


def _digest(states: Sequence[str], recipe: str) -> str:
    digest = hashlib.sha256(f"{_VERSION} {recipe}".encode())
    for state in states:
        digest.update(state.encode())
    return digest.hexdigest()[:32]
