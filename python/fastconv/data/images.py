"""Image files to arrays, by Pillow (the extra ``image``)."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, FormatError, MissingExtraError

__all__ = ["CHANNELS", "SUFFIXES", "decode_image", "resampling"]

CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")

_MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
_FILTERS = {
    "nearest": "NEAREST",
    "bilinear": "BILINEAR",
    "bicubic": "BICUBIC",
    "area": "BOX",
    "lanczos3": "LANCZOS",
}


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError(
            "reading PNG and JPEG files needs Pillow: pip install fastconv[image]"
        ) from error
    return Image


def resampling(interpolation: str) -> str:
    """Pillow's name of Keras's ``interpolation``; ArgumentError if there is none."""
    if interpolation not in _FILTERS:
        raise ArgumentError(
            f"interpolation: expected one of {', '.join(_FILTERS)}, "
            f"got {interpolation!r}"
        )
    return _FILTERS[interpolation]


def decode_image(
    source: Path | bytes,
    color_mode: str | None = None,
    size: tuple[int, int] | None = None,
    interpolation: str = "bilinear",
    where: str = "image",
) -> np.ndarray:
    """An image file as an array (H, W, C), uint8.

    Args:
        source: a path, or the content of a file.
        color_mode: "grayscale", "rgb" or "rgba" (C = 1, 3, 4); None is "grayscale" for
            files without colour and "rgb" for all others.
        size: (H, W) to scale to; None keeps the size.
        interpolation: "nearest", "bilinear", "bicubic", "area" or "lanczos3".
        where: a name for messages, where source is bytes.

    Raises:
        FormatError: no image, a damaged one, or one of far too many pixels.
        MissingExtraError: Pillow is not installed.
    """
    pillow = _pillow()
    name = where if isinstance(source, bytes) else str(source)
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with pillow.open(file, formats=("BMP", "GIF", "JPEG", "PNG")) as image:
            grey = image.mode in ("1", "L") or image.mode.startswith("I")
            picture = image.convert(
                _MODES[color_mode or ("grayscale" if grey else "rgb")]
            )
            if size is not None:
                method = getattr(pillow.Resampling, resampling(interpolation))
                picture = picture.resize((size[1], size[0]), method)
            array = np.array(picture, dtype=np.uint8)
    except FileNotFoundError:
        raise
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise FormatError(f"{name}: cannot be read as an image: {error}") from error
    return array if array.ndim == 3 else array[..., None]
