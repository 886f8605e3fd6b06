"""Data sets by name or path.

``digits`` (embedded), ``mnist``, ``fashion_mnist`` and ``cifar10`` have Keras's
``load_data()``; :func:`load` finds out by itself what a folder or file holds.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastconv.data import cifar10, digits, fashion_mnist, mnist
from fastconv.data.arrays import load_arrays, load_split
from fastconv.data.idx import FILES, Split, find_idx, read_idx_folder
from fastconv.data.image_tree import read_image_tree
from fastconv.data.images import SUFFIXES
from fastconv.data.split import stratified_split
from fastconv.errors import DataError, FormatError, unknown_name

__all__ = ["Dataset", "cifar10", "digits", "fashion_mnist", "load", "mnist"]

_NAMES = {
    "digits": digits,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
}
_TEST_SHARE = 0.2  # of data that come in one part


@dataclass(frozen=True)
class Dataset:
    """Images and labels for classification, in a training and a test part.

    Attributes:
        name: what it was loaded by.
        x_train: (N, H, W, C), uint8 0 .. 255, or floats as they were stored.
        y_train: (N,), int64, indices into ``class_names``.
        x_test: like x_train.
        y_test: like y_train.
        class_names: one name a class.

    >>> digits = load("digits")
    >>> digits.x_test.shape, digits.y_test.shape, len(digits.class_names)
    ((359, 32, 32, 1), (359,), 10)
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]


def load(
    name_or_path: str | os.PathLike[str], image_size: tuple[int, int] | None = None
) -> Dataset:
    """The data set of a name, or in a folder or file.

    Args:
        name_or_path: "digits", "mnist", "fashion_mnist" or "cifar10"; or the path of

            * a folder with the four IDX files of MNIST, plain or .gz,
            * CIFAR-10 in any form that ``cifar10.load_data`` reads,
            * a folder of image folders CLASS/, or of ``train`` and ``test`` (``val``)
              with such folders,
            * an .npz file with x_train, y_train, x_test, y_test, or with x and y.

        image_size: (H, W) to scale the files of image folders to.

    Data in one part are split: 20 % of every class become the test part (seed 0).

    Raises:
        UnknownNameError: neither a known name nor a path.
        DataError: a known name whose files are not on this machine.
        FormatError: a path that holds nothing known (the message lists what was looked
            for), or damaged files.

    >>> load("digits").x_train.shape
    (1438, 32, 32, 1)
    """
    name = str(name_or_path)
    if name in _NAMES:
        module = _NAMES[name]
        return _dataset(name, module.load_data(), module.CLASS_NAMES)
    path = Path(name_or_path)
    if path.is_dir():
        return _from_folder(path, image_size)
    if path.is_file():
        return _from_file(path)
    if os.sep in name or path.suffix:
        raise DataError(f"{name}: no such file or folder")
    raise unknown_name("data set", name, list(_NAMES))


def _dataset(name: str, split: Split, class_names: tuple[str, ...] = ()) -> Dataset:
    (x_train, y_train), (x_test, y_test) = split
    y_train, y_test = _labels(name, y_train), _labels(name, y_test)
    _check_pair(f"{name}: training part", x_train, y_train)
    _check_pair(f"{name}: test part", x_test, y_test)
    if not class_names:
        count = 1 + max(int(y.max(initial=-1)) for y in (y_train, y_test))
        class_names = tuple(str(label) for label in range(count))
    return Dataset(name, _nhwc(x_train), y_train, _nhwc(x_test), y_test, class_names)


def _check_pair(where: str, x: np.ndarray, y: np.ndarray) -> None:
    if x.ndim not in (3, 4) or len(x) != len(y):
        raise FormatError(
            f"{where}: expected images of (N, H, W) or (N, H, W, C), as many labels, "
            f"got {x.shape} and {y.shape}"
        )


def _nhwc(x: np.ndarray) -> np.ndarray:
    return x[..., None] if x.ndim == 3 else x


def _labels(name: str, y: np.ndarray) -> np.ndarray:
    if y.dtype.kind not in "biu" or y.ndim not in (1, 2) or y[0:1].size > 1:
        raise FormatError(
            f"{name}: expected integer labels of shape (N,), got {y.dtype} {y.shape}"
        )
    return y.reshape(-1).astype(np.int64)


def _halves(x: np.ndarray, y: np.ndarray) -> Split:
    train, test = stratified_split(y, _TEST_SHARE)
    return (x[train], y[train]), (x[test], y[test])


def _from_file(path: Path) -> Dataset:
    name = str(path)
    if path.name.endswith((".tar.gz", ".tgz", ".tar")):
        return _dataset(name, cifar10.load_data(path), cifar10.CLASS_NAMES)
    if path.suffix != ".npz":
        raise FormatError(
            f"{name}: expected a folder, an .npz file or CIFAR-10 .tar.gz"
        )
    arrays = load_arrays(path)
    if "x_train" in arrays:
        return _dataset(name, load_split(path))
    if "y" not in arrays:
        raise FormatError(f"{name}: expected labels y beside x")
    x, y = arrays["x"], _labels(name, arrays["y"])
    _check_pair(name, x, y)
    return _dataset(name, _halves(x, y))


def _from_folder(path: Path, image_size: tuple[int, int] | None) -> Dataset:
    name = str(path)
    if find_idx(path, FILES[0]) or find_idx(path, FILES[2]):
        return _dataset(name, read_idx_folder(path))
    if cifar10.is_cifar10(path):
        return _dataset(name, cifar10.load_data(path), cifar10.CLASS_NAMES)
    if _has_class_folders(path / "train"):
        return _from_parts(path, image_size)
    if _has_class_folders(path):
        x, y, classes = read_image_tree(path, image_size=image_size)
        return _dataset(name, _halves(x, y), classes)
    raise FormatError(
        f"{name}: holds no data set; looked for {FILES[0]}[.gz] (MNIST), CIFAR-10 in "
        "binary, Python and folder form, train/CLASS/ and CLASS/ with "
        f"{', '.join(SUFFIXES)} files"
    )


def _has_class_folders(path: Path) -> bool:
    return path.is_dir() and _any(path, lambda f: f.is_dir() and _any(f, _is_image))


def _any(folder: Path, test: Callable[[Path], bool]) -> bool:
    return any(test(entry) for entry in folder.iterdir())


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _from_parts(path: Path, image_size: tuple[int, int] | None) -> Dataset:
    x, y, classes = read_image_tree(path / "train", image_size=image_size)
    for part in ("test", "val"):
        if _has_class_folders(path / part):
            size = x.shape[1:3]
            mode = {1: "grayscale", 3: "rgb"}[x.shape[3]]
            held = read_image_tree(path / part, classes, (size[0], size[1]), mode)
            return _dataset(str(path), ((x, y), held[:2]), classes)
    return _dataset(str(path), _halves(x, y), classes)
