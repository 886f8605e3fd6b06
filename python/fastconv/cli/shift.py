"""Training images moved by a few pixels at random: a small set goes further."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv import random
from fastconv.data.batches import ArrayBatches, Batch
from fastconv.errors import ArgumentError

__all__ = ["ShiftedBatches"]

_STREAM = 1 << 32  # keeps these random numbers apart from those of the order


class ShiftedBatches(ArrayBatches):
    """Shuffled batches of images, each moved by up to ``pixels`` in both directions.

    The moves follow from the seed, the epoch and the place in the epoch alone.

    Parameters
    ----------
    x: images (N, H, W, C).
    y: labels.
    batch_size: images in a batch.
    pixels: the largest move; 0 is none.
    fill: what comes in at the border.

    Raises
    ------
    ArgumentError if ``pixels`` is negative.

    >>> data = ShiftedBatches(np.ones((4, 8, 8, 1)), np.arange(4), 2, 1, 0.0)
    >>> [x.shape for x, y, w in data.batches(epoch=0)]
    [(2, 8, 8, 1), (2, 8, 8, 1)]
    """

    def __init__(
        self, x: np.ndarray, y: np.ndarray, batch_size: int, pixels: int, fill: float
    ) -> None:
        if pixels < 0:
            raise ArgumentError(f"shift: expected 0 or more pixels, got {pixels}")
        seed = random.get_seed()
        super().__init__(x, y, batch_size=batch_size, shuffle=True, seed=seed)
        self._pixels, self._fill = pixels, fill

    def batches(
        self, epoch: int = 0, shuffle: bool | None = None, start: int = 0
    ) -> Iterator[Batch]:
        """The batches of an epoch."""
        draw = random.generator(self.seed, _STREAM + epoch)
        moves = draw.integers(0, 2 * self._pixels + 1, (self.num_samples, 2))
        moves = moves[start * self.batch_size :]
        for x, y, w in super().batches(epoch, shuffle, start):
            yield self._moved(x, moves[: len(x)]), y, w
            moves = moves[len(x) :]

    def _moved(self, x: Any, moves: np.ndarray) -> Any:
        border = (self._pixels, self._pixels)
        wide = np.pad(x, ((0, 0), border, border, (0, 0)), constant_values=self._fill)
        height, width = x.shape[1:3]
        return np.stack([
            image[row : row + height, column : column + width]
            for image, (row, column) in zip(wide, moves, strict=True)
        ])  # fmt: skip
