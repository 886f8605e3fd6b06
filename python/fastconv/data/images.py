"""Image files to arrays, by simplejpeg and Pillow (the extra ``image``)."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.errors import ArgumentError, FormatError, MissingExtraError

__all__ = [
    "CHANNELS", "MODES", "SUFFIXES", "decode_image", "middle_box", "pillow",
    "resampling", "to_pillow",
]  # fmt: skip

CHANNELS = {"grayscale": 1, "rgb": 3, "rgba": 4}
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png")

_JPEG = b"\xff\xd8\xff"
MODES = {"grayscale": "L", "rgb": "RGB", "rgba": "RGBA"}
_MAX_PIXELS = 1 << 27  # above it, Pillow decides
_SPACES = {"grayscale": "GRAY", "rgb": "RGB", "rgba": "RGBA"}  # simplejpeg's names
_FILTERS = {
    "nearest": "NEAREST",
    "bilinear": "BILINEAR",
    "bicubic": "BICUBIC",
    "area": "BOX",
    "lanczos3": "LANCZOS",
}


def pillow() -> Any:
    """The module PIL.Image; MissingExtraError without it."""
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
    crop: bool = False,
) -> np.ndarray:
    """An image file as an array (H, W, C), uint8.

    JPEG files are decoded by simplejpeg where it is installed, several times as fast
    as Pillow and to the same bytes; what it does not read, Pillow does.

    Args:
        source: a path, or the content of a file.
        color_mode: "grayscale", "rgb" or "rgba" (C = 1, 3, 4); None is "grayscale" for
            files without colour and "rgb" for all others.
        size: (H, W) to scale to; None keeps the size.
        interpolation: "nearest", "bilinear", "bicubic", "area" or "lanczos3".
        where: a name for messages, where source is bytes.
        crop: before scaling, take the largest part in the middle that has the aspect
            ratio of ``size``.

    Raises:
        FormatError: no image, a damaged one, or one of far too many pixels.
        MissingExtraError: Pillow is not installed.
    """
    name = where if isinstance(source, bytes) else str(source)
    content = source if isinstance(source, bytes) else source.read_bytes()
    array = _decode_jpeg(content, color_mode)
    if array is not None and size in (None, array.shape[:2]):
        return array
    if array is not None:
        picture = pillow().fromarray(array[..., 0] if array.shape[2] == 1 else array)
    else:
        picture = to_pillow(content, color_mode, name)
    if size is not None:
        method = getattr(pillow().Resampling, resampling(interpolation))
        box = middle_box(picture.height, picture.width, *size) if crop else None
        picture = picture.resize((size[1], size[0]), method, box)
    array = np.array(picture, dtype=np.uint8)
    return array if array.ndim == 3 else array[..., None]


def to_pillow(content: bytes, color_mode: str | None, where: str) -> Any:
    """The content of a file as a Pillow image; arguments as in `decode_image`."""
    opener, formats = pillow(), ("BMP", "GIF", "JPEG", "PNG")
    try:
        with opener.open(io.BytesIO(content), formats=formats) as image:
            grey = image.mode in ("1", "L") or image.mode.startswith("I")
            return image.convert(MODES[color_mode or ("grayscale" if grey else "rgb")])
    except (OSError, ValueError, SyntaxError, opener.DecompressionBombError) as error:
        raise FormatError(f"{where}: cannot be read as an image: {error}") from error


def middle_box(rows: int, columns: int, height: int, width: int) -> tuple[int, ...]:
    """The largest part with the ratio ``height : width``, as Pillow's box."""
    tall = max(1, min(rows, columns * height // width))
    wide = max(1, min(columns, rows * width // height))
    top, left = (rows - tall) // 2, (columns - wide) // 2
    return left, top, left + wide, top + tall


def _decode_jpeg(content: bytes, color_mode: str | None) -> np.ndarray | None:
    """A JPEG file as simplejpeg reads it; None if it is another or needs Pillow."""
    if not content.startswith(_JPEG):
        return None
    try:
        import simplejpeg
    except ImportError:
        return None
    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(content)
        if height * width > _MAX_PIXELS:
            return None
        if color_mode == "grayscale" and space != "Gray":
            return None  # Pillow mixes the colours in another way
        color_mode = color_mode or ("grayscale" if space == "Gray" else "rgb")
        array: np.ndarray = simplejpeg.decode_jpeg(content, _SPACES[color_mode])
    except ValueError:  # damaged, or of a kind that Pillow may know
        return None
    return array
