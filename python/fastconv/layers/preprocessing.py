"""Layers that prepare inputs, so that a saved model takes raw images."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import ops
from fastconv._core import AugmentKind, AugmentStep
from fastconv.data.batches import as_batches
from fastconv.errors import ArgumentError, DataError, ShapeError
from fastconv.graph.variable import Variable
from fastconv.layers import check, layout
from fastconv.layers.base import KerasTensor, Layer
from fastconv.ops.resize import INTERPOLATIONS

__all__ = ["CenterCrop", "Normalization", "Rescaling", "Resizing"]

_EPSILON = 1e-7  # the least deviation that is divided by, Keras's


class Rescaling(Layer):
    """Brings inputs into another range: ``inputs * scale + offset``.

    Input of any shape; integers become float32 first. The output has the input's shape.

    Parameters
    ----------
    scale: a number, or numbers that broadcast to the input: one a channel, say.
    offset: as ``scale``; default 0.

    Raises
    ------
    ArgumentError for a scale or an offset that is not made of finite numbers.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> pixels = np.array([0, 64, 192], np.uint8)
    >>> fc.layers.Rescaling(1 / 128, offset=-1)(pixels)
    array([-1. , -0.5,  0.5], dtype=float32)
    """

    def __init__(self, scale: Any, offset: Any = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = _numbers(self, "scale", scale)
        self.offset = _numbers(self, "offset", offset)

    def call(self, x: Any) -> Any:
        """The input, scaled and moved."""
        return ops.cast(x, self.dtype) * self.scale + self.offset

    def augment_steps(self, training: bool = True) -> list[AugmentStep]:
        """The step for `fastconv.data.augment`; the same in training and else."""
        step = AugmentStep(AugmentKind.rescale)
        step.scale = np.ravel(self.scale).tolist()
        step.offset = np.ravel(self.offset).tolist()
        return [step]


def _numbers(layer: Layer, what: str, value: Any) -> Any:
    """A number as it is, several as an array."""
    try:
        numbers = np.asarray(value, float)
    except (TypeError, ValueError):
        numbers = np.asarray(np.nan)
    if not np.isfinite(numbers).all():
        raise ArgumentError(
            f"{check.who(layer)}: expected {what}, finite numbers, received "
            f"{value!r:.80}"
        )
    return numbers if numbers.ndim else float(numbers)


class Normalization(Layer):
    """Shifts and scales features to mean 0 and variance 1, by what `adapt` has seen.

    Formula: ``y = (x - mean) / max(sqrt(variance), 1e-7)``, or with ``invert``
    ``y = x max(sqrt(variance), 1e-7) + mean``. Mean and variance are kept for each
    index along ``axis``, and are taken over all other axes.

    Input of any shape, integers too; the output has the input's shape. Weights, where
    ``mean`` and ``variance`` are not given: ``mean`` and ``variance``, saved with the
    model and never trained; 0 and 1 until `adapt`.

    Parameters
    ----------
    axis: one axis or several, without the batch; None keeps one mean and variance of
        everything; default the last.
    mean, variance: given beforehand, both or neither; they broadcast to the sizes of
        ``axis``.
    invert: undo a normalisation; default False.

    Raises
    ------
    ArgumentError for only one of mean and variance, for values that are not finite, a
    negative variance, or the axis of the batch; ShapeError for an axis of unknown size.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> layer = fc.layers.Normalization()
    >>> layer.adapt(np.array([[1.0, 10.0], [3.0, 30.0]]))
    >>> layer([[2.0, 40.0]])
    array([[0., 2.]], dtype=float32)
    """

    def __init__(
        self,
        axis: Any = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis = axis
        self.invert = bool(invert)
        if (mean is None) != (variance is None):
            raise ArgumentError(
                f"{check.who(self)}: expected both mean and variance, or neither, "
                f"received mean={mean!r:.40} and variance={variance!r:.40}"
            )
        self._given: tuple[Any, Any] | None = None
        self._moments: tuple[Any, ...] | None = None
        if mean is not None:
            self._given = (
                _numbers(self, "mean", mean),
                _numbers(self, "variance", variance),
            )
            if np.min(self._given[1], initial=0) < 0:
                raise ArgumentError(
                    f"{check.who(self)}: expected variance >= 0, received {variance!r}"
                )

    def build(self, input_shape: Any) -> None:
        """Makes the mean and the variance."""
        self._kept = self._axes(len(input_shape))
        self._broadcast = tuple(
            check.known_size(self, f"the size of axis {i}", n) if i in self._kept else 1
            for i, n in enumerate(input_shape)
        )
        if self._given is None:
            shape = tuple(self._broadcast[i] for i in self._kept)
            self._moments = tuple(
                self.add_weight(shape, initializer, trainable=False, name=name)
                for name, initializer in (("mean", "zeros"), ("variance", "ones"))
            )
        else:
            self._moments = tuple(map(self._spread, self._given))

    @property
    def mean(self) -> Any:
        """The mean, as given or as `adapt` found it; None while there is none."""
        return self._moment(0)

    @property
    def variance(self) -> Any:
        """The variance, likewise."""
        return self._moment(1)

    def _moment(self, i: int) -> Any:
        if self._moments is None:
            return None if self._given is None else self._given[i]
        value = self._moments[i]
        return value.numpy() if isinstance(value, Variable) else value

    def _spread(self, value: Any) -> np.ndarray:
        """A given mean or variance for each index along the axes that are kept."""
        shape = tuple(self._broadcast[i] for i in self._kept)
        try:
            return np.broadcast_to(np.asarray(value, np.float32), shape)
        except ValueError:
            raise ShapeError(
                f"{check.who(self)}: expected mean and variance that broadcast to "
                f"{shape}, the sizes of axis {self.axis}, received {np.shape(value)}"
            ) from None

    def _axes(self, ndim: int) -> tuple[int, ...]:
        if self.axis is None:
            return ()
        given = self.axis if isinstance(self.axis, list | tuple) else (self.axis,)
        good = all(check.is_integer(a) and -ndim < a < ndim and a for a in given)
        axes = tuple(sorted({int(a) % ndim for a in given})) if good else ()
        if not good or len(axes) != len(given):
            raise ArgumentError(
                f"{check.who(self)}: expected axis, different axes from 1 to "
                f"{ndim - 1} (0 is the batch) of an input of {ndim} axes, received "
                f"{self.axis!r}"
            )
        return axes

    def adapt(self, data: Any, batch_size: int | None = None) -> None:
        """Sets mean and variance to those of ``data``; what was there is forgotten.

        The moments of batches are joined as Chan, Golub and LeVeque do, "Updating
        formulae and a pairwise algorithm", 1979, in float64.

        Parameters
        ----------
        data: an array, or any source of batches that `fit` takes: of ``x``, (x, y) or
            (x, y, sample_weight), of which x counts. Folders of images, too.
        batch_size: samples that are looked at together; default 1024. It does not
            change the result beyond rounding.

        Raises
        ------
        ArgumentError if mean and variance were given; DataError for no samples, NaN or
        an ``x`` of several arrays; ShapeError if the layer was built for another shape.
        """
        if self._given is not None:
            raise ArgumentError(
                f"{check.who(self)}: its mean and variance were given, and adapt() "
                "would change nothing: make the layer without them"
            )
        source = as_batches(data, batch_size=batch_size or 1024)
        count, mean, spread = 0, np.zeros(()), np.zeros(())
        for x, _, _ in source.batches(0, False):
            if not isinstance(x, np.ndarray):
                raise DataError(f"{check.who(self)}: adapt() takes one array as x")
            self._ensure_built((KerasTensor((None, *x.shape[1:]), self.dtype),))
            others = tuple(i for i in range(x.ndim) if i not in self._kept)
            self._check_shape(x)
            wide = x.astype(np.float64)
            n = x.size // max(1, int(np.prod(self._broadcast)))
            if n == 0:
                continue
            batch = wide.mean(others, keepdims=True)
            deviation = ((wide - batch) ** 2).sum(others)
            move = batch.reshape(deviation.shape) - mean
            mean = mean + move * (n / (count + n))
            spread = spread + deviation + move**2 * (count * n / (count + n))
            count += n
        if count == 0:
            raise DataError(f"{check.who(self)}: adapt() was given no samples")
        for variable, value in zip(
            self._moments or (), (mean, spread / count), strict=True
        ):
            variable.assign(value)

    def _check_shape(self, x: np.ndarray) -> None:
        sizes = [x.shape[i] for i in self._kept if i < x.ndim]
        expected = [self._broadcast[i] for i in self._kept]
        if x.ndim != len(self._broadcast) or sizes != expected:
            raise ShapeError(
                f"{check.who(self)}: adapt() expected {len(self._broadcast)} axes with "
                f"sizes {expected} at {self._kept}, received shape {x.shape}"
            )

    def call(self, x: Any) -> Any:
        """The input, normalised."""
        mean, variance = (ops.reshape(m, self._broadcast) for m in self._moments or ())
        deviation = ops.maximum(ops.sqrt(variance), _EPSILON)
        x = ops.cast(x, self.dtype)
        return x * deviation + mean if self.invert else (x - mean) / deviation

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments: the mean and variance that were given."""
        mean, variance = self._given or (None, None)
        plain = [
            None if v is None else np.asarray(v).tolist() for v in (mean, variance)
        ]
        return {**super().get_config(), "mean": plain[0], "variance": plain[1]}


