"""Images changed at random on their way to the training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastconv import seeds
from fastconv._core import AugmentKind, AugmentStep, augment_images
from fastconv.data.batches import Batch, Batches, as_batches
from fastconv.errors import ArgumentError, DtypeError, ShapeError

__all__ = ["AugmentedBatches", "Pipeline", "augment"]


class Pipeline:
    """Steps of augmentation, run together over a batch: one pass an image, on threads.

    Step k of sample i in an epoch draws from Philox with the key ``seed`` and the
    counter ``(0.., k, i, epoch)``: the result depends on neither the batch, nor the
    order, nor the number of threads. Neighbouring steps that only move pixels (flips,
    crops, rotation ...) are one resampling, and an exact copy if whole pixels move.

    Parameters
    ----------
    steps: layers such as `fastconv.layers.RandomFlip`: objects with a method
        ``augment_steps(training)`` that gives native steps, and perhaps ``mix``.
    training: False leaves out what is random (a random crop takes the middle).

    Raises
    ------
    ArgumentError for an object that is no such step, or one after a mixing step.

    >>> import fastconv as fc
    >>> images = np.arange(4, dtype=np.uint8).reshape(1, 2, 2, 1)
    >>> flip = Pipeline([fc.layers.RandomFlip("horizontal")])
    >>> [flip(images, epoch=e).ravel().tolist() for e in range(3)]
    [[0, 1, 2, 3], [1, 0, 3, 2], [0, 1, 2, 3]]
    """

    def __init__(self, steps: Any, training: bool = True) -> None:
        given = list(steps) if isinstance(steps, list | tuple) else [steps]
        self.steps = tuple(given)
        self.native: list[AugmentStep] = []
        self.mixers: list[Any] = []
        for step in given:
            if not hasattr(step, "augment_steps") and not hasattr(step, "mix"):
                raise ArgumentError(
                    "augment: expected layers that change images, such as "
                    f"layers.RandomFlip(), received {step!r:.80}"
                )
            if hasattr(step, "mix"):
                self.mixers += [step] if training else []
                continue
            if self.mixers:
                raise ArgumentError(
                    f"augment: expected mixing steps last, received {step!r:.80} after "
                    f"{type(self.mixers[-1]).__name__}"
                )
            self.native += step.augment_steps(training)
        self.rescales = any(s.kind == AugmentKind.rescale for s in self.native)

    def __call__(
        self,
        images: Any,
        samples: Any = None,
        seed: int = 0,
        epoch: int = 0,
        stream: int = 0,
    ) -> np.ndarray:
        """The changed images, without mixing.

        images: (N, H, W, C), uint8 or float32. samples: their numbers, default 0 ...
        The result has their dtype, or float32 after a rescaling; steps compute in
        float32, and uint8 is rounded at the end.
        """
        src = self._images(images)
        numbers = np.arange(len(src)) if samples is None else np.asarray(samples)
        if numbers.shape != src.shape[:1] or numbers.dtype.kind not in "iu":
            raise ShapeError(
                f"augment: expected a number for each of {len(src)} images, received "
                f"{numbers.dtype} of shape {numbers.shape}"
            )
        dtype = np.dtype(np.float32) if self.rescales else src.dtype
        dst = np.empty(self.output_shape(src.shape), dtype)
        if len(src):
            numbers = np.ascontiguousarray(numbers, np.int64)
            augment_images(src, dst, self.native, seed, epoch, stream, numbers)
        return dst

    def mix(
        self, x: Any, y: Any, seed: int, epoch: int, first: int
    ) -> tuple[np.ndarray, Any]:
        """Images and labels after the mixing steps; ``first`` tells batches apart."""
        for number, mixer in enumerate(self.mixers):
            draw = mixing_generator(seed, epoch, first, number)
            x, y = mixer.mix(x, y, draw)
        return x, y

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the result for images of this shape; checks crops and scales."""
        n, height, width, channels = shape
        for step in self.native:
            if step.kind == AugmentKind.crop:
                _check_crop(step, height, width)
                height, width = step.size
            for what in ("scale", "offset"):
                if len(getattr(step, what)) not in (0, 1, channels):
                    raise ShapeError(
                        f"augment: expected a {what} of one number or {channels}, one "
                        f"a channel, received {len(getattr(step, what))}"
                    )
        return n, height, width, channels

    def _images(self, images: Any) -> np.ndarray:
        array = np.asarray(images)
        if array.ndim != 4 or min(array.shape[1:]) < 1:
            raise ShapeError(
                "augment: expected images (N, H, W, C) of one pixel or more, received "
                f"shape {array.shape}"
            )
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        if array.dtype not in (np.uint8, np.float32):
            raise DtypeError(
                f"augment: expected images of uint8 or float32, received {array.dtype}"
            )
        return np.ascontiguousarray(array)


