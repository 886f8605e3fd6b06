"""What the networks of the zoo share: arguments, classifier, published figures.

A file of the zoo writes the body of a network, from images to feature maps, as the
table of its paper, and lists its `Network` objects: constructors of models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastconv.errors import ArgumentError, ShapeError, unknown_name
from fastconv.layers import Dense, GlobalAveragePooling2D, GlobalMaxPooling2D, Input
from fastconv.training import Model

__all__ = ["IMAGENET", "SYMMETRIC", "Facts", "Network", "Scaling"]


@dataclass(frozen=True)
class Scaling:
    """How published weights expect images: ``(x / 255 - mean) / deviation``."""

    mean: tuple[float, ...]
    deviation: tuple[float, ...]


IMAGENET = Scaling((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SYMMETRIC = Scaling((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))  # -1 .. 1


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
    reference: whose figures these are: "torchvision", "timm", "keras" or "paper".
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
        **options: Any,
    ) -> None:
        self.__name__ = name
        self.name, self.body, self.facts, self.top = name, body, facts, top
        self.image, self.smallest = image, smallest
        self.channels, self.classes, self.weights = channels, classes, weights
        self.options = options

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
        **options: Any,
    ) -> Any:
        """A model.

        Parameters
        ----------
        include_top: whether the classifier is there; without it the result is the
            feature maps, or with ``pooling`` one vector an image. Default True.
        weights: "imagenet" (the default where they are published), None for random
            ones (the default elsewhere), or the path of a file.
        input_tensor: tensor of a model to build upon; default a new input.
        input_shape: height, width, channels; the default with the top is the size of
            the paper, without it any size.
        pooling: without the top: "avg" or "max" over each map; default none.
        classes: outputs of the top; default those of the published network.
        classifier_activation: of the top; default "softmax".
        name: of the model; default that of the network.
        options: of the network, such as the width multiplier of MobileNet.

        Raises
        ------
        ShapeError for images that are too small; ArgumentError for weights that are
        not there, or an unknown option; UnknownNameError for another pooling.

        >>> import fastconv as fc
        >>> base = fc.models.VGG16(include_top=False, weights=None)
        >>> base.output_shape, base.count_params()
        ((None, None, None, 512), 14714688)
        """
        self._check(include_top, pooling, options)
        image = input_tensor
        if image is None:
            image = Input(self._image_shape(input_shape, include_top))
        x = self.body(image, **{**self.options, **options})
        if include_top:
            x = self.top(x, classes or self.classes, classifier_activation)
        else:
            x = x[0] if isinstance(x, tuple) else x
            x = x if pooling is None else _POOLING[pooling](name=f"{pooling}_pool")(x)
        model = Model(image, x, name=name or self.name)
        if weights == "default":
            weights = self.weights
        if weights is not None:
            self._load(model, weights, include_top)
        return model

    def _load(self, model: Any, weights: Any, include_top: bool) -> None:
        model.load_weights(weights)

    def _check(self, include_top: bool, pooling: Any, options: dict[str, Any]) -> None:
        if pooling is not None and pooling not in _POOLING:
            raise unknown_name("pooling", pooling, list(_POOLING))
        for option in options:
            if option not in self.options:
                known = ", ".join(self.options) or "none"
                raise ArgumentError(
                    f"{self.name}: unknown argument {option!r}; its own: {known}"
                )

    def _image_shape(self, shape: Any, include_top: bool) -> tuple[int | None, ...]:
        """Height, width and channels, checked."""
        if shape is None:
            side = self.image if include_top else None
            return (side, side, self.channels)
        shape = tuple(shape)
        fits = len(shape) == 3 and shape[2] is not None
        if not fits or any(s is not None and s < self.smallest for s in shape[:2]):
            raise ShapeError(
                f"{self.name}: expected input_shape (height, width, channels) with "
                f"sides >= {self.smallest}, received {shape}"
            )
        return shape

    def __repr__(self) -> str:
        return f"<network {self.name}>"


_POOLING = {"avg": GlobalAveragePooling2D, "max": GlobalMaxPooling2D}
