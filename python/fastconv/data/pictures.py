"""Single images between files, Pillow and arrays, with Keras's names."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.data.images import MODES, middle_box, pillow, to_pillow
from fastconv.errors import ArgumentError, ShapeError
from fastconv.io import atomic

__all__ = ["array_to_img", "img_to_array", "load_img", "save_img"]

_FILTERS = ("nearest", "bilinear", "bicubic", "hamming", "box", "lanczos")


def load_img(
    path: str | os.PathLike[str] | io.BytesIO,
    color_mode: str = "rgb",
    target_size: tuple[int, int] | None = None,
    interpolation: str = "nearest",
    keep_aspect_ratio: bool = False,
) -> Any:
    """An image file as a Pillow image.

    Args:
        path: a file: BMP, GIF, JPEG or PNG; or its bytes in an ``io.BytesIO``.
        color_mode: "grayscale", "rgb" or "rgba".
        target_size: (height, width); None keeps the size.
        interpolation: "nearest", "bilinear", "bicubic", "hamming", "box" or "lanczos".
        keep_aspect_ratio: cut the largest part in the middle with the aspect ratio of
            ``target_size`` before scaling.

    Raises:
        ArgumentError: another colour mode or interpolation.
        FileNotFoundError: no such file.
        FormatError: no image, or a damaged one.
        MissingExtraError: Pillow is not installed.

    >>> load_img("photo.jpg", color_mode="cmyk")
    Traceback (most recent call last):
    fastconv.errors.ArgumentError: color_mode: expected grayscale, rgb, rgba, got 'cmyk'
    """
    if color_mode not in MODES:
        raise ArgumentError(
            f"color_mode: expected {', '.join(MODES)}, got {color_mode!r}"
        )
    if interpolation not in _FILTERS:
        raise ArgumentError(
            f"interpolation: expected one of {', '.join(_FILTERS)}, "
            f"got {interpolation!r}"
        )
    memory = isinstance(path, io.BytesIO)
    content = path.read() if memory else Path(path).read_bytes()  # type: ignore
    image = to_pillow(content, color_mode, "image" if memory else str(path))
    if target_size is None or target_size == (image.height, image.width):
        return image
    box = None
    if keep_aspect_ratio:
        box = middle_box(image.height, image.width, *target_size)
    method = getattr(pillow().Resampling, interpolation.upper())
    return image.resize((target_size[1], target_size[0]), method, box)


def img_to_array(img: Any, data_format: str | None = None, dtype: Any = None) -> Any:
    """A Pillow image as an array (H, W, C).

    Args:
        img: the image; a 2D or 3D array is taken as well.
        data_format: "channels_last", "channels_first"; None is "channels_last".
        dtype: default float32; values stay 0 .. 255.

    Raises:
        ArgumentError: another data format.
        ShapeError: neither 2 nor 3 axes.

    >>> img_to_array(np.zeros((4, 5), np.uint8)).shape
    (4, 5, 1)
    """
    array = np.asarray(img, dtype=dtype or np.float32)
    if array.ndim not in (2, 3):
        raise ShapeError(f"img_to_array: expected 2 or 3 axes, got {array.shape}")
    array = array[..., None] if array.ndim == 2 else array
    return array.transpose(2, 0, 1) if _first(data_format) else array


def array_to_img(
    x: Any, data_format: str | None = None, scale: bool = True, dtype: Any = None
) -> Any:
    """An array as a Pillow image of mode "L" or "I" (C = 1), "RGB" or "RGBA".

    Args:
        x: (H, W, C) with 1, 3 or 4 channels, or (C, H, W) for "channels_first".
        data_format: as in `img_to_array`.
        scale: stretch the values so that they range from 0 to 255; else they are
            rounded down to bytes as they are.
        dtype: what the values are computed in; default float32.

    Raises:
        ArgumentError: another data format.
        ShapeError: other shapes.
        MissingExtraError: Pillow is not installed.

    >>> array_to_img(np.zeros((2, 5, 3))).size
    (5, 2)
    """
    array = np.asarray(x, dtype=dtype or np.float32)
    if array.ndim == 3 and _first(data_format):
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4) or array.size == 0:
        raise ShapeError(
            f"array_to_img: expected an image of 1, 3 or 4 channels, got {array.shape}"
        )
    if scale:
        array = array - array.min()
        top = array.max()
        array = array * (255 / top) if top else array
    if array.shape[2] == 1 and array.max() > 255:
        return pillow().fromarray(array[..., 0].astype(np.int32))
    pixels = array.astype(np.uint8)
    return pillow().fromarray(pixels[..., 0] if array.shape[2] == 1 else pixels)


def save_img(
    path: str | os.PathLike[str],
    x: Any,
    data_format: str | None = None,
    file_format: str | None = None,
    scale: bool = True,
) -> None:
    """Writes an array to an image file, at once; see `array_to_img`.

    Args:
        path: the file; its suffix says the format, unless ``file_format`` does.
        x: the image.
        data_format: as in `img_to_array`.
        file_format: "PNG", "JPEG" ... (Pillow's names; "jpg" too).
        scale: as in `array_to_img`.

    Raises:
        ArgumentError: a format that Pillow does not write.
        OSError: the file cannot be written.
        ShapeError, MissingExtraError: as `array_to_img`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "black.png"
    >>> save_img(path, np.zeros((2, 5, 3)))
    >>> load_img(path).size
    (5, 2)
    """
    image = array_to_img(x, data_format, scale)
    known = pillow().registered_extensions()
    name = (file_format or known.get(Path(path).suffix.lower(), "")).upper()
    name = "JPEG" if name == "JPG" else name
    if name not in pillow().SAVE:
        raise ArgumentError(
            f"save_img: expected a format that Pillow writes, got "
            f"{file_format or os.fspath(path)!r}"
        )
    if name == "JPEG" and image.mode == "RGBA":
        image = image.convert("RGB")
    file = io.BytesIO()
    image.save(file, name)
    atomic.write(path, file.getvalue())


def _first(data_format: str | None) -> bool:
    if data_format not in (None, "channels_first", "channels_last"):
        raise ArgumentError(
            f"data_format: expected channels_last or channels_first, got "
            f"{data_format!r}"
        )
    return data_format == "channels_first"
