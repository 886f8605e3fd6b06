"""The layers of LeCun, Bottou, Bengio, Haffner 1998 that later networks gave up.

"Gradient-based learning applied to document recognition", Proc. IEEE 86 (1998), section
II.B; see `fastconv.models.LeNet5`.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastconv import activations, initializers, ops
from fastconv.errors import ArgumentError, ShapeError
from fastconv.layers import check
from fastconv.layers.base import Layer
from fastconv.layers.spatial import Spatial

__all__ = ["RBF", "PartialConv2D", "Subsampling2D"]


class PartialConv2D(Spatial, axes=2):
    """Convolution in which each filter sees only some of the input's maps.

    Formula: ``y_k = activation(sum over maps c in connections[k] of conv(x_c, w_ck) +
    b_k)``. LeCun et al. 1998, section II.B, layer C3 and Table I.

    Input (N, H, W, C); output (N, P, Q, number of filters). Weights: ``kernel`` (KH,
    KW, number of connections), filter by filter, and ``bias`` (filters,).

    Parameters
    ----------
    connections: for each filter the numbers of the maps that it sees.
    kernel_size: a number or one an axis.
    activation, kernel_initializer, data_format: as for `Conv2D`.
    kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: the same.

    Raises
    ------
    ArgumentError for a filter that sees no map, or one twice; ShapeError for an input
    that lacks a map.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> layer = fc.layers.PartialConv2D([[0, 1], [1]], 3)
    >>> layer(np.zeros((1, 5, 5, 2))).shape, layer.count_params()
    ((1, 3, 3, 2), 29)
    """

    ruled = ("kernel", "bias")

    def __init__(
        self,
        connections: Any,
        kernel_size: Any,
        activation: Any = None,
        kernel_initializer: Any = "glorot_uniform",
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.connections = tuple(tuple(int(c) for c in seen) for seen in connections)
        if not self.connections or not all(
            seen and min(seen) >= 0 and len(set(seen)) == len(seen)
            for seen in self.connections
        ):
            raise ArgumentError(
                f"{check.who(self)}: expected connections, for each filter at least "
                f"one number of a map, each once, received {connections!r:.80}"
            )
        self.kernel_size = check.integers(self, "kernel_size", kernel_size, 2)
        self.activation = activations.get(activation)
        self.kernel_initializer = initializers.get(kernel_initializer)

    def build(self, input_shape: Any) -> None:
        """Makes one small kernel a connection, and the bias."""
        last = max(map(max, self.connections))
        channels = input_shape[1 if self.data_format == "channels_first" else -1]
        if last >= check.known_size(self, "the number of channels", channels):
            raise ShapeError(
                f"{check.who(self)}: expected an input with at least {last + 1} "
                f"channels, received {channels}"
            )
        self.channels, filters = channels, len(self.connections)
        count = sum(map(len, self.connections))
        self.kernel = self.add_weight(
            (*self.kernel_size, count), self.kernel_initializer, name="kernel",
            **self.rules("kernel"),
        )  # fmt: skip
        bias = self.rules("bias")
        self.bias = self.add_weight((filters,), "zeros", name="bias", **bias)

    def call(self, x: Any) -> Any:
        """A full convolution whose kernel is 0 where there is no connection."""
        filters, places = len(self.connections), self._places()
        rows = ops.reshape(self.kernel, (prod(self.kernel_size), places.shape[0]))
        shape = (*self.kernel_size, self.channels, filters)
        kernel = ops.reshape(ops.matmul(rows, places), shape)
        y = ops.add(ops.conv(self.to_last(x), kernel), self.bias)
        return self.from_last(self.activation(y))

    def _places(self) -> np.ndarray:
        """1 where a connection (row) stands in the full kernel (column)."""
        filters = len(self.connections)
        pairs = [(c, k) for k, seen in enumerate(self.connections) for c in seen]
        places = np.zeros((len(pairs), self.channels * filters), self.dtype)
        for row, (c, k) in enumerate(pairs):
            places[row, c * filters + k] = 1
        return places


class Subsampling2D(Spatial, axes=2):
    """Mean of each window, times a trainable coefficient a map, plus a trainable bias.

    Formula: ``y_c = activation(w_c mean(window of x_c) + b_c)``. LeCun et al. 1998,
    section II.B, layers S2 and S4; there the window is added up, so that w is a quarter
    of the paper's for windows of 2x2.

    Input (N, H, W, C); output (N, H / size, W / size, C). Weights: ``coefficient``
    (C,), 1 at first, and ``bias`` (C,), 0 at first.

    Parameters
    ----------
    pool_size: a number or one an axis; default 2. Windows do not overlap.
    activation, data_format: as for `Conv2D`.
    coefficient_regularizer, bias_regularizer, coefficient_constraint, bias_constraint:
        default none.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> fc.layers.Subsampling2D()(np.ones((1, 4, 4, 6))).shape
    (1, 2, 2, 6)
    """

    ruled = ("coefficient", "bias")

    def __init__(
        self,
        pool_size: Any = 2,
        activation: Any = None,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(data_format, **kwargs)
        self.pool_size = check.integers(self, "pool_size", pool_size, 2)
        self.activation = activations.get(activation)

    def build(self, input_shape: Any) -> None:
        """Makes the coefficients and the bias."""
        channels = input_shape[1 if self.data_format == "channels_first" else -1]
        size = check.known_size(self, "the number of channels", channels)
        self.coefficient = self.add_weight(
            (size,), "ones", name="coefficient", **self.rules("coefficient")
        )
        bias = self.rules("bias")
        self.bias = self.add_weight((size,), "zeros", name="bias", **bias)

    def call(self, x: Any) -> Any:
        """The sub-sampled input."""
        mean = ops.average_pool(self.to_last(x), self.pool_size)
        y = ops.add(ops.multiply(mean, self.coefficient), self.bias)
        return self.from_last(self.activation(y))


class RBF(Layer):
    """How near an input is to each of some fixed codes: radial basis functions.

    Formula: ``y_k = -sum_j (x_j - codes_kj)^2``. LeCun et al. 1998, eq. 7, has the
    distance itself; with the sign turned the largest output is the answer, as in all
    networks.

    Input (N, C); output (N, number of codes). No weights.

    codes: array (number of codes, C).

    Raises
    ------
    ShapeError if the input has not as many features as a code.

    >>> import fastconv as fc
    >>> fc.layers.RBF([[1.0, 1.0], [1.0, -1.0]])([[1.0, 1.0]])
    array([[-0., -4.]], dtype=float32)
    """

    _rank = 2

    def __init__(self, codes: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.codes = np.array(codes, self.dtype)
        if self.codes.ndim != 2 or 0 in self.codes.shape:
            raise ArgumentError(
                f"{check.who(self)}: expected codes of shape (classes, features), "
                f"received shape {self.codes.shape}"
            )

    def call(self, x: Any) -> Any:
        """The distances, negated."""
        if x.shape[1] != self.codes.shape[1]:
            raise ShapeError(
                f"{check.who(self)}: expected an input of {self.codes.shape[1]} "
                f"features, received shape {x.shape}"
            )
        apart = ops.expand_dims(x, 1) - self.codes
        return ops.negative(ops.sum(ops.square(apart), axis=-1))
