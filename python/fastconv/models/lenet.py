"""LeNet-5, as it is used today and as it was published."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from fastconv import ops
from fastconv.errors import ArgumentError, unknown_name
from fastconv.graph.trace import as_tensor
from fastconv.initializers import RandomUniform
from fastconv.layers import (
    RBF,
    Conv2D,
    Dense,
    Flatten,
    Input,
    MaxPooling2D,
    PartialConv2D,
    Subsampling2D,
)
from fastconv.models.lenet_codes import digit_codes
from fastconv.models.network import UNIT, Facts
from fastconv.training import Sequential

__all__ = ["C3_CONNECTIONS", "LeNet5", "rbf_loss"]

# Table I of the paper: the maps of S2 that each map of C3 sees.
C3_CONNECTIONS = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)  # fmt: skip

FACTS = {
    "LeNet5": Facts(
        "LeCun, Bottou, Bengio, Haffner, Gradient-based learning, Proc. IEEE 1998",
        60000, 0.000417, 99.05, reference="paper", scaling=UNIT, data="MNIST",
    )
}  # fmt: skip


def LeNet5(  # noqa: N802  (Keras's style for models)
    input_shape: tuple[int, int, int] = (32, 32, 1),
    classes: int = 10,
    variant: str = "modern",
    output: str = "softmax",
    name: str = "lenet5",
) -> Any:
    """LeNet-5: convolution, pooling, convolution, pooling, convolution, dense.

    LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
    recognition", Proc. IEEE 86 (1998), section II.B. Parameters, for a 32x32x1 input::

        layer                                 output    "paper"  "modern"
        C1  convolution 5x5                  28x28x6        156       156
        S2  sub-sampling 2x2                 14x14x6         12         0
        C3  convolution 5x5                 10x10x16      1,516     2,416
        S4  sub-sampling 2x2                  5x5x16         32         0
        C5  convolution 5x5                  1x1x120     48,120    48,120
        F6  dense                                 84     10,164    10,164
            output: RBF / softmax                 10     0 / 850      850

    "modern" has ReLU, maximum pooling, and a C3 that sees all maps. "paper" squashes
    with 1.7159 tanh(2 x / 3); its sub-sampling takes the mean of 2x2, times a trainable
    coefficient, plus a trainable bias, and squashes; C3 sees the maps of Table I.
    The RBF output is the negated squared distance of F6 to a fixed code of 7x12 dots
    for each digit; train it with `rbf_loss`. The paper scales its images: background
    -0.1, ink 1.175. Its first weights, uniform within 2.4 / inputs, need its
    second-order rates; here they are LeCun's, within sqrt(3 / inputs), for plain SGD.

    Parameters
    ----------
    input_shape: height, width, channels; the first two at least 32.
    classes: default 10; with "rbf" exactly 10.
    variant: "modern" (default) or "paper".
    output: "softmax" (default) or "rbf".
    name: of the model.

    Returns
    -------
    Sequential, from (N, 32, 32, 1) to (N, classes).

    Raises
    ------
    UnknownNameError for another variant or output; ArgumentError for "rbf" with other
    than 10 classes; ShapeError for an image smaller than 32x32.

    >>> import fastconv as fc
    >>> fc.models.LeNet5().count_params()
    61706
    """
    bodies = {"modern": _modern, "paper": _paper}
    if variant not in bodies:
        raise unknown_name("variant of LeNet5", variant, list(bodies))
    layers = [Input(input_shape), *bodies[variant](), _output(output, classes)]
    model = Sequential(layers, name=name)
    model.metadata = FACTS["LeNet5"].metadata("lenet5")
    return model


def _modern() -> list[Any]:
    return [
        Conv2D(6, 5, activation="relu", name="C1"),
        MaxPooling2D(2, name="S2"),
        Conv2D(16, 5, activation="relu", name="C3"),
        MaxPooling2D(2, name="S4"),
        Conv2D(120, 5, activation="relu", name="C5"),
        Flatten(name="flatten"),
        Dense(84, activation="relu", name="F6"),
    ]


def _paper() -> list[Any]:
    def squashed(inputs: int) -> dict[str, Any]:
        limit = sqrt(3 / inputs)  # LeCun's, with the fan-in of a unit
        uniform = RandomUniform(-limit, limit)
        return {"activation": "scaled_tanh", "kernel_initializer": uniform}

    return [
        Conv2D(6, 5, **squashed(25), name="C1"),
        Subsampling2D(2, activation="scaled_tanh", name="S2"),
        PartialConv2D(C3_CONNECTIONS, 5, **squashed(4 * 25), name="C3"),
        Subsampling2D(2, activation="scaled_tanh", name="S4"),
        Conv2D(120, 5, **squashed(16 * 25), name="C5"),
        Flatten(name="flatten"),
        Dense(84, **squashed(120), name="F6"),
    ]


def _output(output: str, classes: int) -> Any:
    if output == "softmax":
        return Dense(classes, activation="softmax", name="output")
    if output != "rbf":
        raise unknown_name("output of LeNet5", output, ["softmax", "rbf"])
    if classes != 10:
        raise ArgumentError(
            f"LeNet5: expected 10 classes for output='rbf', which has codes for the "
            f"ten digits, received {classes}; use output='softmax'"
        )
    return RBF(digit_codes(), name="output")


def rbf_loss(y_true: Any, y_pred: Any) -> Any:
    """Squared distance to the code of the right class, one a sample.

    Formula: ``loss = -y_pred[label]``, LeCun et al. 1998, eq. 8; for
    ``compile(loss=rbf_loss)``.

    Parameters
    ----------
    y_true: class numbers of shape (N,) or (N, 1), or one-hot rows (N, classes).
    y_pred: what the RBF output gave, (N, classes).

    Returns
    -------
    Tensor of shape (N,).

    >>> import fastconv as fc
    >>> import numpy as np
    >>> from fastconv.models.lenet import rbf_loss
    >>> fc.function(rbf_loss)(np.array([1]), [[-5.0, -3.0]])
    array([3.], dtype=float32)
    """
    y_true, y_pred = as_tensor(y_true), as_tensor(y_pred)
    rows, classes = y_pred.shape
    if y_true.shape != y_pred.shape:
        labels = ops.reshape(y_true, (rows, 1))
        y_true = ops.equal(labels, np.arange(classes))
    return ops.negative(ops.sum(ops.cast(y_true, y_pred.dtype) * y_pred, axis=-1))
