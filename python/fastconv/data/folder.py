"""Folders of images as batches: decoded once, by threads."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastconv import _core
from fastconv.data.checks import count
from fastconv.data.decoded import DecodedImages
from fastconv.data.image_tree import ImageFile, list_images
from fastconv.data.images import CHANNELS, decode_image, resampling
from fastconv.data.labels import to_categorical
from fastconv.data.prefetch import prefetch
from fastconv.data.split import permutation
from fastconv.errors import ArgumentError, DataError

__all__ = ["ImageBatches", "image_dataset_from_directory"]

_LABEL_MODES = ("int", "categorical", "binary", None)

Batch = tuple[Any, Any, Any]


class ImageBatches:
    """Batches of image files; made by `image_dataset_from_directory`.

    Iterating gives ``x`` or ``(x, y)``; each time anew, in another order if shuffled.
    ``fit`` takes it as it is. ``class_names`` and ``file_paths`` are Keras's;
    ``skipped`` lists the damaged files that were passed over so far.

    While images are still to be decoded, threads do it, and a batch or two ahead.

    >>> import tempfile
    >>> import fastconv as fc
    >>> folder = tempfile.mkdtemp()
    >>> os.mkdir(f"{folder}/cat")
    >>> fc.utils.save_img(f"{folder}/cat/1.png", np.zeros((4, 4, 3)))
    >>> [(x, y)] = image_dataset_from_directory(folder, image_size=(2, 2))
    >>> x.shape, y
    ((1, 2, 2, 3), array([0]))
    """

    def __init__(
        self,
        images: DecodedImages,
        labels: np.ndarray | None,
        class_names: tuple[str, ...],
        batch_size: int,
        shuffle: bool,
        seed: int,
    ) -> None:
        self.images = images
        self.labels = labels
        self.class_names = class_names
        self.file_paths = [str(file[2]) for file in images.files]
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.num_samples = len(images.files)
        self._epoch = 0

    def __len__(self) -> int:
        """Batches in one epoch."""
        return (self.num_samples + self.batch_size - 1) // self.batch_size

    @property
    def num_batches(self) -> int:
        """Batches in one epoch."""
        return len(self)

    @property
    def skipped(self) -> list[str]:
        """The damaged files that were passed over so far."""
        return [self.file_paths[i] for i in sorted(self.images.damaged)]

    def order(self, epoch: int = 0, shuffle: bool | None = None) -> np.ndarray:
        """The numbers of the files, in the order of an epoch."""
        if self.shuffle if shuffle is None else shuffle:
            # Epoch 0 of the same seed ordered the files before they were split.
            return permutation(self.num_samples, self.seed, epoch + 1)
        return np.arange(self.num_samples)

    def batches(
        self, epoch: int = 0, shuffle: bool | None = None, start: int = 0
    ) -> Iterator[Batch]:
        """The batches (x, y, None) of an epoch; y is None without labels."""
        start = count("start", start, least=0)
        made = self._made(self.order(epoch, shuffle), start)
        return made if self.images.complete else prefetch(made)

    def _made(self, order: np.ndarray, start: int) -> Iterator[Batch]:
        n = self.num_samples
        for first in range(start * self.batch_size, n, self.batch_size):
            rows = order[first : first + self.batch_size]
            images, good = self.images.rows(rows)
            if not good.any():
                raise DataError(
                    f"batch {first // self.batch_size}: all its images are damaged: "
                    f"{', '.join(self.file_paths[i] for i in rows[:3])} ..."
                )
            y = None if self.labels is None else self.labels[rows[good]]
            yield images.astype(np.float32), y, None

    def __iter__(self) -> Iterator[Any]:
        """Batches x or (x, y) of the next epoch."""
        epoch, self._epoch = self._epoch, self._epoch + 1
        for x, y, _ in self.batches(epoch):
            yield x if y is None else (x, y)


def image_dataset_from_directory(
    directory: str | os.PathLike[str],
    labels: Any = "inferred",
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
    *,
    crop_to_aspect_ratio: bool = False,
    cache: bool | str | os.PathLike[str] = True,
    damaged: str = "raise",
    workers: int | None = None,
) -> Any:
    """Batches of the images in ``directory``/CLASS/, scaled to one size.

    Files are found at once, and decoded by threads when they are first asked for; later
    epochs take the decoded images (bytes, not floats) from the cache. BMP, GIF, JPEG
    and PNG files are read, also from folders inside CLASS, and from a tar file of such
    folders, compressed or not; links that lead out of the folder are refused.

    Args:
        directory: the folder of class folders, or a tar file of it.
        labels: "inferred" from the folders; None (no labels, and no class folders
            needed); or a list of integers, one for each file, sorted by path.
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
        interpolation: "nearest", "bilinear", "bicubic", "area" or "lanczos3"; Pillow's,
            with antialias, rounded to bytes.
        crop_to_aspect_ratio: cut the largest part in the middle with the aspect ratio
            of ``image_size`` instead of distorting images.
        cache: True keeps decoded images in memory if they take at most a quarter of
            what is free, else a warning is logged; False decodes each time; a folder
            keeps them in a mapped file there, with checksums, for later runs too.
        damaged: "raise", or "skip" damaged files: their batches are smaller, and
            ``skipped`` lists them.
        workers: threads that decode; None is as many as compute.

    Returns:
        :class:`ImageBatches` of x (N, height, width, C), float32, 0 .. 255, and y; a
        pair of them (training, validation) for "both".

    Raises:
        ArgumentError: an argument that makes no sense.
        DataError: no such folder, no images, an empty subset, or while iterating a
            batch of damaged images only.
        FormatError: a link out of the folder; while iterating, a damaged image or
            cache.
        MissingExtraError: while iterating: Pillow is not installed.

    >>> image_dataset_from_directory("no/such/folder")
    Traceback (most recent call last):
    fastconv.errors.DataError: no/such/folder: no such folder or archive
    """
    _check_choices(label_mode, color_mode, batch_size, image_size, interpolation)
    _check_split(validation_split, subset)
    if damaged not in ("raise", "skip"):
        raise ArgumentError(f"damaged: expected 'raise' or 'skip', got {damaged!r}")
    threads = _core.thread_count() if workers is None else workers
    threads = count("workers", threads, least=1)
    files, numbers, names = _labelled_files(directory, labels, class_names)
    y = None if label_mode is None or numbers is None else numbers
    if y is not None:
        y = _encoded(y, names, label_mode)
    chosen_seed = 0 if seed is None else seed
    order = np.arange(len(files))
    if shuffle:
        order = permutation(len(files), chosen_seed)
    size = (int(image_size[0]), int(image_size[1]))

    def decode(file: ImageFile) -> np.ndarray:
        where = f"{directory}: {file[0]}/{file[1]}"
        return decode_image(
            file[2], color_mode, size, interpolation, where, crop_to_aspect_ratio
        )

    def batches(part: np.ndarray) -> ImageBatches:
        images = DecodedImages(
            [files[i] for i in part],
            decode,
            (*size, CHANNELS[color_mode]),
            cache,
            f"{color_mode} {size} {interpolation} {crop_to_aspect_ratio}",
            threads,
            damaged == "skip",
        )
        of_part = None if y is None else y[part]
        return ImageBatches(images, of_part, names, batch_size, shuffle, chosen_seed)

    if validation_split is None:
        return batches(order)
    cut = len(files) - int(validation_split * len(files))
    if cut in (0, len(files)):
        raise DataError(
            f"validation_split={validation_split} of {len(files)} images leaves "
            f"{cut} for training and {len(files) - cut} for validation"
        )
    if subset == "both":
        return batches(order[:cut]), batches(order[cut:])
    return batches(order[:cut] if subset == "training" else order[cut:])


def _labelled_files(
    directory: str | os.PathLike[str], labels: Any, class_names: Sequence[str] | None
) -> tuple[list[ImageFile], np.ndarray | None, tuple[str, ...]]:
    """The files, their labels, and the names of the classes."""
    if isinstance(labels, str) and labels == "inferred":
        return _classed_files(directory, class_names)
    files = list_images(directory, classed=False)
    if class_names is not None:
        raise ArgumentError("class_names: expected None, unless labels are 'inferred'")
    if labels is None:
        return files, None, ()
    numbers = np.asarray(labels)
    if numbers.shape != (len(files),) or numbers.dtype.kind not in "iu":
        raise ArgumentError(
            f"labels: expected 'inferred', None or {len(files)} integers, one for each "
            f"image below {directory}, got {type(labels).__name__} of shape "
            f"{numbers.shape} and dtype {numbers.dtype}"
        )
    if len(numbers) and int(numbers.min()) < 0:
        raise ArgumentError(f"labels: expected 0 or more, got {numbers.min()}")
    names = tuple(map(str, range(int(numbers.max(initial=-1)) + 1)))
    return files, numbers.astype(np.int64), names


def _classed_files(
    directory: str | os.PathLike[str], class_names: Sequence[str] | None
) -> tuple[list[ImageFile], np.ndarray, tuple[str, ...]]:
    files = list_images(directory)
    present = sorted({file[0] for file in files})
    names = tuple(present if class_names is None else class_names)
    absent = [name for name in names if name not in present]
    if absent:
        raise ArgumentError(
            f"class_names: {', '.join(absent)} not among the class folders "
            f"{', '.join(present)} of {directory}"
        )
    label_of = {name: label for label, name in enumerate(names)}
    files = [file for file in files if file[0] in label_of]
    return files, np.array([label_of[file[0]] for file in files], np.int64), names


def _encoded(
    numbers: np.ndarray, names: tuple[str, ...], label_mode: str | None
) -> np.ndarray:
    if label_mode == "categorical":
        return to_categorical(numbers, len(names))
    if label_mode == "int":
        return numbers
    if len(names) != 2:
        raise ArgumentError(
            f"label_mode 'binary': expected 2 classes, got {len(names)}"
        )
    return numbers[:, None].astype(np.float32)


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
