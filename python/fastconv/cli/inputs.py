"""From images as they are stored to what a model reads, in training and afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastconv.data.resize import resize_bilinear
from fastconv.errors import FormatError, ShapeError

__all__ = ["Inputs"]

_PAD_UP_TO = 1.25  # what is smaller by up to this factor gets a border
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_CHUNK = 4096  # images prepared together: bounds the memory of temporary arrays


@dataclass(frozen=True)
class Inputs:
    """How the images of a run become the model's input: (x / scale - mean) / std.

    Attributes
    ----------
    image_size: (H, W) of the images of the data set; others are scaled to it.
    input_shape: (H, W, C) of the model. Images up to a fifth smaller get a border of
        zeros, as MNIST's 28x28 in LeNet-5's 32x32; all others are scaled.
    scale: what white is in the data: 255 for uint8, 1 for floats.
    mean, std: of the pixels of the training part, after the scale.
    """

    image_size: tuple[int, int]
    input_shape: tuple[int, int, int]
    scale: float
    mean: float
    std: float

    @classmethod
    def of(cls, images: np.ndarray, input_shape: tuple[int, ...]) -> Inputs:
        """What suits ``images`` (N, H, W, C), the training part.

        >>> Inputs.of(np.full((2, 28, 28, 1), 255, np.uint8), (32, 32, 1)).image_size
        (28, 28)
        """
        if len(input_shape) != 3:
            raise ShapeError(f"expected a model of (H, W, C) images, got {input_shape}")
        height, width, channels = input_shape
        size = (int(images.shape[1]), int(images.shape[2]))
        scale = 255.0 if images.dtype == np.uint8 else 1.0
        plain = cls(size, (height, width, channels), scale, 0.0, 1.0)
        x = plain(images)
        mean, std = float(x.mean(dtype=np.float64)), float(x.std(dtype=np.float64))
        return cls(size, plain.input_shape, scale, round(mean, 6), round(std, 6) or 1.0)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], where: str) -> Inputs:
        """What :meth:`config` wrote; FormatError if it is damaged."""
        try:
            height, width = map(int, config["image_size"])
            rows, columns, channels = map(int, config["input_shape"])
            numbers = [float(config[key]) for key in ("scale", "mean", "std")]
        except (KeyError, TypeError, ValueError) as error:
            raise FormatError(f"{where}: [inputs] is damaged: {error!r}") from error
        return cls((height, width), (rows, columns, channels), *numbers)

    def config(self) -> dict[str, Any]:
        """The fields, for config.toml."""
        return asdict(self)

    @property
    def black(self) -> float:
        """What the model reads for a pixel of 0."""
        return -self.mean / self.std

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """(N, h, w, c), c as the model reads or grey or, for grey, RGB; float32."""
        wanted = self.input_shape[2]
        known = (1, 3) if wanted == 1 else (1, wanted)
        if images.ndim != 4 or images.shape[3] not in known:
            raise ShapeError(
                f"expected images of shape (N, H, W, {' or '.join(map(str, known))}), "
                f"got {images.shape}"
            )
        out = np.empty((len(images), *self.input_shape), np.float32)
        for start in range(0, len(images), _CHUNK):
            rows = slice(start, start + _CHUNK)
            out[rows] = self._prepare(images[rows])
        return out

    def _prepare(self, images: np.ndarray) -> np.ndarray:
        x = _channels(images.astype(np.float32), self.input_shape[2])
        x = _resize(x, self.image_size)
        height, width = self.input_shape[:2]
        if not _pads(self.image_size, (height, width)):
            x = _resize(x, (height, width))
        x = _pad(x, height, width)
        x = x / np.float32(self.scale) - np.float32(self.mean)
        return x / np.float32(self.std)


def _channels(x: np.ndarray, channels: int) -> np.ndarray:
    if x.shape[3] == channels:
        return x
    return (x @ _LUMA)[..., None] if channels == 1 else np.repeat(x, channels, axis=3)


def _resize(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if x.shape[1:3] == size:
        return x
    planes = [resize_bilinear(x[..., c], *size) for c in range(x.shape[3])]
    return np.stack(planes, axis=-1)


def _pads(size: tuple[int, int], target: tuple[int, int]) -> bool:
    return all(s <= t <= s * _PAD_UP_TO for s, t in zip(size, target, strict=True))


def _pad(x: np.ndarray, height: int, width: int) -> np.ndarray:
    spare = (height - x.shape[1], width - x.shape[2])
    rows, columns = ((n // 2, n - n // 2) for n in spare)
    return np.pad(x, ((0, 0), rows, columns, (0, 0))) if any(spare) else x
