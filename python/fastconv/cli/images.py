"""The images that ``fastconv predict`` is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from fastconv.data.arrays import load_arrays
from fastconv.data.images import decode_image
from fastconv.data.png import decode_png, decode_pnm, is_png, is_pnm
from fastconv.errors import DataError

__all__ = ["read_images"]


def read_images(path: str, scale: float) -> np.ndarray:
    """One file as images (N, H, W, C) with 0 for black and ``scale`` for white.

    An ``.npy`` file holds (H, W), (H, W, C) or (N, H, W, C); integers are taken as
    0 .. 255, floats as they are. Other files hold one image each: PNG, PGM and PPM are
    read without Pillow, all else with it.

    Raises
    ------
    DataError: an array of another shape or dtype.
    FormatError: a damaged file.
    MissingExtraError: a format that needs Pillow, which is not installed.
    OSError: the file cannot be opened.
    """
    file = Path(path)
    if file.suffix == ".npy":
        return _from_array(load_arrays(file)["x"], path, scale)
    content = file.read_bytes()
    return _decode(content, path).astype(np.float32)[None] * np.float32(scale / 255)


def _decode(content: bytes, where: str) -> np.ndarray:
    if is_png(content):
        return decode_png(content, where)
    if is_pnm(content):
        return decode_pnm(content, where)
    return decode_image(content, where=where)


def _from_array(array: np.ndarray, path: str, scale: float) -> np.ndarray:
    if array.dtype.kind not in "fiu":
        raise DataError(f"{path}: expected numbers, got dtype {array.dtype}")
    x = np.asarray(array, np.float32) * np.float32(
        1.0 if array.dtype.kind == "f" else scale / 255
    )
    if x.ndim == 2:
        return x[None, ..., None]
    if x.ndim == 3 and x.shape[2] in (1, 3):
        return x[None]
    if x.ndim == 3:
        return x[..., None]
    if x.ndim == 4 and x.shape[3] in (1, 3):
        return x
    raise DataError(
        f"{path}: expected an image (H, W), (H, W, C) or a stack (N, H, W, C) with "
        f"C of 1 or 3, got {array.shape}"
    )
