"""What in an image a network's answer depends on: saliency, Grad-CAM, occlusion."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import ops
from fastconv.errors import ArgumentError, ShapeError
from fastconv.execution import function
from fastconv.explain.scores import (
    classes_of,
    in_batches,
    layer_output,
    one_hot,
    scores,
    scores_and_map,
)
from fastconv.graph import Tensor, grad

__all__ = ["grad_cam", "occlusion", "saliency"]


def saliency(
    model: Any, x: Any, classes: Any = None, *, batch_size: int = 64
) -> np.ndarray:
    """How much each pixel changes the score of a class.

    Formula: ``max over channels of |d score_c / d x|``, the score being that before
    softmax. Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks",
    ICLR 2014 workshop, section 3.

    Parameters
    ----------
    model: with one output (N, C).
    x: images (N, H, W, channels).
    classes: one number, or one for each image; default the most probable class.
    batch_size: images at a time.

    Returns
    -------
    Array (N, H, W), float32, >= 0.

    Raises
    ------
    ShapeError, DataError: arrays or classes that do not fit.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> fc.explain.saliency(fc.models.LeNet5(), np.ones((2, 32, 32, 1))).shape
    (2, 32, 32)
    """
    x = images(x)

    @function
    def compute(x: Tensor, classes: Tensor) -> Tensor:
        found = scores(model, x)
        score = ops.sum(found * one_hot(classes, found.shape[-1]))
        return ops.max(ops.abs(grad(score, x)), axis=-1)

    wanted = classes_of(model, x, classes, batch_size)
    return in_batches(compute, batch_size, x, wanted)


def grad_cam(
    model: Any,
    x: Any,
    classes: Any = None,
    layer: str | None = None,
    *,
    batch_size: int = 64,
) -> np.ndarray:
    """Where in an image a convolutional network finds its evidence for a class.

    Formula: ``relu(sum_k a_k A_k)`` with ``a_k = mean over positions of d score_c /
    d A_k``; A are the maps of a layer, the score is that before softmax. Selvaraju et
    al., "Grad-CAM", ICCV 2017, eq. 1 and 2.

    Parameters
    ----------
    model: `Sequential` or functional, with one output (N, C).
    x: images (N, H, W, channels).
    classes: one number, or one for each image; default the most probable class.
    layer: name of the layer with the maps (N, h, w, K); default the last layer whose
        maps have more than one position.
    batch_size: images at a time.

    Returns
    -------
    Array (N, h, w), float32, >= 0, of the size of the layer's maps;
    `fastconv.plot.overlays` scales it to the images.

    Raises
    ------
    UnknownNameError: no such layer; ArgumentError: no layer has maps; ShapeError,
    DataError: arrays or classes that do not fit.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> x = np.ones((2, 32, 32, 1))
    >>> fc.explain.grad_cam(fc.models.LeNet5(), x, layer="C3").shape
    (2, 10, 10)
    """
    x = images(x)
    name = layer or _last_maps(model)
    if len(layer_output(model, name).shape) != 4:
        raise ShapeError(f"layer {name!r} gives no maps (N, h, w, channels)")

    @function
    def compute(x: Tensor, classes: Tensor) -> Tensor:
        found, maps = scores_and_map(model, x, name)
        score = ops.sum(found * one_hot(classes, found.shape[-1]))
        weights = ops.mean(grad(score, maps), axis=(1, 2), keepdims=True)
        return ops.relu(ops.sum(weights * maps, axis=-1))

    wanted = classes_of(model, x, classes, batch_size)
    return in_batches(compute, batch_size, x, wanted)


def occlusion(
    model: Any,
    x: Any,
    classes: Any = None,
    *,
    size: int = 5,
    stride: int = 2,
    value: float = 0.0,
    batch_size: int = 256,
) -> np.ndarray:
    """How much the output for a class falls when a square of the image is covered.

    Formula: at each place of the square ``p_c(x) - p_c(x with the square = value)``,
    p being the model's output. Zeiler and Fergus, "Visualizing and understanding
    convolutional networks", ECCV 2014, section 4.2.

    Parameters
    ----------
    model: with one output (N, C).
    x: images (N, H, W, channels).
    classes: one number, or one for each image; default the most probable class.
    size: of the square, centred on each place; what sticks out is cut off.
    stride: distance of the places, from the first pixel on.
    value: what covers the image: as a rule black, or the mean of the data.
    batch_size: covered images at a time.

    Returns
    -------
    Array (N, ceil(H / stride), ceil(W / stride)), float32; negative where the output
    rises.

    Raises
    ------
    ArgumentError: a size or stride below 1; ShapeError, DataError as for `saliency`.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> x = np.ones((1, 32, 32, 1))
    >>> fc.explain.occlusion(fc.models.LeNet5(), x, size=8, stride=8).shape
    (1, 4, 4)
    """
    if size < 1 or stride < 1:
        raise ArgumentError(
            f"occlusion: expected a size and a stride of 1 or more, received {size} "
            f"and {stride}"
        )
    x = images(x)
    wanted = classes_of(model, x, classes, batch_size)
    rows, columns = (range(0, n, stride) for n in x.shape[1:3])
    out = np.empty((len(x), len(rows), len(columns)), np.float32)
    for image, label, falls in zip(x, wanted, out, strict=True):
        places = [(row, column) for row in rows for column in columns]
        before = model.predict(image[None], batch_size=1, verbose=0)[0, label]

        def covered(places: np.ndarray, image: np.ndarray = image) -> np.ndarray:
            stack = np.repeat(image[None], len(places), axis=0)
            for one, (row, column) in zip(stack, places, strict=True):
                top, left = row - (size - 1) // 2, column - (size - 1) // 2
                below, right = top + size, left + size
                one[max(top, 0) : below, max(left, 0) : right] = value
            return model.predict(stack, batch_size=batch_size, verbose=0)

        after = in_batches(covered, batch_size, np.array(places))[:, label]
        falls[...] = (before - after).reshape(falls.shape)
    return out


def images(x: Any) -> np.ndarray:
    """Images as float32 (N, H, W, channels); ShapeError for another rank."""
    x = np.asarray(x, np.float32)
    if x.ndim != 4:
        raise ShapeError(
            f"expected images (N, H, W, channels), received shape {x.shape}; a single "
            "image needs a batch axis: give x[np.newaxis]"
        )
    return x


def _last_maps(model: Any) -> str:
    for call in reversed(model.connections):
        shape = getattr(call.outputs, "shape", ())
        if len(shape) == 4 and shape[1:3] != (1, 1):
            return call.layer.name
    raise ArgumentError(
        f"model {model.name!r}: no layer with maps (N, h, w, channels) was found; "
        "grad_cam needs a Sequential or functional model with convolutions"
    )
