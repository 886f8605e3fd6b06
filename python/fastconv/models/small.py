"""Small networks to begin with: a multi-layer perceptron, and one convolution."""

from __future__ import annotations

from typing import Any

from fastconv.layers import (
    Activation,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Input,
    MaxPooling2D,
)
from fastconv.models.network import UNIT, Facts
from fastconv.training import Sequential

__all__ = ["MLP", "SmallNet"]

FACTS = {
    "MLP": Facts(
        "Rumelhart, Hinton, Williams, Learning by back-propagating, Nature 1986",
        101770, 0.000102, reference="paper", scaling=UNIT, data="MNIST",
    ),
    "SmallNet": Facts(
        "One convolution and one hidden layer, a first network",
        3692938, 0.004469, reference="paper", scaling=UNIT, data="CIFAR-10",
    ),
}  # fmt: skip


def MLP(  # noqa: N802  (Keras's style for models)
    input_shape: Any = (28, 28, 1),
    classes: int = 10,
    units: Any = (128,),
    activation: Any = "relu",
    classifier_activation: Any = "softmax",
    name: str = "mlp",
) -> Any:
    """Multi-layer perceptron: dense layers one after the other.

    Formula of a layer: ``y = f(W x + b)``. Rumelhart, Hinton, Williams, "Learning
    representations by back-propagating errors", Nature 323, 1986.

    Parameters
    ----------
    input_shape: of an image or vector; it is made flat.
    classes: outputs, default 10.
    units: neurons of each hidden layer; default one layer of 128.
    activation: of hidden layers, default "relu".
    classifier_activation: of the last layer, default "softmax".
    name: of the model.

    >>> import fastconv as fc
    >>> fc.models.MLP(units=(300, 100)).count_params()
    266610
    """
    hidden = [
        Dense(n, activation=activation, name=f"hidden{i}")
        for i, n in enumerate(units, 1)
    ]
    output = Dense(classes, activation=classifier_activation, name="output")
    layers = [Input(input_shape), Flatten(name="flatten"), *hidden, output]
    return _known("MLP", Sequential(layers, name=name))


def SmallNet(  # noqa: N802
    input_shape: Any = (32, 32, 3),
    classes: int = 10,
    filters: int = 32,
    kernel_size: int = 3,
    pool_size: int = 2,
    dropout: float = 0.25,
    units: int = 512,
    name: str = "smallnet",
) -> Any:
    """One convolution and pooling, one hidden layer: the first network of a course.

    ::

        convolution, maximum pooling, ReLU, dropout, flatten,
        dense (sigmoid, weights of LeCun), dense (softmax)

    Parameters
    ----------
    input_shape: height, width, channels.
    classes: outputs, default 10.
    filters, kernel_size: of the convolution; default 32 of 3x3.
    pool_size: of the pooling, default 2.
    dropout: share of maps' values that are dropped in training, default 0.25.
    units: neurons of the hidden layer, default 512.
    name: of the model.

    >>> import fastconv as fc
    >>> fc.models.SmallNet().output_shape
    (None, 10)
    """
    dense: dict[str, Any] = {"kernel_initializer": "lecun_uniform"}
    layers = [
        Input(input_shape),
        Conv2D(filters, kernel_size, name="conv"),
        MaxPooling2D(pool_size, name="pool"),
        Activation("relu", name="relu"),
        Dropout(dropout, name="dropout"),
        Flatten(name="flatten"),
        Dense(units, activation="sigmoid", name="hidden", **dense),
        Dense(classes, activation="softmax", name="output", **dense),
    ]
    return _known("SmallNet", Sequential(layers, name=name))


def _known(network: str, model: Any) -> Any:
    model.metadata = FACTS[network].metadata(network.lower())
    return model