class _ImageLayer(Layer):
    """Takes images (N, H, W, C) or (H, W, C) to ``height`` and ``width``."""

    def __init__(
        self, height: int, width: int, data_format: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.height = check.integer(self, "height", height)
        self.width = check.integer(self, "width", width)
        self.data_format = layout.resolve(data_format)

    def call(self, x: Any) -> Any:
        """The images in their new size."""
        if x.ndim not in (3, 4):
            raise ShapeError(
                f"{check.who(self)}: expected images (N, H, W, C) or one image "
                f"(H, W, C), received shape {x.shape}"
            )
        if min(x.shape[-3:]) < 1:
            raise ShapeError(f"{check.who(self)}: images without pixels: {x.shape}")
        x = ops.cast(x, self.dtype)
        if self.data_format == "channels_last":
            return self.to_size(x)
        batch = tuple(range(x.ndim - 3))
        c, h, w = range(x.ndim - 3, x.ndim)
        y = self.to_size(layout.permute(x, (*batch, h, w, c)))
        return layout.permute(y, (*batch, w, c, h))

    def to_size(self, x: Any) -> Any:
        """The same for channels last; written by each layer."""
        raise NotImplementedError


class Resizing(_ImageLayer):
    """Scales images to one size.

    Formula: `fastconv.ops.resize`.

    Input (N, H, W, C) or (H, W, C), integers too; output (N, height, width, C) or
    (height, width, C).

    Parameters
    ----------
    height, width: of the output.
    interpolation: "nearest", "bilinear" (default), "bicubic", "area", "lanczos3" or
        "lanczos5".
    crop_to_aspect_ratio: take the largest part in the middle with the aspect ratio of
        the output, so that nothing is distorted; default False.
    pad_to_aspect_ratio: add equal borders to that ratio, or to a pixel less of it,
        instead; default False.
    fill_mode: "constant".
    fill_value: of the borders; default 0.
    antialias: as in `fastconv.ops.resize`; default False.
    data_format: "channels_last" or "channels_first"; None: `image_data_format()`.

    Raises
    ------
    ArgumentError for sizes below 1, or both aspect ratio arguments; UnknownNameError
    for another interpolation; ShapeError for an input that is no image.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Resizing(4, 4)(np.zeros((1, 9, 6, 3))).shape
    (1, 4, 4, 3)
    """

    def __init__(
        self,
        height: int,
        width: int,
        interpolation: str = "bilinear",
        crop_to_aspect_ratio: bool = False,
        pad_to_aspect_ratio: bool = False,
        fill_mode: str = "constant",
        fill_value: float = 0.0,
        antialias: bool = False,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(height, width, data_format, **kwargs)
        self.interpolation = check.choice(
            self, "interpolation", interpolation, INTERPOLATIONS
        )
        self.crop_to_aspect_ratio = bool(crop_to_aspect_ratio)
        self.pad_to_aspect_ratio = bool(pad_to_aspect_ratio)
        self.fill_mode = check.choice(self, "fill_mode", fill_mode, ("constant",))
        self.fill_value = float(fill_value)
        self.antialias = bool(antialias)
        if self.crop_to_aspect_ratio and self.pad_to_aspect_ratio:
            raise ArgumentError(
                f"{check.who(self)}: expected crop_to_aspect_ratio or "
                "pad_to_aspect_ratio, received both"
            )

    def to_size(self, x: Any) -> Any:
        """The images, scaled."""
        if self.crop_to_aspect_ratio:
            x = cropped_to_ratio(x, self.height, self.width)
        if self.pad_to_aspect_ratio:
            rows, columns = x.shape[-3:-1]
            tall = max(rows, columns * self.height // self.width)
            wide = max(columns, rows * self.width // self.height)
            top, left = (tall - rows) // 2, (wide - columns) // 2
            edges = (*((0, 0),) * (x.ndim - 3), (top, top), (left, left), (0, 0))
            x = ops.pad(x, edges, constant_values=self.fill_value)
        size = (self.height, self.width)
        return ops.resize(x, size, self.interpolation, self.antialias)


class CenterCrop(_ImageLayer):
    """Cuts the middle out of images; smaller images are scaled to cover it first.

    An image with a side below the target's is cut to the target's aspect ratio and then
    scaled, bilinearly.

    Input (N, H, W, C) or (H, W, C), integers too; output (N, height, width, C) or
    (height, width, C).

    Parameters
    ----------
    height, width: of the output.
    data_format: "channels_last" or "channels_first"; None: `image_data_format()`.

    Raises
    ------
    ArgumentError for sizes below 1; ShapeError for an input that is no image.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.CenterCrop(1, 2)(np.arange(12.0).reshape(1, 3, 4, 1))[0, :, :, 0]
    array([[5., 6.]], dtype=float32)
    """

    def to_size(self, x: Any) -> Any:
        """The middle of the images."""
        rows, columns = x.shape[-3:-1]
        if rows >= self.height and columns >= self.width:
            return _middle(x, self.height, self.width)
        x = cropped_to_ratio(x, self.height, self.width)
        return ops.resize(x, (self.height, self.width))


def cropped_to_ratio(x: Any, height: int, width: int) -> Any:
    """The largest part in the middle of images with the ratio ``height : width``."""
    rows, columns = x.shape[-3:-1]
    tall = max(1, min(rows, columns * height // width))
    wide = max(1, min(columns, rows * width // height))
    return _middle(x, tall, wide)


def _middle(x: Any, height: int, width: int) -> Any:
    top, left = (x.shape[-3] - height) // 2, (x.shape[-2] - width) // 2
    return x[..., top : top + height, left : left + width, :]
