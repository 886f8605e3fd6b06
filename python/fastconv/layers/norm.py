"""Normalisation layers: by batch, by sample, by neighbouring channels."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastconv import initializers, ops
from fastconv.errors import ArgumentError
from fastconv.graph.trace import as_tensor
from fastconv.graph.variable import Variable
from fastconv.layers import check, layout
from fastconv.layers.base import Layer

__all__ = [
    "BatchNormalization", "GroupNormalization", "LayerNormalization",
    "LocalResponseNormalization", "UnitNormalization",
]  # fmt: skip


class _Affine(Layer):
    """Makes gamma and beta, which may be left out."""

    ruled = ("beta", "gamma")

    def __init__(
        self,
        axis: Any = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.axis = axis
        self.epsilon = check.number(self, "epsilon", epsilon, 1e-38)
        self.center, self.scale = bool(center), bool(scale)
        self.beta_initializer = initializers.get(beta_initializer)
        self.gamma_initializer = initializers.get(gamma_initializer)

    def add_affine(self, shape: tuple[int, ...]) -> None:
        """Makes gamma and beta; those left out are constants 1 and 0."""
        self.gamma: Variable | np.ndarray = np.ones(shape, self.dtype)
        self.beta: Variable | np.ndarray = np.zeros(shape, self.dtype)
        if self.scale:
            self.gamma = self.add_weight(
                shape, self.gamma_initializer, name="gamma", **self.rules("gamma")
            )
        if self.center:
            self.beta = self.add_weight(
                shape, self.beta_initializer, name="beta", **self.rules("beta")
            )


class BatchNormalization(_Affine):
    """Normalises each channel, by the batch in training, by moving averages after it.

    Formula: ``y = gamma (x - mean) / sqrt(variance + epsilon) + beta``; in training
    mean and biased variance are the batch's, and
    ``moving = moving * momentum + batch * (1 - momentum)``. With ``trainable = False``
    the moving averages are used, and stay, also in training, as in Keras. Ioffe,
    Szegedy, "Batch normalization", ICML 2015, section 3.

    Input (N, ..., C); output of the same shape. Weights: ``gamma``, ``beta``,
    ``moving_mean``, ``moving_variance``, each (C,).

    Parameters
    ----------
    axis: of the channels; default the last, 1 for channels_first.
    momentum: in [0, 1]; default 0.99.
    epsilon: > 0; default 1e-3.
    center, scale: whether there are beta and gamma; default True.
    beta_initializer, gamma_initializer: default "zeros" and "ones".
    moving_mean_initializer, moving_variance_initializer: default "zeros" and "ones".
    beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: default
        none.
    synchronized: as in Keras, and without effect: there is one device.

    Raises
    ------
    ArgumentError for parameters out of range. One value a channel gives beta; an empty
    batch leaves the averages as they are.

    >>> import numpy as np
    >>> import fastconv as fc
    >>> norm = fc.layers.BatchNormalization(epsilon=1e-9)
    >>> norm(np.array([[1.0], [3.0]], np.float32), training=True)
    array([[-1.],
           [ 1.]], dtype=float32)
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(axis, epsilon, center, scale, **kwargs)
        self.synchronized = bool(synchronized)
        self.momentum = check.number(self, "momentum", momentum, 0, 1 + 1e-9)
        self.moving_mean_initializer = initializers.get(moving_mean_initializer)
        self.moving_variance_initializer = initializers.get(moving_variance_initializer)

    def build(self, input_shape: Any) -> None:
        """Makes gamma, beta and the moving averages."""
        (axis,) = _axes(self, self.axis, len(input_shape))
        size = check.known_size(self, "the number of channels", input_shape[axis])
        self.add_affine((size,))
        mean, variance = self.moving_mean_initializer, self.moving_variance_initializer
        self.moving_mean = self.add_weight(
            (size,), mean, trainable=False, name="moving_mean"
        )
        self.moving_variance = self.add_weight(
            (size,), variance, trainable=False, name="moving_variance"
        )

    def call(self, x: Any, training: bool = False) -> Any:
        """The normalised input; in training also moves the averages."""
        (axis,) = _axes(self, self.axis, x.ndim)
        moved, back = _last(x, (axis,))
        if training and self.trainable and x.size:
            y, mean, _, variance = ops.batch_norm(
                moved, self.gamma, self.beta, self.epsilon
            )
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance)
        else:
            y = ops.batch_norm_inference(
                moved, self.gamma, self.beta, self.moving_mean, self.moving_variance,
                self.epsilon,
            )  # fmt: skip
        return layout.permute(y, back)

    def _move(self, average: Variable, batch: Any) -> None:
        old = as_tensor(average) * self.momentum
        average.assign(old + batch * (1 - self.momentum))


