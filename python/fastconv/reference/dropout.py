"""Dropout, with the same integers as every backend.

Element ``i`` takes word ``i % 4`` of Philox4x32-10 (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", SC 2011) with the counter ``(i // 4 low, i // 4 high, step
low, stream)`` and the key ``(seed low, seed high)``, 32 bits each, and is kept if
``word >> 8 >= ceil(rate * 2**24)``, with the rate as a float32.
"""

from __future__ import annotations

from math import ceil

import numpy as np

from fastconv._core import DropoutAttrs, OpKind
from fastconv.reference.registry import kernel

_LOW = np.uint64(0xFFFFFFFF)
_BITS = np.uint64(32)


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Four random 32-bit words a row for counters of shape (n, 4)."""
    c = [counter[:, i].astype(np.uint64) for i in range(4)]
    k = list(key)
    for _ in range(10):
        first = c[0] * np.uint64(0xD2511F53)
        second = c[2] * np.uint64(0xCD9E8D57)
        c = [
            (second >> _BITS) ^ c[1] ^ np.uint64(k[0]),
            second & _LOW,
            (first >> _BITS) ^ c[3] ^ np.uint64(k[1]),
            first & _LOW,
        ]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return np.stack(c, axis=1)


def keep(attrs: DropoutAttrs, count: int, random: np.ndarray) -> np.ndarray:
    """Which of ``count`` elements are kept."""
    group = np.arange(-(-count // 4), dtype=np.uint64)
    counter = np.zeros((len(group), 4), np.uint64)
    counter[:, 0], counter[:, 1] = group & _LOW, group >> _BITS
    counter[:, 2], counter[:, 3] = int(random[1]) % 2**32, attrs.stream
    seed = int(random[0]) % 2**64
    words = philox(counter, (seed % 2**32, seed >> 32)).reshape(-1)[:count]
    threshold = ceil(float(np.float32(attrs.rate)) * 2**24)
    return (words >> np.uint64(8)) >= np.uint64(threshold)


def _scale(attrs: DropoutAttrs) -> np.float32:
    return np.float32(1) / (np.float32(1) - np.float32(attrs.rate))


@kernel(OpKind.dropout)
def dropout(
    attrs: DropoutAttrs, src: np.ndarray, random: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Gives src / (1 - rate) where kept, else 0; and the mask."""
    mask = keep(attrs, src.size, random).reshape(src.shape)
    return np.where(mask, src * _scale(attrs), 0), mask.astype(np.uint8)


@kernel(OpKind.dropout_backward)
def dropout_backward(
    attrs: DropoutAttrs, ddst: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, ...]:
    """The same for the gradient."""
    return (np.where(mask != 0, ddst * _scale(attrs), 0),)
