"""Layers that move the pixels of images."""

from __future__ import annotations

from typing import Any

from fastconv import ops
from fastconv._core import AugmentStep
from fastconv.data.augmented import Pipeline
from fastconv.errors import ArgumentError
from fastconv.layers import check, layout
from fastconv.layers.augmentation import Augmentation, Resampling, bounds, drawn, native

__all__ = [
    "RandomCrop",
    "RandomFlip",
    "RandomRotation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
]

FLIPS = {
    "horizontal": (0, 1),
    "vertical": (1, 0),
    "horizontal_and_vertical": (1, 1),
}


class RandomFlip(Augmentation):
    """In training, mirrors half of the images.

    Input and output (N, H, W, C). Described in `RandomRotation`: when it acts.

    Parameters
    ----------
    mode: "horizontal" (left and right change places), "vertical", or
        "horizontal_and_vertical": both, each with a coin of its own.
    seed: of this layer; default None, that is the model's.
    data_format: "channels_last" or "channels_first"; None: `image_data_format()`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(4.0).reshape(1, 1, 4, 1)
    >>> flip = fc.layers.RandomFlip("horizontal", seed=1)
    >>> sorted({tuple(map(int, flip(x).ravel())) for _ in range(9)})
    [(0, 1, 2, 3), (3, 2, 1, 0)]
    """

    def __init__(
        self,
        mode: str = "horizontal_and_vertical",
        seed: int | None = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(seed, data_format, **kwargs)
        self.mode = check.choice(self, "mode", mode, list(FLIPS))

    def steps(self) -> list[AugmentStep]:
        """Up to two coins."""
        return [native("flip", size=FLIPS[self.mode])]


class RandomCrop(Resampling):
    """In training, cuts a window out of each image, anywhere; else in the middle.

    With ``padding`` the window may reach so far over the border (pad-crop: He et al.,
    "Deep residual learning for image recognition", CVPR 2016, section 4.2). Input (N,
    H, W, C), output (N, height, width, C). Keras would scale images that are too small;
    here they are an error.

    Parameters
    ----------
    height, width: of the window.
    padding: pixels around the image, 0 or more; default 0. Not in Keras.
    fill_mode, fill_value: what they are; as for `RandomRotation`, default "constant",
        0. Not in Keras.
    seed, data_format: as for `RandomFlip`.

    Raises
    ------
    ShapeError for images smaller than the window.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.RandomCrop(24, 24)(np.zeros((2, 32, 32, 3))).shape
    (2, 24, 24, 3)
    """

    def __init__(
        self,
        height: int,
        width: int,
        seed: int | None = None,
        data_format: str | None = None,
        *,
        padding: int = 0,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            fill_mode,
            seed=seed,
            fill_value=fill_value,
            data_format=data_format,
            **kwargs,
        )
        self.height = check.integer(self, "height", height)
        self.width = check.integer(self, "width", width)
        self.padding = check.integer(self, "padding", padding, 0)

    def augment_steps(self, training: bool = True) -> list[AugmentStep]:
        """A window anywhere, or in the middle."""
        size, padding = (self.height, self.width), self.padding if training else 0
        return [
            native("crop", size=size, padding=padding, centred=not training,
                   **self.fetching)
        ]  # fmt: skip

    def call(self, x: Any, training: bool = False) -> Any:
        """The windows."""
        if training:
            return super().call(x, training)
        images = layout.to_last(ops.cast(x, self.dtype), self.data_format)
        shape = Pipeline([self], training=False).output_shape(images.shape)
        top, left = ((images.shape[i] - shape[i]) // 2 for i in (1, 2))
        window = images[:, top : top + self.height, left : left + self.width]
        return layout.from_last(window, self.data_format)


class RandomTranslation(Resampling):
    """In training, moves images by a part of their size.

    Pixel (x, y) comes from ``(x - u W, y - v H)``. Input and output (N, H, W, C).

    Parameters
    ----------
    height_factor: v is drawn from this range (low, high) in [-1, 1]; a number f is
        (-f, f). Positive: down.
    width_factor: the same for u. Positive: to the right.
    fill_mode, interpolation, seed, fill_value, data_format: as for `RandomRotation`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> move = fc.layers.RandomTranslation(0, (0.25, 0.25), fill_mode="constant")
    >>> move(np.ones((1, 1, 4, 1))).ravel()
    array([0., 1., 1., 1.], dtype=float32)
    """

    def __init__(self, height_factor: Any, width_factor: Any, *args: Any,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(*args, **kwargs)
        self.height_factor = height_factor
        self.width_factor = width_factor
        self._ranges = [
            bounds(self, what, value, -1, 1, both_ways=True)
            for what, value in (
                ("height_factor", height_factor),
                ("width_factor", width_factor),
            )
        ]

    def steps(self) -> list[AugmentStep]:
        """One move."""
        return [drawn("translate", *self._ranges, **self.fetching)]


class RandomRotation(Resampling):
    """In training, turns images about their middle.

    With the angle t, pixel (x, y), counted from the middle, comes from
    ``(x cos t - y sin t, x sin t + y cos t)``: counter-clockwise for t > 0. Input and
    output (N, H, W, C).

    At inference it is the identity. Called on arrays, it acts unless ``training=False``
    is given. The same seed gives the same images, whatever the number of threads.

    Parameters
    ----------
    factor: t is drawn from this range (low, high), in turns, in [-1, 1]; a number f is
        (-f, f).
    fill_mode: what is outside of the image: "constant" (``fill_value``), "nearest" (the
        last pixel), "reflect" (``d c b a | a b c d | d c b a``) or "wrap" (``a b c d |
        a b c d | a b c d``).
    interpolation: "bilinear" or "nearest".
    seed: of this layer; default None, that is the model's.
    fill_value: for fill_mode "constant".
    data_format: "channels_last" or "channels_first"; None: `image_data_format()`.

    Raises
    ------
    ArgumentError for a factor outside [-1, 1], UnknownNameError for a mode.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> x = np.arange(4.0).reshape(1, 2, 2, 1)
    >>> fc.layers.RandomRotation((0.25, 0.25))(x)[0, :, :, 0].round(3)
    array([[1., 3.],
           [0., 2.]], dtype=float32)
    """

    def __init__(self, factor: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.factor = factor
        self._range = bounds(self, "factor", factor, -1, 1, both_ways=True)

    def steps(self) -> list[AugmentStep]:
        """One rotation."""
        return [drawn("rotate", self._range, **self.fetching)]


class RandomZoom(Resampling):
    """In training, scales images about their middle.

    Pixel (x, y), counted from the middle, comes from ``((1 + u) x, (1 + v) y)``: out
    for u > 0, in for u < 0. Input and output (N, H, W, C).

    Parameters
    ----------
    height_factor: v is drawn from this range (low, high), above -1 and up to 10; a
        number f is (-f, f).
    width_factor: the same for u; default None: u is v.
    fill_mode, interpolation, seed, fill_value, data_format: as for `RandomRotation`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> zoom = fc.layers.RandomZoom((1, 1), interpolation="nearest")
    >>> zoom(np.arange(5.0).reshape(1, 1, 5, 1)).ravel()
    array([1., 0., 2., 4., 3.], dtype=float32)
    """

    def __init__(self, height_factor: Any, width_factor: Any = None, *args: Any,
                 **kwargs: Any) -> None:  # fmt: skip
        super().__init__(*args, **kwargs)
        self.height_factor = height_factor
        self.width_factor = width_factor
        across = height_factor if width_factor is None else width_factor
        self._ranges = [
            bounds(self, what, value, -1, 10, both_ways=True)
            for what, value in (("height_factor", height_factor),
                                ("width_factor", across))
        ]  # fmt: skip
        if min(low for low, _ in self._ranges) <= -1:
            raise ArgumentError(
                f"{check.who(self)}: expected factors above -1, at which the image is "
                f"one point, received {height_factor!r} and {width_factor!r}"
            )

    def steps(self) -> list[AugmentStep]:
        """One scaling."""
        joined = self.width_factor is None
        return [drawn("zoom", *self._ranges, joined=joined, **self.fetching)]


class RandomShear(Resampling):
    """In training, slants images.

    Pixel (x, y) comes from ``(x + s u y, y + s v x)``, where the sign s is a coin.
    Input and output (N, H, W, C).

    Parameters
    ----------
    x_factor: u is drawn from this range (low, high) in [0, 1]; a number f is (0, f).
    y_factor: the same for v.
    interpolation, fill_mode, fill_value, data_format, seed: as for `RandomRotation`.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.RandomShear(0.2, 0.1)(np.ones((1, 8, 8, 3))).shape
    (1, 8, 8, 3)
    """

    def __init__(
        self,
        x_factor: Any = 0.0,
        y_factor: Any = 0.0,
        interpolation: str = "bilinear",
        fill_mode: str = "reflect",
        fill_value: float = 0.0,
        data_format: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            fill_mode, interpolation, seed, fill_value, data_format, **kwargs
        )
        self.x_factor = x_factor
        self.y_factor = y_factor
        self._ranges = [
            bounds(self, what, value, 0, 1)
            for what, value in (("x_factor", x_factor), ("y_factor", y_factor))
        ]

    def steps(self) -> list[AugmentStep]:
        """One slant."""
        return [drawn("shear", *self._ranges, mirrored=True, **self.fetching)]
