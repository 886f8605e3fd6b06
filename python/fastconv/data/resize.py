"""Bilinear scaling of a stack of images, in NumPy alone."""

import numpy as np

from fastconv.resampling import scaling_table

__all__ = ["resize_bilinear"]


def _matrix(n: int, m: int) -> np.ndarray:
    """A table as a matrix (m, n)."""
    ranges, weights = scaling_table(n, m, "bilinear", True)
    row, tap = np.nonzero(np.arange(weights.shape[1]) < ranges[:, 1:])
    matrix = np.zeros((m, n), np.float32)
    matrix[row, ranges[row, 0] + tap] = weights[row, tap]
    return matrix


def resize_bilinear(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale images (N, H, W) to (N, height, width), float32.

    ``out[n] = A @ images[n] @ B.T`` where the rows of A and B are triangle filters at
    half-pixel centres, widened when the image shrinks, so that every source pixel
    counts. Pixels beyond the border take no part.

    >>> resize_bilinear(np.array([[[0.0, 4.0]]]), 1, 4).tolist()
    [[[0.0, 1.0, 3.0, 4.0]]]
    """
    rows = _matrix(images.shape[1], height)
    columns = _matrix(images.shape[2], width)
    out: np.ndarray = rows @ images.astype(np.float32) @ columns.T
    return out
