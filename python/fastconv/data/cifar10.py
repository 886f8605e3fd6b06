"""CIFAR-10: 50,000 + 10,000 colour images of 32x32 pixels in ten classes.

A. Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images,
https://www.cs.toronto.edu/~kriz/cifar.html.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from fastconv.data.cache import fetch, locate
from fastconv.data.idx import Split
from fastconv.data.image_tree import read_image_tree, tar_members
from fastconv.errors import DataError, FormatError

__all__ = ["CLASS_NAMES", "load_data"]

CLASS_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)

_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
_SHA256 = "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
_ARCHIVES = ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz")
_FOLDERS = ("", "cifar-10-batches-bin", "cifar-10-batches-py")
_BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
_RECORDS = 10_000  # images in one batch file
_PIXELS = 32 * 32 * 3
_MAX_FILE = 64 << 20

Part = tuple[np.ndarray, np.ndarray]


def load_data(
    path: str | os.PathLike[str] | None = None, *, download: bool = False
) -> Split:
    """``(x_train, y_train), (x_test, y_test)`` of CIFAR-10.

    Args:
        path: a folder or tar file with the binary version (``data_batch_1.bin`` ...) or
            the Python version (``data_batch_1`` ..., read without running any of it), a
            folder holding one of these, or a folder with ``train`` and ``test``, or
            ``train.tar.gz`` and ``test.tar.gz``, of CLASS/*.jpg (extra ``image``).
            None looks for a folder ``cifar10`` below ``FASTCONV_DATA``, then in the
            cache.
        download: fetch the binary version if the cache lacks it (162 MB, SHA-256).

    Returns:
        x of shape (50000, 32, 32, 3) and (10000, 32, 32, 3), uint8; y of shape
        (50000, 1) and (10000, 1), int64, indices into ``CLASS_NAMES``.

    Raises:
        DataError: no such files, or the download failed.
        FormatError: a file is damaged, truncated, or wants to run code.
        MissingExtraError: JPEG files, but no Pillow.

    >>> load_data("no/such/folder")
    Traceback (most recent call last):
    fastconv.errors.DataError: no/such/folder: found no CIFAR-10; looked for ...
    """
    if path is None and download:
        path = fetch(f"cifar10/{_ARCHIVES[0]}", _URL, _SHA256)
    elif path is None:
        path = locate("cifar10", is_cifar10, _URL)
    train, test = _read(Path(path))
    return (train[0], train[1][:, None]), (test[0], test[1][:, None])


def is_cifar10(folder: Path) -> bool:
    """Whether the folder holds one of the forms of CIFAR-10."""
    return _batch_source(folder) is not None or _image_parts(folder) is not None


def _read(path: Path) -> tuple[Part, Part]:
    source = path if path.is_file() else _batch_source(path)
    if source is not None:
        return _read_batches(source)
    parts = _image_parts(path)
    if parts is None:
        raise DataError(
            f"{path}: found no CIFAR-10; looked for {', '.join(_ARCHIVES)}, "
            "data_batch_1.bin, data_batch_1, and train and test folders (or .tar.gz) "
            f"with a folder {CLASS_NAMES[0]}"
        )
    return _read_images(parts[0]), _read_images(parts[1])


def _batch_source(folder: Path) -> Path | None:
    """The folder with the batch files, or the archive with them."""
    for name in _FOLDERS:
        for suffix in (".bin", ""):
            if (folder / name / f"{_BATCHES[0]}{suffix}").is_file():
                return folder / name
    archives = (folder / name for name in _ARCHIVES)
    return next((archive for archive in archives if archive.is_file()), None)


def _image_parts(folder: Path) -> tuple[Path, Path] | None:
    if all((folder / part / CLASS_NAMES[0]).is_dir() for part in ("train", "test")):
        return folder / "train", folder / "test"
    train, test = folder / "train.tar.gz", folder / "test.tar.gz"
    return (train, test) if train.is_file() and test.is_file() else None


def _read_images(source: Path) -> Part:
    x, y, _ = read_image_tree(source, CLASS_NAMES, color_mode="rgb")
    if x.shape[1:] != (32, 32, 3):
        raise FormatError(
            f"{source}: expected images of (32, 32, 3), got {x.shape[1:]}"
        )
    return x, y


def _read_batches(source: Path) -> tuple[Part, Part]:
    x = np.empty((len(_BATCHES), _RECORDS, 32, 32, 3), dtype=np.uint8)
    y = np.empty((len(_BATCHES), _RECORDS), dtype=np.int64)
    missing = set(_BATCHES)
    for name, content in _contents(source):
        batch = name.removesuffix(".bin")
        read = _from_binary if name.endswith(".bin") else _from_pickle
        i = _BATCHES.index(batch)
        planes, y[i] = read(content, f"{source}: {name}")
        x[i] = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        missing.discard(batch)
    if missing:
        raise FormatError(f"{source}: lacks {', '.join(sorted(missing))}")
    train = x[:-1].reshape(-1, 32, 32, 3), y[:-1].reshape(-1)
    return train, (x[-1], y[-1])


def _contents(source: Path) -> Iterator[tuple[str, bytes]]:
    names = {*_BATCHES, *(f"{name}.bin" for name in _BATCHES)}
    if source.is_dir():
        for name in sorted(names):
            path = source / name
            if path.is_file():
                if path.stat().st_size > _MAX_FILE:
                    raise FormatError(f"{path}: expected at most {_MAX_FILE} bytes")
                yield name, path.read_bytes()
        return

    def wanted(member: PurePosixPath) -> bool:
        return member.name in names

    for member, content in tar_members(source, wanted):
        yield member.name, content


def _from_binary(content: bytes, where: str) -> Part:
    """Records of one label byte and 3 planes of 32x32 bytes."""
    expected = _RECORDS * (1 + _PIXELS)
    if len(content) != expected:
        raise FormatError(f"{where}: expected {expected} bytes, got {len(content)}")
    records = np.frombuffer(content, dtype=np.uint8).reshape(_RECORDS, 1 + _PIXELS)
    return records[:, 1:], _checked_labels(records[:, 0], where)


def _from_pickle(content: bytes, where: str) -> Part:
    from fastconv.data.restricted_pickle import restricted_loads

    batch = restricted_loads(content, where)
    data, labels = batch.get("data"), batch.get("labels")
    if not isinstance(data, np.ndarray) or not isinstance(labels, list):
        raise FormatError(
            f"{where}: expected an array 'data' and a list 'labels', "
            f"got {', '.join(batch)}"
        )
    if data.shape != (_RECORDS, _PIXELS) or data.dtype != np.uint8:
        raise FormatError(
            f"{where}: expected data of ({_RECORDS}, {_PIXELS}) uint8, "
            f"got {data.shape} {data.dtype}"
        )
    if len(labels) != _RECORDS or not all(type(label) is int for label in labels):
        raise FormatError(f"{where}: expected {_RECORDS} integers as labels")
    return data, _checked_labels(np.array(labels), where)


def _checked_labels(labels: np.ndarray, where: str) -> np.ndarray:
    wrong = (labels < 0) | (labels > 9)
    if wrong.any():
        i = int(wrong.argmax())
        raise FormatError(f"{where}: expected labels 0 .. 9, got {labels[i]} at {i}")
    return labels.astype(np.int64)
