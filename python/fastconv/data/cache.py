"""Downloaded files: only when asked for, over HTTPS, checked against a digest."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from fastconv import config
from fastconv.errors import ArgumentError, DataError, FormatError

__all__ = ["check", "fetch", "locate", "sha256_of"]

_CHUNK = 1 << 20
_TIMEOUT_S = 60.0


def sha256_of(path: Path) -> str:
    """The SHA-256 digest of a file, in hexadecimal."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path: Path, sha256: str) -> None:
    """Compare a file with a digest, or with the first digits of one.

    Raises:
        FormatError: they differ.
    """
    received = sha256_of(path)
    if not received.startswith(sha256.lower()):
        raise FormatError(
            f"{path}: expected sha256 {sha256}, received {received}; the file was "
            "altered or damaged, delete it"
        )


def fetch(
    name: str,
    url: str,
    sha256: str,
    opener: Callable[[str], IO[bytes]] | None = None,
) -> Path:
    """The file ``name`` of the cache directory; downloaded if it is not there.

    A file whose digest is right is used as it is, without the network. A download is
    written beside its place, checked, fsynced and renamed, so that neither a failure
    nor a second process leaves half a file.

    Args:
        name: path below ``config.cache_dir()``.
        url: ``https://``; ``http://`` only to the machine itself (127.0.0.1).
        sha256: the expected digest in hexadecimal, or its first digits, at least 8.
        opener: opens a URL for reading; None is urllib with a time limit.

    Raises:
        ArgumentError: another kind of URL, or a name outside the cache directory.
        DataError: ``FASTCONV_OFFLINE`` is set, or the server cannot be reached.
        FormatError: what came has another digest; nothing is kept.

    >>> fetch("../x", "https://example.org/x", "00")
    Traceback (most recent call last):
    fastconv.errors.ArgumentError: cache: expected a name inside the cache, got '../x'
    """
    if not _is_inside(name):
        raise ArgumentError(f"cache: expected a name inside the cache, got {name!r}")
    if len(sha256) < 8:
        raise ArgumentError(f"cache: expected a sha256 for {name}, got {sha256!r}")
    _check_url(url)
    path = config.cache_dir() / name
    if path.is_file() and sha256_of(path).startswith(sha256.lower()):
        return path
    if config.offline():
        raise DataError(
            f"{name} is not in the cache ({path}) and FASTCONV_OFFLINE forbids the "
            f"network: unset it, or put the file of {url} there"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    _download(path, url, sha256.lower(), opener or _open)
    return path


def _is_inside(name: str) -> bool:
    return bool(name) and not Path(name).is_absolute() and ".." not in Path(name).parts


def _check_url(url: str) -> None:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    local = parts.hostname in ("127.0.0.1", "::1", "localhost")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ArgumentError(f"cache: expected an https:// URL, got {url!r}")


def _open(url: str) -> IO[bytes]:
    from urllib.request import urlopen

    response: Any = urlopen(url, timeout=_TIMEOUT_S)
    _check_url(response.geturl())  # where a redirection led
    return response


def _download(
    path: Path, url: str, sha256: str, opener: Callable[[str], IO[bytes]]
) -> None:
    import tempfile

    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            received = _copy(url, file, opener)
            if not received.startswith(sha256):
                raise FormatError(
                    f"{url}: expected sha256 {sha256}, received {received}; the file "
                    "was altered or the transfer damaged, and is not kept"
                )
            file.flush()
            os.fsync(file.fileno())
        Path(beside).replace(path)
    finally:
        Path(beside).unlink(missing_ok=True)
    _sync_folder(path.parent)


def _copy(url: str, file: IO[bytes], opener: Callable[[str], IO[bytes]]) -> str:
    import hashlib
    from http.client import HTTPException

    digest = hashlib.sha256()
    try:
        with opener(url) as response:
            while chunk := response.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
    except (OSError, HTTPException) as error:
        raise DataError(f"{url}: the download failed: {error}") from error
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # folders cannot be opened elsewhere
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def locate(name: str, is_there: Callable[[Path], bool], source: str) -> Path:
    """The folder of the data set ``name``: below ``FASTCONV_DATA``, or in the cache.

    Raises:
        DataError: ``is_there`` accepts no candidate; the message lists them and says
            where the files come from.
    """
    roots = [root for root in (config.data_dir(), config.cache_dir()) if root]
    for root in roots:
        if is_there(root / name):
            return root / name
    looked = ", ".join(str(root / name) for root in roots)
    raise DataError(
        f"{name}: not found; looked in {looked}. Pass path=FOLDER, or download=True to "
        f"fetch it from {source}"
    )
