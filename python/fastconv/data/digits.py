"""The UCI optical digits, embedded in the package: 1,797 images of 8x8 pixels.

Source: E. Alpaydin and C. Kaynak (1998), Optical Recognition of Handwritten Digits,
test part, UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, licensed
under CC BY 4.0 (see ``digits.LICENSE.txt`` beside this file). Each pixel counts the ink
in a block of 4x4 pixels of a 32x32 scan: 0 .. 16.
"""

from operator import index
from pathlib import Path

import numpy as np

from fastconv.data.resize import resize_bilinear
from fastconv.data.split import stratified_split
from fastconv.errors import ArgumentError

__all__ = ["CLASS_NAMES", "load_data", "load_raw"]

CLASS_NAMES = tuple("0123456789")


def load_raw() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 8, 8), uint8, 0 .. 16, and labels (1797,), int64, in file order.

    >>> images, labels = load_raw()
    >>> images.shape, int(images.max())
    ((1797, 8, 8), 16)
    """
    with np.load(Path(__file__).with_name("digits.npz"), allow_pickle=False) as file:
        return file["images"], file["labels"].astype(np.int64)


def load_data(
    size: int = 32, test_fraction: float = 0.2, seed: int = 0
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """``(x_train, y_train), (x_test, y_test)`` of the optical digits.

    Pixels are scaled from 0 .. 16 to 0 .. 255 and bilinearly to size x size; the test
    part is held out with the same share of every class, both parts in random order.

    Args:
        size: height and width; 32 is what LeNet-5 reads.
        test_fraction: share held out, in (0, 1).
        seed: of the split.

    Returns:
        x of shape (N, size, size, 1), uint8; y of shape (N,), int64, 0 .. 9; by default
        N is 1438 and 359.

    Raises:
        ArgumentError: ``size`` below 1, ``test_fraction`` not in (0, 1), a bad seed.

    >>> (x_train, y_train), (x_test, y_test) = load_data()
    >>> x_train.shape, x_test.shape
    ((1438, 32, 32, 1), (359, 32, 32, 1))
    """
    if index(size) < 1:
        raise ArgumentError(f"size: expected 1 or more, got {size}")
    images, labels = load_raw()
    train, test = stratified_split(labels, test_fraction, seed)
    scaled = resize_bilinear(images, size, size) * np.float32(255 / 16)
    x = np.rint(scaled).astype(np.uint8)[..., None]
    return (x[train], labels[train]), (x[test], labels[test])
