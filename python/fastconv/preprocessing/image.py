"""Images under Keras's old module name, with its `ImageDataGenerator`.

New code says the same with `fastconv.data.augment` and layers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastconv import seeds
from fastconv._core import AugmentStep
from fastconv.data.augmented import AugmentedBatches, Pipeline
from fastconv.data.batches import Batches, as_batches
from fastconv.data.folder import image_dataset_from_directory
from fastconv.errors import ArgumentError
from fastconv.layers import (
    RandomFlip,
    RandomRotation,
    RandomShear,
    RandomTranslation,
    RandomZoom,
    Rescaling,
)
from fastconv.layers.augmentation import drawn
from fastconv.utils import array_to_img, img_to_array, load_img, save_img

__all__ = [
    "Flow",
    "ImageDataGenerator",
    "array_to_img",
    "image_dataset_from_directory",
    "img_to_array",
    "load_img",
    "save_img",
]

_MODES = {"categorical": "categorical", "binary": "binary", "sparse": "int", None: None}


class Flow(AugmentedBatches):
    """Batches without end, (x, y) or x; made by `ImageDataGenerator`.

    `fastconv.Model.fit` takes it, with ``steps_per_epoch`` or for whole epochs.

    >>> x = np.zeros((4, 8, 8, 1))
    >>> flow = ImageDataGenerator(horizontal_flip=True).flow(x, batch_size=2)
    >>> len(flow), next(flow).shape
    (2, (2, 8, 8, 1))
    """

    def __init__(self, data: Batches, pipeline: Pipeline, seed: int) -> None:
        super().__init__(data, pipeline, seed)
        names = getattr(data, "class_names", ())
        self.class_indices = {name: i for i, name in enumerate(names)}
        self._endless = self._repeat()

    def __iter__(self) -> Iterator[Any]:
        """The batches, epoch after epoch."""
        return self

    def __next__(self) -> Any:
        """The next batch."""
        return next(self._endless)

    def _repeat(self) -> Iterator[Any]:
        epoch = 0
        while True:
            for x, y, w in self.batches(epoch):
                yield x if y is None else (x, y) if w is None else (x, y, w)
            epoch += 1


class _Brightness:
    """A factor of all values, as a step."""

    def __init__(self, limits: tuple[float, float]) -> None:
        self.limits = limits

    def augment_steps(self, training: bool = True) -> list[AugmentStep]:
        low, high = self.limits
        return [drawn("multiply", (low - 1, high - 1))] if training else []


class ImageDataGenerator:
    """Random changes of images, and their scaling, with the arguments of Keras 2.

    Of Keras's arguments ``samplewise_*``, ``zca_*``, channel_shift_range,
    preprocessing_function, data_format and dtype are not there.

    Parameters
    ----------
    rotation_range: degrees, in both directions.
    width_shift_range, height_shift_range: shares of the size, below 1, in both
        directions.
    brightness_range: (low, high) of a factor of the values, which are clipped to
        [0, 255].
    shear_range: degrees; as `fastconv.layers.RandomShear` of its sine.
    zoom_range: z for factors from 1 - z to 1 + z, or (low, high); above 1 is out.
    fill_mode, cval: what is outside; default "nearest"; see `RandomRotation`.
    horizontal_flip, vertical_flip: mirror half of the images.
    rescale: a factor, after the other changes; default none.
    featurewise_center, featurewise_std_normalization: subtract the mean of each
        channel, divide by the deviation, of the data that `fit` was given.
    validation_split: the share of the first samples that ``subset="validation"`` is.

    >>> import fastconv as fc
    >>> made = fc.preprocessing.image.ImageDataGenerator(rescale=1 / 255)
    >>> x, y = next(made.flow(np.full((6, 8, 8, 3), 255), np.arange(6), batch_size=4))
    >>> x.shape, round(float(x.max()), 3)
    ((4, 8, 8, 3), 1.0)
    """

    def __init__(
        self,
        *,
        featurewise_center: bool = False,
        featurewise_std_normalization: bool = False,
        rotation_range: float = 0,
        width_shift_range: float = 0.0,
        height_shift_range: float = 0.0,
        brightness_range: Any = None,
        shear_range: float = 0.0,
        zoom_range: Any = 0.0,
        fill_mode: str = "nearest",
        cval: float = 0.0,
        horizontal_flip: bool = False,
        vertical_flip: bool = False,
        rescale: float | None = None,
        validation_split: float = 0.0,
    ) -> None:
        self.featurewise_center = featurewise_center
        self.featurewise_std_normalization = featurewise_std_normalization
        self.rescale = 1.0 if rescale is None else rescale
        self.validation_split = validation_split
        self.mean: Any = None
        self.std: Any = None
        fill: dict[str, Any] = {"fill_mode": fill_mode, "fill_value": cval}
        zoom = _zoom(zoom_range)
        slant = math.sin(math.radians(shear_range))
        moved = height_shift_range or width_shift_range
        self._steps: list[Any] = []
        if rotation_range:
            self._steps.append(RandomRotation(rotation_range / 360, **fill))
        if moved:
            shifts = (height_shift_range, width_shift_range)
            self._steps.append(RandomTranslation(*shifts, **fill))
        if slant:
            self._steps.append(RandomShear(slant, **fill))
        if zoom != (0, 0):
            self._steps.append(RandomZoom(zoom, zoom, **fill))
        if horizontal_flip:
            self._steps.append(RandomFlip("horizontal"))
        if vertical_flip:
            self._steps.append(RandomFlip("vertical"))
        if brightness_range is not None:
            self._steps.append(_Brightness(_pair("brightness_range", brightness_range)))

    def fit(self, x: Any) -> None:
        """Takes mean and deviation of the channels of ``x``, (N, H, W, C)."""
        images = np.asarray(x, np.float64) * self.rescale
        if images.ndim != 4 or not images.size:
            raise ArgumentError(
                f"ImageDataGenerator.fit: expected images (N, H, W, C), received shape "
                f"{images.shape}"
            )
        self.mean = images.mean((0, 1, 2))
        self.std = images.std((0, 1, 2)) + 1e-6

    def flow(
        self,
        x: Any,
        y: Any = None,
        batch_size: int = 32,
        shuffle: bool = True,
        sample_weight: Any = None,
        seed: int | None = None,
        subset: str | None = None,
    ) -> Flow:
        """Batches of arrays: images (N, H, W, C), labels and weights."""
        images = np.asarray(x)
        if images.dtype != np.uint8:
            images = images.astype(np.float32)
        chosen = seeds.get_seed() if seed is None else seed
        rows = self._rows(len(images), subset)
        labels, weights = (
            None if part is None else np.asarray(part)[rows]
            for part in (y, sample_weight)
        )
        data = as_batches(images[rows], labels, weights, batch_size, shuffle, chosen)
        return Flow(data, self._pipeline(), chosen)

    def flow_from_directory(
        self,
        directory: Any,
        target_size: tuple[int, int] = (256, 256),
        color_mode: str = "rgb",
        classes: Any = None,
        class_mode: str | None = "categorical",
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int | None = None,
        subset: str | None = None,
        interpolation: str = "nearest",
    ) -> Flow:
        """Batches of the images in ``directory``/CLASS/; class_mode "sparse" is int."""
        if class_mode not in _MODES:
            raise ArgumentError(
                f"class_mode: expected one of {list(_MODES)}, received {class_mode!r}"
            )
        chosen = seeds.get_seed() if seed is None else seed
        data = image_dataset_from_directory(
            directory, "inferred", _MODES[class_mode], classes, color_mode,
            batch_size, target_size, shuffle, chosen,
            self.validation_split if subset else None, subset, interpolation,
        )  # fmt: skip
        return Flow(data, self._pipeline(), chosen)

    def _rows(self, count: int, subset: str | None) -> slice:
        cut = int(count * self.validation_split)
        rows = {None: slice(None), "training": slice(cut, None),
                "validation": slice(0, cut)}  # fmt: skip
        if subset not in rows or (subset and not 0 < cut < count):
            raise ArgumentError(
                f"subset: expected 'training' or 'validation', and a validation_split "
                f"that leaves samples for both, received {subset!r} and "
                f"{self.validation_split} of {count} samples"
            )
        return rows[subset]

    def _pipeline(self) -> Pipeline:
        centred, scaled = self.featurewise_center, self.featurewise_std_normalization
        if (centred or scaled) and self.mean is None:
            raise ArgumentError(
                "ImageDataGenerator: featurewise statistics are not known yet: call "
                "fit(x) with the training images first"
            )
        mean = self.mean if centred else 0.0
        std = self.std if scaled else 1.0
        return Pipeline([*self._steps, Rescaling(self.rescale / std, -mean / std)])


def _pair(what: str, value: Any) -> tuple[float, float]:
    if (
        isinstance(value, list | tuple)
        and len(value) == 2
        and 0 <= value[0] <= value[1]
    ):
        return float(value[0]), float(value[1])
    raise ArgumentError(
        f"ImageDataGenerator: expected {what}, a pair (low, high) of numbers of 0 or "
        f"more, received {value!r:.80}"
    )


def _zoom(value: Any) -> tuple[float, float]:
    """Factors minus one."""
    if not isinstance(value, list | tuple):
        return -abs(value), abs(value)
    low, high = _pair("zoom_range", value)
    return low - 1, high - 1
