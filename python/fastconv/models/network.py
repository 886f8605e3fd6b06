"""What the networks of the zoo share: arguments, classifier, published figures.

A file of the zoo writes the body of a network, from images to feature maps, as the
table of its paper, and lists its `Network` objects: constructors of models.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from inspect import getdoc
from pathlib import Path
from typing import Any

import numpy as np

from fastconv import config
from fastconv.errors import ArgumentError, ShapeError, unknown_name
from fastconv.layers import (
    Dense,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Input,
    KerasTensor,
    Permute,
)
from fastconv.training import Model
from fastconv.training.call_graph import CallGraph, sources
from fastconv.weights import published
from fastconv.weights.loading import load_weights

__all__ = ["IMAGENET", "SYMMETRIC", "UNIT", "Facts", "Network", "Scaling"]


@dataclass(frozen=True)
class Scaling:
    """How published weights expect images: ``(x / 255 - mean) / deviation``."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]

    def __call__(self, x: Any, data_format: str = "channels_last") -> np.ndarray:
        """Images with values 0 .. 255 as float32, scaled channel by channel.

        Raises
        ------
        ShapeError for another number of channels; UnknownNameError for another order.
        """
        if data_format not in ("channels_last", "channels_first"):
            orders = ["channels_last", "channels_first"]
            raise unknown_name("data_format", data_format, orders)
        images = np.asarray(x, np.float32)
        mean, deviation = np.array([self.mean, self.deviation], np.float32)
        if len(set(self.mean)) == len(set(self.deviation)) == 1:
            mean, deviation = mean[0], deviation[0]
        else:
            first = data_format == "channels_first"
            axis = -3 if first else -1
            if images.ndim < 3 or images.shape[axis] != len(self.mean):
                raise ShapeError(
                    f"images: expected {len(self.mean)} channels on axis {axis} "
                    f"({data_format}), received shape {images.shape}"
                )
            if first:
                mean, deviation = mean[:, None, None], deviation[:, None, None]
        return (images - 255 * mean) / (255 * deviation)