class LayerNormalization(_Affine):
    """Normalises each sample over its last axis, or over several axes.

    Formula: ``y = gamma (x - mean) / sqrt(variance + epsilon) + beta`` with the mean
    and biased variance over ``axis``. Ba, Kiros, Hinton, "Layer normalization",
    arXiv:1607.06450 (2016).

    Input (N, ...); output of the same shape. Weights: ``gamma`` and ``beta`` of the
    sizes of ``axis``.

    Parameters
    ----------
    axis: one axis or several; default the last.
    epsilon: > 0; default 1e-3.
    center, scale: whether there are beta and gamma; default True.
    beta_initializer, gamma_initializer: default "zeros" and "ones".
    beta_regularizer, gamma_regularizer, beta_constraint, gamma_constraint: default
        none.

    Raises
    ------
    ArgumentError for parameters out of range.

    >>> import fastconv as fc
    >>> fc.layers.LayerNormalization(epsilon=3.0)([[0.0, 2.0]])
    array([[-0.5,  0.5]], dtype=float32)
    """

    def build(self, input_shape: Any) -> None:
        """Makes gamma and beta."""
        axes = _axes(self, self.axis, len(input_shape))
        what = "the size of the normalised axes"
        self.add_affine(
            tuple(check.known_size(self, what, input_shape[a]) for a in axes)
        )

    def call(self, x: Any) -> Any:
        """The normalised input."""
        axes = _axes(self, self.axis, x.ndim)
        moved, back = _last(x, axes)
        y = ops.layer_norm(moved, self.gamma, self.beta, len(axes), self.epsilon)
        return layout.permute(y, back)


