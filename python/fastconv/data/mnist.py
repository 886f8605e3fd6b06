"""MNIST: 60,000 + 10,000 handwritten digits of 28x28 pixels.

LeCun, Cortes, Burges (http://yann.lecun.com/exdb/mnist/), CC BY-SA 3.0.
"""

import os
from pathlib import Path

from fastconv.data.arrays import load_split
from fastconv.data.cache import fetch, locate
from fastconv.data.idx import FILES, Split, find_idx, read_idx_folder

__all__ = ["CLASS_NAMES", "load_data"]

CLASS_NAMES = tuple("0123456789")

_URL = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_SHA256 = (
    "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
)


def load_data(
    path: str | os.PathLike[str] | None = None, *, download: bool = False
) -> Split:
    """``(x_train, y_train), (x_test, y_test)`` of MNIST.

    Args:
        path: a folder with the four IDX files (plain or .gz), or an .npz file with
            x_train, y_train, x_test, y_test. None looks for a folder ``mnist`` below
            ``FASTCONV_DATA`` and in the cache directory.
        download: fetch what the cache lacks (11 MB, checked by SHA-256).

    Returns:
        x of shape (60000, 28, 28) and (10000, 28, 28), uint8, 0 .. 255, white on
        black; y of shape (60000,) and (10000,), int64, 0 .. 9.

    Raises:
        DataError: no such files, or the download failed.
        FormatError: a file is damaged.

    >>> load_data("no/such/folder")
    Traceback (most recent call last):
    fastconv.errors.DataError: no/such/folder: found no train-images-idx3-ubyte, ...
    """
    return load_idx_set("mnist", path, download, _URL, _SHA256)


def load_idx_set(
    name: str,
    path: str | os.PathLike[str] | None,
    download: bool,
    url: str,
    digests: tuple[str, ...],
) -> Split:
    """A data set in the files of MNIST; see :func:`load_data`."""
    if path is not None:
        return load_split(path) if Path(path).is_file() else read_idx_folder(path)
    if download:
        for file, digest in zip(FILES, digests, strict=True):
            folder = fetch(f"{name}/{file}.gz", f"{url}{file}.gz", digest).parent
    else:
        folder = locate(name, _has_all_files, url)
    return read_idx_folder(folder)


def _has_all_files(folder: Path) -> bool:
    return all(find_idx(folder, file) for file in FILES)