IMAGENET = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SYMMETRIC = Scaling((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # -1 .. 1
UNIT = Scaling((0.0,), (1.0,))  # 0 .. 1


@dataclass(frozen=True)
class Facts:
    """What is published about a network.

    Attributes
    ----------
    paper: authors, title, where and when.
    parameters: trainable ones, of the reference.
    multiply_adds: of one image's forward pass, in 10^9; convolutions and dense layers.
    top1, top5: accuracy in per cent on the validation images of ``data``, one crop;
        None where none is published.
    reference: whose definition this is: "torchvision", "keras", or "paper" where the
        figures follow from the sizes of layers in the paper.
    scaling: of images.
    data: the data set of the accuracies.
    """

    paper: str
    parameters: int
    multiply_adds: float
    top1: float | None = None
    top5: float | None = None
    reference: str = "torchvision"
    scaling: Scaling = IMAGENET
    data: str = "ImageNet"

    def metadata(self, network: str) -> dict[str, Any]:
        """What a model keeps of it in its ``metadata``, and in files."""
        published = asdict(self)
        scaling = published.pop("scaling")
        return {
            "network": network,
            "mean": list(scaling["mean"]),
            "deviation": list(scaling["deviation"]),
            "published": published,
        }


def classifier(x: Any, classes: int, activation: Any) -> Any:
    """The mean of each map, and one dense layer: the top of most networks."""
    x = GlobalAveragePooling2D(name="avgpool")(x)
    return Dense(classes, activation=activation, name="fc")(x)


class Network:
    """A constructor of models with the arguments of Keras's applications.

    Parameters
    ----------
    name: of the network, and of its models.
    body: a function from a tensor of images to feature maps, and perhaps options.
    facts: what is published.
    top: a function (features, classes, activation) to outputs.
    image, smallest: height and width, by default and at least.
    channels, classes: of the published network.
    weights: the default of that argument; None for networks without published ones.
    levels: for pyramids, by reduction (image side by map side) the layer whose maps are
        the last of that size; or a function of the options that gives them.
    options: arguments of ``body`` by name, with their defaults.
    """

    def __init__(
        self,
        name: str,
        body: Callable[..., Any],
        facts: Facts,
        *,
        top: Callable[..., Any] = classifier,
        image: int = 224,
        smallest: int = 32,
        channels: int = 3,
        classes: int = 1000,
        weights: str | None = "imagenet",
        levels: Any,
        **options: Any,
    ) -> None:
        self.__name__ = name
        self.__doc__ = f"{name}: {facts.paper}.\n\n{getdoc(Network.__call__)}"
        self.name, self.body, self.facts, self.top = name, body, facts, top
        self.image, self.smallest = image, smallest
        self.channels, self.classes, self.weights = channels, classes, weights
        self.levels, self.options = levels, options

    def __call__(
        self,
        include_top: bool = True,
        weights: Any = "default",
        input_tensor: Any = None,
        input_shape: Any = None,
        pooling: str | None = None,
        classes: int | None = None,
        classifier_activation: Any = "softmax",
        name: str | None = None,
        features_only: bool = False,
        out_indices: Any = None,
        **options: Any,
    ) -> Any:
        """A model.

        Parameters
        ----------
        include_top: whether the classifier is there; without it the result is the
            feature maps, or with ``pooling`` one vector an image. Default True.
        weights: "imagenet" (the default where they are published), None for random
            ones (the default elsewhere), or the path of a file of any kind that
            `Model.load_weights` reads. "imagenet" is read from ``NAME.safetensors``,
            without the top ``NAME_notop.safetensors``, or torchvision's file, in the
            folder ``weights`` of the cache (``FASTCONV_CACHE`` or
            ``~/.cache/fastconv``) or in the folder ``FASTCONV_MIRROR``. If it is in
            neither, an explicit weights="imagenet" downloads torchvision's file, unless
            ``FASTCONV_OFFLINE`` is set; the default does not.
        input_tensor: tensor of a model to build upon; default a new input.
        input_shape: height, width, channels; the default with the top is the size of
            the paper, without it any size. With ``image_data_format()``
            "channels_first" it is channels, height, width; the model then turns its
            input, and maps that it gives, and has the channels last inside.
        pooling: without the top: "avg" or "max" over each map; default none.
        classes: outputs of the top; default those of the published network.
        classifier_activation: of the top; default "softmax".
        name: of the model; default that of the network.
        features_only: whether the model gives a pyramid: a list of feature maps, from
            fine to coarse, one of each size, as detectors and segmentation need.
            There is no top then. Default False.
        out_indices: which levels of the pyramid, from 0; default all.
        options: of the network, such as the width multiplier of MobileNet.

        Returns
        -------
        Model; its ``metadata`` has the name of the network and how it expects images,
        and of a pyramid the layer, ``reduction`` (image side by map side) and
        ``channels`` of each level, as ``features``.

        Raises
        ------
        ShapeError for images that are too small; ArgumentError for weights that are
        not there, classes that they have not, levels that are not there, or an unknown
        option; UnknownNameError for another pooling.

        >>> import fastconv as fc
        >>> base = fc.models.VGG16(include_top=False, weights=None)
        >>> base.output_shape, base.count_params()
        ((None, None, None, 512), 14714688)
        >>> pyramid = fc.models.ResNet18(
        ...     weights=None, features_only=True, out_indices=(1, 2, 3, 4))
        >>> [(f["reduction"], f["channels"]) for f in pyramid.metadata["features"]]
        [(4, 64), (8, 128), (16, 256), (32, 512)]
        """
        self._check(pooling, classes, options)
        include_top = include_top and not features_only
        path = self._file(weights, include_top, classes)
        first = config.image_data_format() == "channels_first"
        image = input_tensor
        if image is None:
            image = Input(self._default_shape(include_top, input_shape, first))
        self._check_image(image, include_top, first)
        inputs = image if input_tensor is None else sources(image)
        metadata = self.facts.metadata(self.name)
        with _channels_last():
            x = Permute((2, 3, 1), name="channels_last")(image) if first else image
            options = {**self.options, **options}
            x = self.body(x, **options)
            if features_only:
                levels = self._pyramid(CallGraph(inputs, x, self.name), options)
                levels = [levels[i] for i in self._indices(out_indices, len(levels))]
                metadata["features"] = [facts for facts, _ in levels]
                x = [
                    _pooled(maps, pooling, first, f"_{i}")
                    for i, (_, maps) in enumerate(levels)
                ]
            elif include_top:
                x = self.top(x, classes or self.classes, classifier_activation)
            else:
                x = _pooled(x[0] if isinstance(x, tuple) else x, pooling, first)
        model = Model(inputs, x, name=name or self.name)
        model.metadata = metadata
        if path is not None:
            load_weights(model, path, whole=include_top)
        return model

    def _pyramid(self, graph: CallGraph, options: Any) -> list[tuple[Any, Any]]:
        """What is known about each level, and its maps."""
        levels = self.levels(**options) if callable(self.levels) else self.levels
        made = {call.layer.name: call.outputs for call in graph.calls}
        return [
            (
                {"layer": n, "reduction": reduction, "channels": made[n].shape[-1]},
                made[n],
            )
            for reduction, n in levels.items()
        ]

    def _indices(self, given: Any, count: int) -> Iterable[int]:
        found = range(count) if given is None else given
        if isinstance(found, Iterable):
            found = list(found)
            if found and all(i in range(-count, count) for i in found):
                return found
        raise ArgumentError(
            f"{self.name}: expected out_indices, a list of levels in 0 .. {count - 1}, "
            f"received {given!r}"
        )

    def _file(self, weights: Any, include_top: bool, classes: int | None) -> Any:
        """The path of a file of weights, which must be there; None for random ones."""
        asked = not (isinstance(weights, str) and weights == "default")
        if not asked:
            weights = self.weights
        if weights is None:
            return None
        if weights != "imagenet":
            if not Path(weights).is_file():
                raise ArgumentError(
                    f"{self.name}: expected weights=None, 'imagenet' or the path of a "
                    f"file, received {weights!r}, which is no file"
                )
            return os.fspath(weights)
        if include_top and classes not in (None, self.classes):
            raise ArgumentError(
                f"{self.name}: the top of weights='imagenet' has {self.classes} "
                f"classes, received classes={classes}; give include_top=False or "
                "weights=None"
            )
        part = "" if include_top else "_notop"
        return os.fspath(published.find(self.name, part, asked))

    def _check(self, pooling: Any, classes: Any, options: dict[str, Any]) -> None:
        if pooling is not None and pooling not in _POOLING:
            raise unknown_name("pooling", pooling, list(_POOLING))
        if classes is not None and (type(classes) is not int or classes < 1):
            raise ArgumentError(
                f"{self.name}: expected classes, an integer >= 1, received {classes!r}"
            )
        for option in options:
            if option not in self.options:
                known = ", ".join(self.options) or "none"
                raise ArgumentError(
                    f"{self.name}: unknown argument {option!r}; its own: {known}"
                )

    def _default_shape(self, include_top: bool, shape: Any, first: bool) -> Any:
        """Height, width and channels, in the order in force."""
        if shape is not None:
            return tuple(shape)
        sides = (self.image,) * 2 if include_top else (None, None)
        return (self.channels, *sides) if first else (*sides, self.channels)

    def _check_image(self, image: Any, include_top: bool, first: bool) -> None:
        order = "channels, height, width" if first else "height, width, channels"
        if not isinstance(image, KerasTensor):
            raise ArgumentError(
                f"{self.name}: expected input_tensor, a tensor of a model such as "
                f"fastconv.Input({order}), received {image!r:.80}"
            )
        shape = image.shape[1:]
        sides, channels = (shape[1:], shape[:1]) if first else (shape[:-1], shape[-1:])
        fits = all(side is None or side >= self.smallest for side in sides)
        if len(shape) != 3 or None in channels or not fits:
            raise ShapeError(
                f"{self.name}: expected input_shape ({order}) with sides >= "
                f"{self.smallest}, received {shape}"
            )
        if include_top and None in sides:
            raise ShapeError(
                f"{self.name}: expected a known image size, received {shape}; "
                "include_top=False takes images of any size"
            )

    def __repr__(self) -> str:
        return f"<network {self.name}>"


@contextlib.contextmanager
def _channels_last() -> Iterator[None]:
    """Layers made in the with block have their channels last."""
    before = config.image_data_format()
    config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        config.set_image_data_format(before)


def _pooled(x: Any, pooling: str | None, first: bool, at: str = "") -> Any:
    """Feature maps, in the order that the user asked for, or a vector an image."""
    if pooling is not None:
        return _POOLING[pooling](name=f"{pooling}_pool{at}")(x)
    return Permute((3, 1, 2), name=f"channels_first{at}")(x) if first else x


_POOLING = {"avg": GlobalAveragePooling2D, "max": GlobalMaxPooling2D}
