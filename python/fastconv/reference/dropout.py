"""Dropout, with the same integers as every backend.

An element is kept if ``word >> 8 >= ceil(rate * 2**24)`` for its word (see `random`),
with the rate as a float32.
"""

from __future__ import annotations

import numpy as np

from fastconv._core import DropoutAttrs, OpKind
from fastconv.reference.random import below, words
from fastconv.reference.registry import kernel


def _scale(attrs: DropoutAttrs) -> np.float32:
    return np.float32(1) / (np.float32(1) - np.float32(attrs.rate))


@kernel(OpKind.dropout)
def dropout(
    attrs: DropoutAttrs, src: np.ndarray, random: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Gives src / (1 - rate) where kept, else 0; and the mask."""
    dropped = below(words(src.size, random, attrs.stream), attrs.rate)
    mask = ~dropped.reshape(src.shape)
    return np.where(mask, src * _scale(attrs), 0), mask.astype(np.uint8)


@kernel(OpKind.dropout_backward)
def dropout_backward(
    attrs: DropoutAttrs, ddst: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, ...]:
    """The same for the gradient."""
    return (np.where(mask != 0, ddst * _scale(attrs), 0),)
