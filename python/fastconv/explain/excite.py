"""An image that excites a unit, found by gradient ascent."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import ops, random
from fastconv.errors import ArgumentError, DataError, ShapeError
from fastconv.execution import function
from fastconv.explain.attention import images
from fastconv.explain.scores import layer_output, one_hot, scores, scores_and_map
from fastconv.graph import Tensor, grad

__all__ = ["maximise"]

_STREAM = 3 << 32  # keeps the first images apart from other random numbers


def maximise(
    model: Any,
    units: Any,
    layer: str | None = None,
    *,
    steps: int = 100,
    rate: float = 0.05,
    decay: float = 0.01,
    blur: int = 4,
    start: Any = None,
    limits: tuple[float, float] = (0.0, 1.0),
    seed: int = 0,
) -> np.ndarray:
    """Images that excite units of a network, one image a unit.

    Formula: from grey noise, ``x += rate g / rms(g)`` with ``g = d a_u / d x - decay
    (x - middle)``, where a_u is the unit's activation (of a map, its mean over the
    positions), and x stays within ``limits``. Erhan et al., "Visualizing higher-layer
    features of a deep network", 2009; Simonyan et al., ICLR 2014 workshop, section 2.

    Parameters
    ----------
    model: with one input of known shape.
    units: one channel or unit, or a list of them.
    layer: whose unit; default the scores of the model before softmax. A name needs a
        `Sequential` or functional model.
    steps: of the ascent.
    rate: how far a pixel moves in a step, in the mean square.
    decay: pull to the middle of the limits.
    blur: every so many steps the images are smoothed a little, which keeps fine noise
        away; 0 is never.
    start: first images (units, H, W, channels); default grey with weak noise.
    limits: least and largest value of a pixel.
    seed: of the noise.

    Returns
    -------
    Array (units, H, W, channels), float32.

    Raises
    ------
    UnknownNameError: no such layer; DataError: no such unit; ArgumentError: an input
    of unknown size.

    >>> import fastconv as fc
    >>> fc.explain.maximise(fc.models.LeNet5(), [3, 8], steps=2).shape
    (2, 32, 32, 1)
    """
    wanted = np.atleast_1d(np.asarray(units, np.int64))
    spec = layer_output(model, layer) if layer else model.outputs[0]
    count = spec.shape[-1]
    if not wanted.size or wanted.min() < 0 or (count and wanted.max() >= count):
        raise DataError(f"units: expected numbers in [0, {count}), received {units!r}")

    @function
    def gradient(x: Tensor, units: Tensor) -> Tensor:
        found = scores_and_map(model, x, layer)[1] if layer else scores(model, x)
        if found.ndim > 2:
            found = ops.mean(found, axis=tuple(range(1, found.ndim - 1)))
        return grad(ops.sum(found * one_hot(units, found.shape[-1])), x)

    x = _first_images(model, len(wanted), limits, seed) if start is None else start
    x = images(x).copy()
    if len(x) != len(wanted):
        raise ShapeError(f"start: expected {len(wanted)} images, received {len(x)}")
    middle = np.float32(sum(limits) / 2)
    for step in range(1, steps + 1):
        g = gradient(x, wanted) - np.float32(decay) * (x - middle)
        rms = np.sqrt(np.mean(np.square(g), axis=(1, 2, 3), keepdims=True))
        x = np.clip(x + np.float32(rate) * g / np.maximum(rms, 1e-12), *limits)
        if blur and step % blur == 0 and step < steps:
            x = _smooth(x)
    return x.astype(np.float32)


def _first_images(
    model: Any, count: int, limits: tuple[float, float], seed: int
) -> np.ndarray:
    shape = model.inputs[0].shape[1:]
    if len(shape) != 3 or None in shape:
        raise ArgumentError(
            f"model {model.name!r}: its input has shape {shape}; expected images of "
            "known size, or give them as start"
        )
    low, high = limits
    noise = random.generator(seed, _STREAM).random((count, *shape), np.float32)
    return (low + high) / 2 + (high - low) * 0.1 * (noise - np.float32(0.5))


def _smooth(x: np.ndarray) -> np.ndarray:
    """Weights 1 2 1 / 4 along height and width; the border continues itself."""
    for axis in (1, 2):
        edge = [(1, 1) if a == axis else (0, 0) for a in range(4)]
        wide = np.pad(x, edge, mode="edge")
        n = x.shape[axis]
        before, here, after = (wide.take(range(i, i + n), axis) for i in range(3))
        x = (before + 2 * here + after) / 4
    return x