def mixing_generator(
    seed: int, epoch: int, batch: int, number: int
) -> np.random.Generator:
    """The generator of a mixing step; its counter is far from that of the orders."""
    key, counter = (seed, epoch), (0, batch, number, 1)
    return np.random.Generator(
        np.random.Philox(
            key=np.array(key, np.uint64), counter=np.array(counter, np.uint64)
        )
    )


def _check_crop(step: AugmentStep, height: int, width: int) -> None:
    room = 0 if step.centred else 2 * step.padding
    if step.size[0] > height + room or step.size[1] > width + room:
        raise ShapeError(
            f"augment: expected images of at least {tuple(step.size)} pixels for a "
            f"crop of that size with padding {step.padding}, received "
            f"{(height, width)}; give more padding, or a smaller crop"
        )


class AugmentedBatches:
    """Batches whose images are changed while they are read; made by `augment`.

    What `fastconv.Model.fit` takes. The images are the whole of x; the labels change
    where images are mixed. With ``same_size``, steps that change the size of images are
    refused when the first batch is read.

    >>> import fastconv as fc
    >>> len(augment(np.zeros((5, 4, 4, 1)), fc.layers.RandomFlip(), batch_size=2))
    3
    """

    def __init__(
        self,
        data: Batches,
        pipeline: Pipeline,
        seed: int = 0,
        same_size: bool = False,
    ) -> None:
        self.data = data
        self.pipeline = pipeline
        self.seed = seed
        self.same_size = same_size

    @property
    def num_samples(self) -> int | None:
        """Samples in one epoch."""
        return self.data.num_samples

    @property
    def num_batches(self) -> int | None:
        """Batches in one epoch."""
        return self.data.num_batches

    def __len__(self) -> int:
        """Batches in one epoch."""
        return len(self.data)  # type: ignore[arg-type]

    @property
    def parts(self) -> Batch | None:
        """All samples before the changes, if they are at hand."""
        return getattr(self.data, "parts", None)

    def spread(self, count: int) -> Batch:
        """Up to ``count`` changed samples of ``parts``, at equal distances."""
        x, y, w = self.data.spread(count)  # type: ignore[attr-defined]
        return self._changed(x, y, w, np.arange(len(_single(x))), 0, 0)

    def batches(
        self, epoch: int = 0, shuffle: bool | None = None, start: int = 0
    ) -> Iterator[Batch]:
        """The batches of an epoch, from batch ``start`` on."""
        order = None
        if hasattr(self.data, "order"):
            order = self.data.order(epoch, shuffle)
        size = getattr(self.data, "batch_size", 0)
        source = self.data.batches(epoch, shuffle, start)
        for number, (x, y, w) in enumerate(source, start):
            rows = range(number * size, number * size + len(_single(x)))
            samples = (number << 32) + np.arange(len(rows))
            if order is not None:
                samples = order[rows.start : rows.stop]
            yield self._changed(x, y, w, samples, epoch, number)

    def __iter__(self) -> Iterator[Batch]:
        """The batches of epoch 0."""
        return self.batches()

    def _changed(
        self, x: Any, y: Any, w: Any, samples: np.ndarray, epoch: int, number: int
    ) -> Batch:
        images = self.pipeline(x, samples, self.seed, epoch)
        before, after = x.shape[1:3], images.shape[1:3]
        if self.same_size and before != after:
            raise ArgumentError(
                f"fit: augment: expected steps that keep the size of images, received "
                f"some that make {after} of {before}, which evaluate and predict would "
                "not do: put the crop into the model, or give "
                "data.augment(..., training=False) for evaluation too"
            )
        x, y = self.pipeline.mix(images, y, self.seed, epoch, number)
        return x, y, w


