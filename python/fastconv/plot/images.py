"""Figures of images: grids, learned filters, activation maps, overlays, worst cases."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np

from fastconv.data.resize import resize_bilinear
from fastconv.errors import DataError, ShapeError
from fastconv.plot.colours import paint, to_unit, value_range
from fastconv.plot.svg import Figure, document, picture, text

__all__ = ["feature_maps", "filters", "images", "overlays", "worst_examples"]

_GAP, _MARGIN, _CAPTION = 6, 20, 16  # pixels between tiles, around, for a line of text
_STRENGTH = 0.75  # of a heat map where it is largest


def images(
    x: Any,
    captions: Sequence[object] | None = None,
    title: str = "",
    *,
    columns: int | None = None,
    colours: str = "grey",
    limits: tuple[float, float] | None = None,
    size: int = 72,
) -> Figure:
    """A grid of images.

    Parameters
    ----------
    x: (N, H, W) or (N, H, W, 1 or 3), floats or uint8; or a list of such images.
    captions: a text for each image; default none.
    title: a line above the grid.
    columns: images in a row; default up to 6 in one, else about a square.
    colours: of images with one channel: "grey", "heat" or "diverging".
    limits: the values that get the first and the last colour; default 0 and 255 for
        uint8, 0 and 1 for floats in this range, else the least and the largest of all.
    size: pixels of the longer side of an image in the figure.

    Raises
    ------
    ShapeError: no images, of another shape, or another number of captions.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> fc.plot.images(np.zeros((6, 8, 8)), columns=3)
    <Figure 268x190>
    """
    tiles = [_as_image(image) for image in x]
    if not tiles:
        raise ShapeError("images: expected one image or more, received none")
    every = np.concatenate([tile.ravel() for tile in tiles])
    limits = limits or value_range(every, colours)
    drawn = [_pixels(tile, limits, colours) for tile in tiles]
    return _grid(drawn, captions, title, columns, size)


def feature_maps(maps: Any, title: str = "", *, colours: str = "grey") -> Figure:
    """The maps of a layer for one image, one tile a channel, with one range for all.

    Parameters
    ----------
    maps: (H, W, C), or (1, H, W, C) as `fastconv.explain.activations` gives it.
    title, colours: as for `images`.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> fc.plot.feature_maps(np.random.default_rng(0).random((5, 5, 4)), "C1")
    <Figure 346x134>
    """
    maps = np.asarray(maps)
    if maps.ndim == 4 and len(maps) == 1:
        maps = maps[0]
    if maps.ndim != 3:
        raise ShapeError(
            f"feature_maps: expected the maps of one image, (H, W, C), received shape "
            f"{maps.shape}"
        )
    return images(np.moveaxis(maps, -1, 0), title=title, colours=colours)


def filters(kernel: Any, title: str = "", *, most: int = 16) -> Figure:
    """The kernels of a convolution: orange adds, blue subtracts, white is 0.

    With three input channels each filter is one tile in colour, grey being 0; with
    any other number a row holds the parts of a filter, one an input channel.

    Parameters
    ----------
    kernel: (R, S, C, K), such as ``model.get_layer("C1").kernel``.
    title: a line above.
    most: filters, and input channels, that are shown where C is neither 1 nor 3.

    Raises
    ------
    ShapeError: an array that has not four axes.

    >>> import fastconv as fc
    >>> conv = fc.layers.Conv2D(4, 3)
    >>> conv.build((None, 8, 8, 1))
    >>> fc.plot.filters(conv.kernel)
    <Figure 346x112>
    """
    w = np.array(kernel, np.float32)
    if w.ndim != 4:
        raise ShapeError(
            f"filters: expected a kernel (R, S, C, K), received shape {w.shape}"
        )
    tiles = np.moveaxis(w, -1, 0)  # (K, R, S, C)
    limits = value_range(w, "diverging")
    if w.shape[2] == 3:
        return images(tiles, title=title, limits=limits)
    columns = None
    if w.shape[2] > 1:
        tiles = tiles[:most, :, :, :most]
        columns = tiles.shape[3]
        if tiles.shape[0] * columns < w.shape[2] * w.shape[3]:
            shown = f"{tiles.shape[0]} of {w.shape[3]} filters, {columns} of "
            title = f"{title} ({shown}{w.shape[2]} channels)".strip()
        tiles = np.moveaxis(tiles, 3, 1).reshape(-1, *w.shape[:2], 1)
    return images(
        tiles, title=title, columns=columns, colours="diverging", limits=limits,
        size=72 if w.shape[2] == 1 else 32,
    )  # fmt: skip


def overlays(
    x: Any,
    maps: Any,
    captions: Sequence[object] | None = None,
    title: str = "",
    *,
    columns: int | None = None,
    size: int = 112,
) -> Figure:
    """Images with a heat map over each: what `fastconv.explain` says about them.

    The map is scaled to the image, its largest value is bright, and what is 0 or less
    leaves the image as it is.

    Parameters
    ----------
    x: (N, H, W, 1 or 3), as for `images`.
    maps: (N, h, w).
    captions, title, columns, size: as for `images`.

    Raises
    ------
    ShapeError: another number of maps than of images.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> fc.plot.overlays(np.zeros((2, 8, 8, 1)), np.ones((2, 4, 4)))
    <Figure 270x152>
    """
    tiles = np.stack([_as_image(image) for image in x])
    heat = np.asarray(maps, np.float64)
    if heat.ndim != 3 or len(heat) != len(tiles):
        raise ShapeError(
            f"overlays: expected {len(tiles)} maps (N, h, w), one for each image, "
            f"received shape {heat.shape}"
        )
    limits = value_range(tiles)
    wide = resize_bilinear(np.maximum(heat, 0.0), *tiles.shape[1:3])
    drawn = []
    for tile, one in zip(tiles, wide, strict=True):
        share = (one / (one.max() or 1.0))[..., None]
        below = np.broadcast_to(_pixels(tile, limits, "grey"), (*one.shape, 3))
        mixed = below * (1 - _STRENGTH * share)
        mixed = mixed + paint(share[..., 0], "heat") * (_STRENGTH * share)
        drawn.append(np.rint(mixed).astype(np.uint8))
    return _grid(drawn, captions, title, columns, size)


def worst_examples(
    x: Any,
    y: Any,
    predictions: Any,
    class_names: Sequence[object] | None = None,
    title: str = "",
    *,
    count: int = 24,
) -> Figure:
    """The images whose true class got the smallest probability, worst first.

    Under each: the true class, the class that was found, and its probability.

    Parameters
    ----------
    x: images (N, H, W, 1 or 3).
    y: true classes (N,).
    predictions: probabilities (N, C), as ``model.predict(x)`` gives them.
    class_names: C names; default the numbers.
    title: a line above.
    count: images at most.

    Raises
    ------
    ShapeError: arrays that do not fit; DataError: values that are no probabilities.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> p = np.array([[0.9, 0.1], [0.2, 0.8]])
    >>> fc.plot.worst_examples(np.zeros((2, 8, 8, 1)), [1, 1], p, count=1)
    <Figure 112x128>
    """
    p, labels = np.asarray(predictions, np.float64), np.asarray(y).reshape(-1)
    if p.ndim != 2 or not len(x) == len(labels) == len(p):
        raise ShapeError(
            f"worst_examples: expected as many images as classes and rows of (N, C), "
            f"received {len(x)}, {len(labels)} and shape {p.shape}"
        )
    if not ((p >= 0) & (p <= 1.001)).all():
        raise DataError(
            "worst_examples: expected probabilities, received values outside [0, 1]; "
            "end the model with a softmax, or apply fastconv.ops.softmax"
        )
    names = range(p.shape[1]) if class_names is None else class_names
    order = np.argsort(p[np.arange(len(p)), labels], kind="stable")[:count]
    found = p.argmax(1)
    captions = [f"{names[labels[i]]}→{names[found[i]]} {p[i].max():.2f}" for i in order]
    return images([x[i] for i in order], captions, title, columns=8, size=72)


def _as_image(image: Any) -> np.ndarray:
    array = np.asarray(image)
    array = array[..., None] if array.ndim == 2 else array
    if array.ndim != 3 or array.shape[2] not in (1, 3) or not array.size:
        raise ShapeError(
            f"figure: expected images (H, W) or (H, W, 1 or 3), received shape "
            f"{np.shape(image)}"
        )
    return array


def _pixels(tile: np.ndarray, limits: tuple[float, float], colours: str) -> np.ndarray:
    unit = to_unit(tile, limits)
    if tile.shape[2] == 1 and colours != "grey":
        return paint(unit[..., 0], colours)
    return np.rint(np.nan_to_num(unit) * 255).astype(np.uint8)


def _grid(
    tiles: list[np.ndarray],
    captions: Sequence[object] | None,
    title: str,
    columns: int | None,
    size: int,
) -> Figure:
    if captions is not None and len(captions) != len(tiles):
        raise ShapeError(
            f"figure: expected {len(tiles)} captions, one for each image, received "
            f"{len(captions)}"
        )
    if columns is None:
        columns = len(tiles) if len(tiles) <= 6 else min(12, ceil(len(tiles) ** 0.5))
    columns = min(columns, len(tiles))
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    scale = size / max(height, width)
    step_x = width * scale + _GAP
    step_y = height * scale + _GAP + (0 if captions is None else _CAPTION)
    top = _MARGIN + (22 if title else 0)
    parts = [text(_MARGIN, 24, title, "title") if title else ""]
    for i, tile in enumerate(tiles):
        x, y = _MARGIN + i % columns * step_x, top + i // columns * step_y
        h, w = tile.shape[0] * scale, tile.shape[1] * scale
        parts.append(picture(tile, x, y, w, h))
        if captions is not None:
            parts.append(text(x, y + height * scale + 13, captions[i]))
    rows = -(-len(tiles) // columns)
    full = 2 * _MARGIN - _GAP + columns * step_x
    return document(
        max(full, _MARGIN + 8 * len(title)), top + _MARGIN - _GAP + rows * step_y,
        parts, title or "images",
    )  # fmt: skip
