"""Layers that choose among changes of images, and that mix images with each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import ops
from fastconv._core import AugmentFill, AugmentStep, mix_images
from fastconv.data.augmented import mixing_generator
from fastconv.errors import ArgumentError, DataError, ShapeError
from fastconv.layers import check, context
from fastconv.layers.augmentation import (
    Augmentation,
    bounds,
    drawn,
    native,
    value_range,
)
from fastconv.layers.base import Layer

__all__ = ["CutMix", "MixUp", "RandAugment"]

_value_range = value_range  # the constructor has an argument of this name


class RandAugment(Augmentation):
    """In training, does some of fourteen changes to each image, all equally strong.

    Cubuk et al., "RandAugment: practical automated data augmentation with a reduced
    search space", NeurIPS 2020, section 3: ``num_ops`` times one of identity,
    autocontrast, equalize, rotation, solarize, color, posterize, contrast, brightness,
    sharpness, shear and translation along x or y, each with probability 1/14. At
    magnitude m in [0, 1] they are: rotation by 30 m degrees, shear by 0.3 m,
    translation by 0.45 m of the size, the factors of color, contrast, brightness and
    sharpness 1 + 0.9 m, all with the sign of a coin; posterize without the lowest
    round(4 m) of 8 bits; solarize from high - m (high - low) on. What comes in from
    outside is the middle of the range. Input and output (N, H, W, C); what concerns
    colours leaves images of one channel as they are.

    Parameters
    ----------
    value_range: (low, high) of the values; default (0, 255).
    num_ops: how many changes; default 2.
    factor: the magnitude m; a pair: a range that it is drawn from, for each change. The
        paper's 9 of 30 is 0.3; default 0.5. Keras, whose changes and strengths differ,
        takes a number f as (0, f).
    interpolation: "bilinear" or "nearest".
    seed, data_format: as for `RandomFlip`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.RandAugment(factor=0.3)(np.ones((2, 8, 8, 3))).shape
    (2, 8, 8, 3)
    """

    def __init__(
        self,
        value_range: Any = (0, 255),
        num_ops: int = 2,
        factor: Any = 0.5,
        interpolation: str = "bilinear",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        kinds = ("nearest", "bilinear")
        self.value_range = _value_range(self, value_range)
        self.num_ops = check.integer(self, "num_ops", num_ops, 0)
        self.factor = factor
        self.interpolation = check.choice(self, "interpolation", interpolation, kinds)
        pair = factor if isinstance(factor, list | tuple) else (factor, factor)
        self._magnitudes = bounds(self, "factor", pair, 0, 1)

    def steps(self) -> list[AugmentStep]:
        """A choice, and what it is among."""
        choices = [native("identity"), *self._fetched(), *self._valued()]
        return [native("choose", size=(len(choices), self.num_ops)), *choices]

    def _times(self, most: float) -> tuple[float, float]:
        low, high = self._magnitudes
        return most * low, most * high

    def _fetched(self) -> list[AugmentStep]:
        fields: dict[str, Any] = {
            "mirrored": True,
            "fill": AugmentFill.constant,
            "fill_value": sum(self.value_range) / 2,
            "bilinear": self.interpolation == "bilinear",
        }
        none, shear, move = (0.0, 0.0), self._times(0.3), self._times(0.45)
        return [
            drawn("rotate", self._times(30 / 360), **fields),
            drawn("shear", shear, none, **fields),
            drawn("shear", none, shear, **fields),
            drawn("translate", move, none, **fields),
            drawn("translate", none, move, **fields),
        ]

    def _valued(self) -> list[AugmentStep]:
        fields = {"range": self.value_range}
        blends = ("color", "contrast", "multiply", "sharpness")
        return [
            drawn("autocontrast", (0, 0), **fields),
            drawn("equalize", (0, 0), **fields),
            drawn("solarize", self._times(1), **fields),
            drawn("posterize", self._times(4), **fields),
            *(drawn(k, self._times(0.9), mirrored=True, **fields) for k in blends),
        ]


class _Mixing(Layer):
    """Mixes images, and their labels, with others of the batch; see `MixUp`."""

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = None if seed is None else check.integer(self, "seed", seed, 0)

    def draw(
        self, draw: np.random.Generator, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights inside of a box, the boxes, and the image's share in the result."""
        raise NotImplementedError

    def mix(
        self, x: np.ndarray, y: Any, draw: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The images and labels of a batch, mixed."""
        labels = self._labels(y, len(x))
        if not len(x):
            return x, labels
        partner = draw.permutation(len(x))
        weight, boxes, share = self.draw(draw, x.shape)
        mixed = np.empty_like(x, order="C")
        mix_images(np.ascontiguousarray(x), mixed, partner, weight, boxes)
        share = share.astype(np.float32).reshape(-1, *(1,) * (labels.ndim - 1))
        return mixed, share * labels + (1 - share) * labels[partner]

    def call(self, data: Any, training: bool = False) -> Any:
        """The dict of images and labels, in training mixed."""
        if not isinstance(data, dict) or set(data) != {"images", "labels"}:
            raise ArgumentError(
                f"{check.who(self)}: expected a dict of images and labels, received "
                f"{data!r:.80}"
            )
        x, y = (ops.cast(data[k], self.dtype) for k in ("images", "labels"))
        if not training:
            return {"images": x, "labels": y}
        state, stream = context.draw()

        def mix(x: np.ndarray, y: np.ndarray, state: np.ndarray) -> Any:
            seed, step = state.tolist()
            seed = seed if self.seed is None else self.seed
            return self.mix(x, y, mixing_generator(seed, step, 0, stream))

        specs = [(x.shape, self.dtype), (y.shape, self.dtype)]
        images, labels = ops.callback(mix, [x, y, state], specs)
        return {"images": images, "labels": labels}

    def _run_now(self, args: Any, kwargs: Any) -> Any:
        return super()._run_now(args, {"training": True, **kwargs})

    def _labels(self, y: Any, count: int) -> np.ndarray:
        if y is None or not hasattr(y, "ndim") or y.ndim < 2:
            raise DataError(
                f"{check.who(self)}: expected labels as rows of probabilities (N, "
                "classes), since the label of a mixture is a mixture; make them with "
                f"fastconv.data.to_categorical, received "
                f"{'none' if y is None else f'shape {np.shape(y)}'}"
            )
        if len(y) != count:
            raise ShapeError(
                f"{check.who(self)}: expected labels for {count} images, received "
                f"{len(y)}"
            )
        return y.astype(np.float32)


class MixUp(_Mixing):
    """In training, blends each image, and its label, with another of the batch.

    ``x' = w x + (1 - w) x[p]`` and ``y' = w y + (1 - w) y[p]``, p being a permutation
    and w drawn from Beta(alpha, alpha) for each sample. Zhang et al., "mixup: beyond
    empirical risk minimization", ICLR 2018, equation 1.

    As a step of `fastconv.data.augment` it comes last, and the labels must be rows of
    probabilities; called on {"images": x, "labels": y}, it gives such a dict.

    Parameters
    ----------
    alpha: of the Beta distribution, above 0; default 0.2.
    seed: of this layer, when it is called; default None, that of `set_seed`.

    Raises
    ------
    DataError for class numbers as labels.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> x, y = np.eye(2).reshape(2, 1, 2, 1), np.eye(2)
    >>> mixed = fc.layers.MixUp(alpha=1.0)({"images": x, "labels": y})
    >>> bool(np.allclose(mixed["images"].reshape(2, 2), mixed["labels"]))
    True
    """

    def __init__(self, alpha: float = 0.2, seed: int | None = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(seed, **kwargs)
        self.alpha = check.number(self, "alpha", alpha, 0)
        if alpha == 0:
            raise ArgumentError(f"{check.who(self)}: expected alpha above 0")

    def draw(
        self, draw: np.random.Generator, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One weight for all of the image."""
        weight = draw.beta(self.alpha, self.alpha, shape[0]).astype(np.float32)
        boxes = np.tile(np.array([0, shape[1], 0, shape[2]], np.int32), (shape[0], 1))
        return weight, boxes, weight


class CutMix(_Mixing):
    """In training, pastes a box of another image of the batch into each image.

    The label is ``y' = w y + (1 - w) y[p]``, w being the share of the image that is
    left. The box has ``sqrt(1 - v)`` of the height and the width, rounded to pixels, v
    being drawn from Beta(factor, factor) for each sample, and lies anywhere inside of
    the image. Yun et al., "CutMix: regularization strategy to train strong classifiers
    with localizable features", ICCV 2019, section 3.1. Used as `MixUp` is.

    Parameters
    ----------
    factor: of the Beta distribution, above 0; default 1: uniform. (Keras draws it anew,
        up to this number.)
    seed: as for `MixUp`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> x, y = np.ones((2, 8, 8, 1)), np.eye(2)
    >>> x[1] = 0
    >>> mixed = fc.layers.CutMix()({"images": x, "labels": y})
    >>> np.allclose(mixed["images"].mean((1, 2, 3)), mixed["labels"][:, 0])
    True
    """

    def __init__(self, factor: float = 1.0, seed: int | None = None,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(seed, **kwargs)
        self.factor = check.number(self, "factor", factor, 0)
        if factor == 0:
            raise ArgumentError(f"{check.who(self)}: expected factor above 0")

    def draw(
        self, draw: np.random.Generator, shape: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Nothing of the image inside of a box."""
        n, height, width = shape[:3]
        side = np.sqrt(1 - draw.beta(self.factor, self.factor, n))
        place = draw.random((n, 2))
        lengths = np.rint(side[:, None] * (height, width))
        first = np.floor(place * ((height, width) - lengths + 1))
        edges = np.stack([first, first + lengths], axis=-1).astype(np.int32)
        share = 1 - lengths.prod(1) / (height * width)
        return np.zeros(n, np.float32), edges.reshape(n, 4), share
