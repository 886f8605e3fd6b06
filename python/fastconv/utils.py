"""Small helpers with Keras's names."""

from __future__ import annotations

import random as python_random

import numpy as np

from fastconv import random
from fastconv.data.folder import image_dataset_from_directory
from fastconv.data.labels import to_categorical
from fastconv.data.pictures import array_to_img, img_to_array, load_img, save_img

__all__ = [
    "array_to_img",
    "clear_session",
    "image_dataset_from_directory",
    "img_to_array",
    "load_img",
    "save_img",
    "set_random_seed",
    "to_categorical",
]


def set_random_seed(seed: int) -> None:
    """Seeds Python's ``random``, NumPy's global generator, and fastconv.

    Raises
    ------
    ArgumentError if ``seed`` is not an integer in [0, 2^63).

    >>> import fastconv as fc
    >>> fc.utils.set_random_seed(0)
    """
    random.set_seed(seed)
    python_random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002  (scripts that use the old interface)


def clear_session() -> None:
    """Starts the numbers in layers' names, and the random numbers of weights, again.

    >>> import fastconv as fc
    >>> fc.utils.clear_session()
    """
    from fastconv.layers.base import reset_names

    reset_names()
    random.set_seed(random.get_seed())