class GroupNormalization(_Affine):
    """Normalises each sample over groups of channels.

    Formula: ``y = gamma (x - mean) / sqrt(variance + epsilon) + beta`` with the mean
    and biased variance over all positions and the channels of a group. Wu, He, "Group
    normalization", ECCV 2018, section 3. With ``groups=-1``, one a channel, it is the
    instance normalisation of Ulyanov, Vedaldi, Lempitsky, arXiv:1607.08022 (2016).

    Input (N, ..., C); output of the same shape. Weights: ``gamma``, ``beta``, (C,).

    Parameters
    ----------
    groups: a number that divides the channels; default 32, -1 for one a channel.
    axis: of the channels; default the last.
    epsilon, center, scale, initializers, regularizers, constraints: as for
        `BatchNormalization`.

    Raises
    ------
    ArgumentError for parameters out of range, or groups that do not divide.

    >>> import fastconv as fc
    >>> norm = fc.layers.GroupNormalization(2, epsilon=1e-9)
    >>> norm([[1.0, 3.0, 10.0, 30.0]])
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(axis, epsilon, center, scale, **kwargs)
        self.groups = groups if groups == -1 else check.integer(self, "groups", groups)

    def build(self, input_shape: Any) -> None:
        """Makes gamma and beta."""
        (axis,) = _axes(self, self.axis, len(input_shape))
        channels = check.known_size(self, "the number of channels", input_shape[axis])
        if self.groups != -1 and channels % self.groups:
            raise ArgumentError(
                f"{check.who(self)}: expected groups that divide the {channels} "
                f"channels, received groups={self.groups}"
            )
        self.add_affine((channels,))

    def call(self, x: Any) -> Any:
        """The normalised input."""
        (axis,) = _axes(self, self.axis, x.ndim)
        moved, back = _last(x, (axis,))
        channels = moved.shape[-1]
        groups = channels if self.groups == -1 else self.groups
        size = channels // groups
        places = prod(moved.shape[1:-1])
        parts = ops.reshape(moved, (moved.shape[0], places, groups, size))
        rows = ops.transpose(parts, (0, 2, 1, 3))
        ones = np.ones((places, size), self.dtype)
        rows = ops.layer_norm(rows, ones, np.zeros_like(ones), 2, self.epsilon)
        y = ops.reshape(ops.transpose(rows, (0, 2, 1, 3)), moved.shape)
        y = ops.multiply(y, self.gamma) if self.scale else y
        y = ops.add(y, self.beta) if self.center else y
        return layout.permute(y, back)


class UnitNormalization(Layer):
    """Scales the input to norm 1: ``x / sqrt(max(sum x^2, 1e-12))`` over ``axis``.

    axis: one axis or several; default the last.

    >>> import fastconv as fc
    >>> fc.layers.UnitNormalization()([[3.0, 4.0]])
    array([[0.6, 0.8]], dtype=float32)
    """

    def __init__(self, axis: Any = -1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.axis = axis

    def call(self, x: Any) -> Any:
        """The scaled input."""
        squares = ops.sum(ops.square(x), _axes(self, self.axis, x.ndim), True)
        return ops.multiply(x, ops.rsqrt(ops.maximum(squares, 1e-12)))


class LocalResponseNormalization(Layer):
    """Divides each element by the activity of the channels around it.

    Formula: ``y_c = x_c / (bias + alpha sum_j x_j^2)^beta`` over the channels
    ``|j - c| <= depth_radius``. Krizhevsky, Sutskever, Hinton, NIPS 2012, section 3.3,
    whose constants are the defaults.

    Input (N, ..., C), or channels first; output of the same shape.

    Parameters
    ----------
    depth_radius: >= 0; default 2, that is five channels.
    bias: > 0; default 2. alpha: default 1e-4. beta: default 0.75.
    data_format: "channels_last" or "channels_first"; None: `image_data_format()`.

    Raises
    ------
    ArgumentError for parameters out of range.

    >>> import fastconv as fc
    >>> fc.layers.LocalResponseNormalization(bias=4.0, alpha=0.0, beta=0.5)([[2.0]])
    array([[1.]], dtype=float32)
    """

    def __init__(
        self,
        depth_radius: int = 2,
        bias: float = 2.0,
        alpha: float = 1e-4,
        beta: float = 0.75,
        data_format: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.depth_radius = check.integer(self, "depth_radius", depth_radius, 0)
        self.bias = check.number(self, "bias", bias, 1e-38)
        self.alpha = check.number(self, "alpha", alpha, 0)
        self.beta = check.number(self, "beta", beta, 0)
        self.data_format = layout.resolve(data_format)

    def call(self, x: Any) -> Any:
        """The normalised input."""
        y = ops.local_response_norm(
            layout.to_last(x, self.data_format), self.depth_radius, self.bias,
            self.alpha, self.beta,
        )  # fmt: skip
        return layout.from_last(y, self.data_format)


def _axes(layer: Layer, axis: Any, ndim: int) -> tuple[int, ...]:
    """The normalised axes, counted from the front, in order."""
    given = axis if isinstance(axis, list | tuple) else (axis,)
    if not all(check.is_integer(a) and -ndim <= a < ndim and a % ndim for a in given):
        raise ArgumentError(
            f"{check.who(layer)}: expected axis, one or several of an input with "
            f"{ndim} axes without the batch's, received {axis!r}"
        )
    return tuple(sorted({a % ndim for a in given}))


def _last(x: Any, axes: tuple[int, ...]) -> tuple[Any, tuple[int, ...]]:
    """``x`` with ``axes`` moved to the end, and the permutation that undoes it."""
    order = (*(i for i in range(x.ndim) if i not in axes), *axes)
    back = tuple(order.index(i) for i in range(x.ndim))
    return layout.permute(x, order), back
