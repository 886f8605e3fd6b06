"""Bilinear scaling of a stack of images, in NumPy alone."""

import numpy as np

__all__ = ["resize_bilinear"]


def _weights(source: int, target: int) -> np.ndarray:
    """Matrix (target, source) of the triangle filter, each row summing to 1."""
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale - 0.5
    distance = np.abs(centres[:, None] - np.arange(source)[None, :])
    weights = np.maximum(0.0, 1.0 - distance / max(scale, 1.0))
    weights /= weights.sum(axis=1, keepdims=True)
    out: np.ndarray = weights.astype(np.float32)
    return out


def resize_bilinear(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Scale images (N, H, W) to (N, height, width), float32.

    ``out[n] = A @ images[n] @ B.T`` where the rows of A and B are triangle filters at
    half-pixel centres, widened when the image shrinks, so that every source pixel
    counts. Pixels beyond the border take no part.

    >>> resize_bilinear(np.array([[[0.0, 4.0]]]), 1, 4).tolist()
    [[[0.0, 1.0, 3.0, 4.0]]]
    """
    rows = _weights(images.shape[1], height)
    columns = _weights(images.shape[2], width)
    out: np.ndarray = rows @ images.astype(np.float32) @ columns.T
    return out
