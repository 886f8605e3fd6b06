"""Layers that change the values of images: colours, blur, noise, erased boxes."""

from __future__ import annotations

from typing import Any

from fastconv._core import AugmentStep
from fastconv.errors import ArgumentError
from fastconv.layers import check
from fastconv.layers.augmentation import (
    Augmentation,
    Pair,
    bounds,
    drawn,
    probability,
    value_range,
)

__all__ = [
    "RandomBrightness",
    "RandomColorJitter",
    "RandomContrast",
    "RandomErasing",
    "RandomGaussianBlur",
    "RandomGaussianNoise",
    "RandomGrayscale",
    "RandomHue",
    "RandomInvert",
    "RandomSaturation",
]


class _Colored(Augmentation):
    """A change of values that needs to know what black and white are."""

    def __init__(
        self,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.value_range = _value_range(self, value_range)


_value_range = value_range  # the constructors have an argument of this name


class _Factored(_Colored):
    """A change with one factor, drawn from a range."""

    kind: str
    limits: Pair = (0, 1)
    both_ways = False
    fields: dict[str, Any] = {}  # noqa: RUF012  (of the native step)

    def __init__(
        self,
        factor: Any,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, seed, data_format, **kwargs)
        self.factor = factor
        self._range = self.factors()

    def factors(self) -> Pair:
        """The range that the factor of the native step is drawn from."""
        return bounds(self, "factor", self.factor, *self.limits, self.both_ways)

    def steps(self) -> list[AugmentStep]:
        """The one step."""
        return [drawn(self.kind, self._range, range=self.value_range, **self.fields)]


class RandomBrightness(_Factored):
    """In training, makes images brighter or darker: ``x + f (high - low)``, clipped.

    Input and output (N, H, W, C), any C.

    Parameters
    ----------
    factor: f is drawn from this range in [-1, 1]; a number f is (-f, f).
    value_range: (low, high) of the values; default (0, 255).
    seed, data_format: as for `RandomFlip`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.RandomBrightness((0.2, 0.2))(np.zeros((1, 1, 1, 1))).ravel()
    array([51.], dtype=float32)
    """

    kind = "brightness"
    limits = (-1, 1)
    both_ways = True


class RandomContrast(_Factored):
    """In training, spreads or narrows the values: ``m + f (x - m)``, clipped.

    m is the mean of the image, for each channel. Input and output (N, H, W, C).

    Parameters
    ----------
    factor: a pair (a, b) in [0, 1]: f is drawn from [1 - a, 1 + b); a number is both.
    value_range, seed, data_format: as for `RandomBrightness`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([0.0, 100.0]).reshape(1, 1, 2, 1)
    >>> y = fc.layers.RandomContrast((1, 0))(x).ravel()
    >>> bool(0 <= y[0] <= 50 <= y[1] <= 100 and abs(y.mean() - 50) < 1e-4)
    True
    """

    kind = "contrast"

    def factors(self) -> Pair:
        """From the pair of distances to one."""
        pair = self.factor
        if not isinstance(pair, list | tuple):
            pair = (pair, pair)
        if len(pair) != 2:
            raise ArgumentError(
                f"{check.who(self)}: expected factor, a number or a pair of numbers, "
                f"received {self.factor!r:.80}"
            )
        lower, upper = (bounds(self, "factor", f, 0, 1)[1] for f in pair)
        return -lower, upper


class RandomSaturation(_Factored):
    """In training, makes colours stronger or paler.

    The S of HSV (Smith, "Color gamut transform pairs", SIGGRAPH 1978) is multiplied by
    ``f / (1 - f)`` and clipped at one. Input and output (N, H, W, C); images of one or
    two channels stay, and so does what follows the third one.

    Parameters
    ----------
    factor: f is drawn from this range in [0, 1]; a number f is (0, f). 0 gives greys,
        0.5 what was there, 1 full colours.
    value_range, seed, data_format: as for `RandomBrightness`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([200.0, 100.0, 0.0]).reshape(1, 1, 1, 3)
    >>> fc.layers.RandomSaturation((0.0, 0.0))(x).ravel()
    array([200., 200., 200.], dtype=float32)
    """

    kind = "saturation"


class RandomHue(_Factored):
    """In training, turns the hue of colours: the H of HSV by ``s f / 2`` of the circle.

    The sign s is a coin. Input and output (N, H, W, C); see `RandomSaturation` about C.

    Parameters
    ----------
    factor: f is drawn from this range in [0, 1]; a number f is (0, f).
    value_range, seed, data_format: as for `RandomBrightness`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([255.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
    >>> fc.layers.RandomHue((1.0, 1.0))(x).ravel()  # half of the circle
    array([  0., 255., 255.], dtype=float32)
    """

    kind = "hue"
    fields = {"mirrored": True}  # noqa: RUF012


class RandomColorJitter(_Colored):
    """In training, changes brightness, contrast, saturation and hue, in this order.

    Input and output (N, H, W, C).

    Parameters
    ----------
    value_range: (low, high) of the values; default (0, 255).
    brightness_factor, contrast_factor, saturation_factor, hue_factor: what
        `RandomBrightness`, `RandomContrast` ... take; None leaves the step out.
    seed, data_format: as for `RandomFlip`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> jitter = fc.layers.RandomColorJitter(brightness_factor=0.1, hue_factor=0.1)
    >>> jitter(np.ones((2, 4, 4, 3))).shape
    (2, 4, 4, 3)
    """

    def __init__(
        self,
        value_range: Any = (0, 255),
        brightness_factor: Any = None,
        contrast_factor: Any = None,
        saturation_factor: Any = None,
        hue_factor: Any = None,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, seed, data_format, **kwargs)
        self.brightness_factor = brightness_factor
        self.contrast_factor = contrast_factor
        self.saturation_factor = saturation_factor
        self.hue_factor = hue_factor
        kinds = (
            (RandomBrightness, brightness_factor),
            (RandomContrast, contrast_factor),
            (RandomSaturation, saturation_factor),
            (RandomHue, hue_factor),
        )
        self._steps = [
            step
            for kind, factor in kinds
            if factor is not None
            for step in kind(factor, value_range, name=self.name).steps()
        ]

    def steps(self) -> list[AugmentStep]:
        """Up to four steps."""
        return self._steps


class RandomGrayscale(_Colored):
    """In training, takes the colour from some images: 0.299 R + 0.587 G + 0.114 B.

    Input and output (N, H, W, C); see `RandomSaturation` about C. The weights are those
    of Recommendation ITU-R BT.601.

    Parameters
    ----------
    factor: the share of images, in [0, 1]; default 0.5.
    value_range, seed, data_format: as for `RandomBrightness`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.array([100.0, 0.0, 0.0]).reshape(1, 1, 1, 3)
    >>> fc.layers.RandomGrayscale(1.0)(x).ravel().round(2)
    array([29.9, 29.9, 29.9], dtype=float32)
    """

    def __init__(
        self,
        factor: float = 0.5,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, seed, data_format, **kwargs)
        self.factor = bounds(self, "factor", factor, 0, 1)[1]

    def steps(self) -> list[AugmentStep]:
        """A blend with grey, all of it."""
        return [drawn("color", (-1, -1), probability=self.factor,
                      range=self.value_range)]  # fmt: skip


class RandomInvert(_Colored):
    """In training, turns some images into their negatives: ``low + high - x``.

    Input and output (N, H, W, C).

    Parameters
    ----------
    factor: the share of images is drawn from this range in [0, 1]; a number f is
        (0, f), so that the default 1 inverts every second image.
    value_range, seed, data_format: as for `RandomBrightness`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.RandomInvert((1, 1))(np.full((1, 1, 1, 1), 5.0)).ravel()
    array([250.], dtype=float32)
    """

    def __init__(
        self,
        factor: Any = 1.0,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, seed, data_format, **kwargs)
        self.factor = factor
        self._share = probability(self, "factor", factor)

    def steps(self) -> list[AugmentStep]:
        """One negative."""
        return [drawn("invert", (0, 0), probability=self._share,
                      range=self.value_range)]  # fmt: skip


class RandomGaussianBlur(_Colored):
    """In training, blurs some images with a Gaussian.

    The weights of row i are ``exp(-i^2 / (2 s^2))``, made to sum to one, and the same
    for columns. At the border the image is mirrored (``c b | a b c``), where Keras
    takes zeros and darkens it. Input and output (N, H, W, C).

    Parameters
    ----------
    factor: the share of images is drawn from this range in [0, 1]; a number f is
        (0, f), so that the default 1 blurs every second image.
    kernel_size: rows and columns of the kernel, odd; default 3.
    sigma: s, for rows and for columns, is drawn from this range in [0, 1]; a number is
        (0, sigma).
    value_range: as for `RandomBrightness`; blurred values stay in it by themselves.
    seed, data_format: as for `RandomFlip`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> blur = fc.layers.RandomGaussianBlur((1, 1), 3, (1, 1))
    >>> blur(np.ones((1, 4, 4, 3)))[0, 0, 0].round(5)
    array([1., 1., 1.], dtype=float32)
    """

    def __init__(
        self,
        factor: Any = 1.0,
        kernel_size: Any = 3,
        sigma: Any = 1.0,
        value_range: Any = (0, 255),
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, seed, data_format, **kwargs)
        self.factor = factor
        self.kernel_size = check.integers(self, "kernel_size", kernel_size, 2)
        self.sigma = sigma
        self._share = probability(self, "factor", factor)
        self._sigmas = bounds(self, "sigma", sigma, 0, 1)
        if not all(size % 2 for size in self.kernel_size):
            raise ArgumentError(
                f"{check.who(self)}: expected an odd kernel_size, received "
                f"{kernel_size!r}"
            )

    def steps(self) -> list[AugmentStep]:
        """One convolution."""
        return [drawn("blur", self._sigmas, self._sigmas, size=self.kernel_size,
                      probability=self._share)]  # fmt: skip


class RandomGaussianNoise(Augmentation):
    """In training, adds noise of the normal distribution, ``x + stddev n``.

    Input and output (N, H, W, C). As a step for uint8 images the result is rounded and
    clipped.

    Parameters
    ----------
    stddev: the standard deviation, 0 or more.
    seed, data_format: as for `RandomFlip`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> y = fc.layers.RandomGaussianNoise(2.0)(np.zeros((1, 100, 100, 1)))
    >>> bool(abs(y.std() - 2) < 0.1)
    True
    """

    def __init__(
        self,
        stddev: float,
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.stddev = check.number(self, "stddev", stddev, 0)

    def steps(self) -> list[AugmentStep]:
        """The noise."""
        return [drawn("noise", (self.stddev, self.stddev))]


class RandomErasing(_Colored):
    """In training, overwrites a box of some images.

    Zhong et al., "Random erasing data augmentation", AAAI 2020; with a fixed box and
    value it is cutout (DeVries and Taylor, arXiv:1708.04552). Input and output
    (N, H, W, C).

    Parameters
    ----------
    factor: the share of images is drawn from this range in [0, 1]; a number f is
        (0, f), so that the default 1 erases in every second image.
    scale: height and width of the box, as shares of the image's, are the roots of two
        numbers drawn from this range in [0, 1]; default (0.02, 0.33).
    fill_value: what is written; default None: noise, uniform over the range.
    value_range, seed, data_format: as for `RandomBrightness`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> cutout = fc.layers.RandomErasing((1, 1), scale=(0.25, 0.25), fill_value=0)
    >>> int(cutout(np.ones((1, 8, 8, 1))).sum())
    48
    """

    def __init__(
        self,
        factor: Any = 1.0,
        scale: Any = (0.02, 0.33),
        fill_value: float | None = None,
        value_range: Any = (0, 255),
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(value_range, seed, data_format, **kwargs)
        self.factor = factor
        self.scale = scale
        self.fill_value = fill_value
        if fill_value is not None:
            check.number(self, "fill_value", fill_value, -float("inf"))
        self._share = probability(self, "factor", factor)
        self._scales = bounds(self, "scale", scale, 0, 1)

    def steps(self) -> list[AugmentStep]:
        """One box."""
        return [
            drawn(
                "erase",
                self._scales,
                self._scales,
                probability=self._share,
                random_fill=self.fill_value is None,
                fill_value=self.fill_value or 0.0,
                range=self.value_range,
            )
        ]