def _single(x: Any) -> np.ndarray:
    if isinstance(x, np.ndarray):
        return x
    raise ArgumentError(
        f"augment: expected one array of images as x, received {type(x).__name__}; "
        "models with several inputs can hold the layers instead"
    )


def for_fit(data: Batches, steps: Any, seed: int) -> AugmentedBatches:
    """The batches of a training whose model is evaluated on data as they are.

    Raises
    ------
    ArgumentError for a step that evaluation would miss; for one that changes the size
    of images, when the first batch is read.
    """
    pipeline = Pipeline(steps)
    if pipeline.rescales:
        raise ArgumentError(
            "fit: augment: expected random changes only, received Rescaling, which "
            "evaluate and predict would not do: put it into the model, or give "
            "data.augment(..., training=False) for evaluation too"
        )
    return AugmentedBatches(data, pipeline, seed, same_size=True)


def augment(
    data: Any,
    steps: Sequence[Any] | Any,
    batch_size: int | None = None,
    shuffle: bool = True,
    seed: int | None = None,
    training: bool = True,
) -> AugmentedBatches:
    """Data whose images are changed at random, other ways in each epoch, as it is read.

    The work is done in C++, on threads, without the interpreter lock. The result is a
    function of seed, epoch and sample: not of the batch size, the order of samples or
    the threads. Only mixing (`MixUp`, `CutMix`) depends on the batch.

    Parameters
    ----------
    data: (x, y), (x, y, sample_weight) or x of images (N, H, W, C), uint8 or float32;
        or batches, such as `image_dataset_from_directory` gives.
    steps: layers: `fastconv.layers.RandomFlip`, `RandomCrop` ..., in order; `Rescaling`
        brings uint8 to float32 in the same pass; `MixUp` and `CutMix` come last.
    batch_size, shuffle: for arrays; default 32, each epoch in another order.
    seed: default that of `fastconv.random.set_seed`.
    training: False for data to evaluate on: only what is not random is done.

    Raises
    ------
    ArgumentError for steps that are none; ShapeError, DtypeError, while it is read, for
    arrays that are no images, or images that are smaller than a crop.

    >>> import fastconv as fc
    >>> x = np.zeros((10, 32, 32, 3), np.uint8)
    >>> mean, std = np.array([125.3, 123.0, 113.9]), np.array([63.0, 62.1, 66.7])
    >>> data = augment((x, np.arange(10)), [
    ...     fc.layers.RandomCrop(32, 32, padding=4), fc.layers.RandomFlip("horizontal"),
    ...     fc.layers.Rescaling(1 / std, -mean / std)], batch_size=5)
    >>> [(x.shape, x.dtype.name) for x, y, w in data.batches(epoch=0)]
    [((5, 32, 32, 3), 'float32'), ((5, 32, 32, 3), 'float32')]
    """
    chosen = seeds.get_seed() if seed is None else seed
    if not hasattr(chosen, "__index__") or not 0 <= int(chosen) < 2**63:
        raise ArgumentError(
            f"augment: expected seed, an integer in [0, 2^63), received {seed!r}"
        )
    pipeline = Pipeline(steps, training)
    parts = data if isinstance(data, tuple) else (data,)
    if not 1 <= len(parts) <= 3:
        raise ArgumentError(
            "augment: expected x, (x, y), (x, y, sample_weight) or batches, received a "
            f"tuple of {len(parts)}"
        )
    x, y, w = (*parts, None, None)[:3]
    order = shuffle and training
    batches = as_batches(x, y, w, batch_size, order, int(chosen))
    return AugmentedBatches(batches, pipeline, int(chosen))
