"""Folders of images as batches, read when they are needed."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastconv.data.checks import count
from fastconv.data.image_tree import ImageFile, list_images
from fastconv.data.images import CHANNELS, decode_image, resampling
from fastconv.data.labels import to_categorical
from fastconv.data.split import permutation
from fastconv.errors import ArgumentError, DataError

__all__ = ["ImageBatches", "image_dataset_from_directory"]

_LABEL_MODES = ("int", "categorical", "binary", None)


class ImageBatches:
    """Batches of image files, decoded batch by batch; made by the function below.

    Iterating gives ``x`` or ``(x, y)``; each time anew, in another order if shuffled.
    ``fit`` takes it as it is. ``class_names`` and ``file_paths`` are Keras's.
    """

    def __init__(
        self,
        files: Sequence[ImageFile],
        class_names: tuple[str, ...],
        label_mode: str | None,
        color_mode: str,
        batch_size: int,
        image_size: tuple[int, int],
        interpolation: str,
        shuffle: bool,
        seed: int,
    ) -> None:
        self.files = files
        self.class_names = class_names
        self.file_paths = [str(file[2]) for file in files]
        self.label_mode = label_mode
        self.color_mode = color_mode
        self.batch_size = batch_size
        self.image_size = image_size
        self.interpolation = interpolation
        self.shuffle = shuffle
        self.seed = seed
        self.num_samples = len(files)
        self._epoch = 0

    def __len__(self) -> int:
        """Batches in one epoch."""
        return (self.num_samples + self.batch_size - 1) // self.batch_size

    @property
    def num_batches(self) -> int:
        """Batches in one epoch."""
        return len(self)

    def batches(
        self, epoch: int = 0, shuffle: bool | None = None, start: int = 0
    ) -> Iterator[tuple[Any, Any, Any]]:
        """The batches (x, y, None) of an epoch; y is None without labels."""
        n = self.num_samples
        mixed = self.shuffle if shuffle is None else shuffle
        # Epoch 0 of the same seed ordered the files before they were split.
        order = permutation(n, self.seed, epoch + 1) if mixed else np.arange(n)
        begin = count("start", start, least=0) * self.batch_size
        for first in range(begin, n, self.batch_size):
            files = [self.files[i] for i in order[first : first + self.batch_size]]
            yield self._decode(files), self._labels(files), None

    def __iter__(self) -> Iterator[Any]:
        """Batches x or (x, y) of the next epoch."""
        epoch, self._epoch = self._epoch, self._epoch + 1
        for x, y, _ in self.batches(epoch):
            yield x if y is None else (x, y)

    def _decode(self, files: list[ImageFile]) -> np.ndarray:
        shape = (len(files), *self.image_size, CHANNELS[self.color_mode])
        x = np.empty(shape, dtype=np.float32)
        for i, (_, _, path) in enumerate(files):
            x[i] = decode_image(
                path, self.color_mode, self.image_size, self.interpolation
            )
        return x

    def _labels(self, files: list[ImageFile]) -> np.ndarray | None:
        if self.label_mode is None:
            return None
        y = np.array([self.class_names.index(file[0]) for file in files], np.int64)
        if self.label_mode == "categorical":
            return to_categorical(y, len(self.class_names))
        return y if self.label_mode == "int" else y[:, None].astype(np.float32)


def image_dataset_from_directory(
    directory: str | os.PathLike[str],
    label_mode: str | None = "int",
    class_names: Sequence[str] | None = None,
    color_mode: str = "rgb",
    batch_size: int = 32,
    image_size: tuple[int, int] = (256, 256),
    shuffle: bool = True,
    seed: int | None = None,
    validation_split: float | None = None,
    subset: str | None = None,
    interpolation: str = "bilinear",
) -> Any:
    """Batches of the images in ``directory``/CLASS/, scaled to one size.

    Files are found at once and decoded batch by batch. BMP, GIF, JPEG and PNG files are
    read, also from folders inside CLASS; links that lead out of the folder are refused.

    Args:
        directory: the folder of class folders.
        label_mode: "int" (int64, (N,)), "categorical" (float32, (N, classes)), "binary"
            (float32, (N, 1), two classes) or None (no labels).
        class_names: the class folders to read, in the order of their labels; None is
            all, sorted.
        color_mode: "grayscale", "rgb" or "rgba": 1, 3 or 4 channels.
        batch_size: images in a batch; the last may be smaller.
        image_size: (height, width).
        shuffle: whether the order of files is random, another one each epoch.
        seed: of the order; None is 0, so that runs are reproducible.
        validation_split: share of the files kept for validation, in (0, 1).
        subset: "training", "validation" or "both"; needed with validation_split.
        interpolation: "nearest", "bilinear", "bicubic", "area" or "lanczos3".

    Returns:
        :class:`ImageBatches` of x (N, height, width, C), float32, 0 .. 255, and y; a
        pair of them (training, validation) for "both".

    Raises:
        ArgumentError: an argument that makes no sense.
        DataError: no such folder, no images, or an empty subset.
        FormatError: a link out of the folder; while iterating, a damaged image.
        MissingExtraError: while iterating: Pillow is not installed.

    >>> image_dataset_from_directory("no/such/folder")
    Traceback (most recent call last):
    fastconv.errors.DataError: no/such/folder: no such folder or archive
    """
    _check_choices(label_mode, color_mode, batch_size, image_size, interpolation)
    _check_split(validation_split, subset)
    files, names = _classed_files(directory, class_names)
    if label_mode == "binary" and len(names) != 2:
        raise ArgumentError(
            f"label_mode 'binary': expected 2 classes, got {len(names)}"
        )
    chosen_seed = 0 if seed is None else seed
    if shuffle:
        files = [files[i] for i in permutation(len(files), chosen_seed)]

    def batches(part: Sequence[ImageFile]) -> ImageBatches:
        return ImageBatches(
            part,
            names,
            label_mode,
            color_mode,
            batch_size,
            image_size,
            interpolation,
            shuffle,
            chosen_seed,
        )

    if validation_split is None:
        return batches(files)
    cut = len(files) - int(validation_split * len(files))
    if cut in (0, len(files)):
        raise DataError(
            f"validation_split={validation_split} of {len(files)} images leaves "
            f"{cut} for training and {len(files) - cut} for validation"
        )
    if subset == "both":
        return batches(files[:cut]), batches(files[cut:])
    return batches(files[:cut] if subset == "training" else files[cut:])


def _classed_files(
    directory: str | os.PathLike[str], class_names: Sequence[str] | None
) -> tuple[list[ImageFile], tuple[str, ...]]:
    files = list_images(directory)
    present = sorted({file[0] for file in files})
    names = tuple(present if class_names is None else class_names)
    absent = [name for name in names if name not in present]
    if absent:
        raise ArgumentError(
            f"class_names: {', '.join(absent)} not among the class folders "
            f"{', '.join(present)} of {directory}"
        )
    return [file for file in files if file[0] in names], names


def _check_choices(
    label_mode: str | None,
    color_mode: str,
    batch_size: int,
    image_size: tuple[int, int],
    interpolation: str,
) -> None:
    if label_mode not in _LABEL_MODES:
        raise ArgumentError(
            f"label_mode: expected one of {_LABEL_MODES}, got {label_mode!r}"
        )
    if color_mode not in CHANNELS:
        raise ArgumentError(
            f"color_mode: expected one of {', '.join(CHANNELS)}, got {color_mode!r}"
        )
    if batch_size < 1:
        raise ArgumentError(f"batch_size: expected 1 or more, got {batch_size}")
    if len(image_size) != 2 or min(image_size) < 1:
        raise ArgumentError(f"image_size: expected (height, width), got {image_size}")
    resampling(interpolation)


def _check_split(validation_split: float | None, subset: str | None) -> None:
    if (validation_split is None) != (subset is None):
        raise ArgumentError(
            "validation_split and subset: expected both or neither, got "
            f"{validation_split!r} and {subset!r}"
        )
    if validation_split is not None and not 0.0 < validation_split < 1.0:
        raise ArgumentError(
            f"validation_split: expected a number in (0, 1), got {validation_split}"
        )
    if subset not in (None, "training", "validation", "both"):
        raise ArgumentError(
            f"subset: expected 'training', 'validation' or 'both', got {subset!r}"
        )
