"""Writing a file so that there is always a whole one."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_calls = itertools.count()  # each call writes to a file of its own


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Replaces the file at ``path`` by ``data``, at once, as `replacing` does.

    What was written is read back before.
    """
    with replacing(path) as file:
        file.write(data)
        file.flush()
        if Path(file.name).read_bytes() != data:
            raise OSError(errno.EIO, "what was written reads back differently")


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Replaces the file at ``path`` by what is written in the with block, at its end.

    The data go to a file beside it, which is synced and renamed; then the folder is
    synced. Whatever fails, and whenever the process dies, ``path`` is either the old
    file or the new one.

    Raises
    ------
    OSError with the path: no space, no permission, no such folder ...
    """
    target = Path(os.path.realpath(path))
    call = f"{os.getpid()}.{threading.get_ident()}.{next(_calls)}"
    beside = target.with_name(f".{target.name}.{call}.tmp")
    try:
        with beside.open("wb") as file:
            yield file
            _sync(file)
        beside.replace(target)
        _sync_folder(target.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise OSError(error.errno, reason, os.fspath(path)) from error
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that cannot sync folders
            raise
    finally:
        os.close(folder)
