"""The fully connected layer."""

from __future__ import annotations

from typing import Any

from fastconv import activations, initializers, ops
from fastconv.errors import ShapeError
from fastconv.layers import check
from fastconv.layers.base import Layer
from fastconv.layers.compat import KERNEL, renamed

__all__ = ["Dense"]


class Dense(Layer):
    """Neurons that each see all features: ``y = activation(x kernel + bias)``.

    One unit is ``O = f(W0 + sum W_i e_i)``. Rumelhart, Hinton, Williams, "Learning
    representations by back-propagating errors", Nature 323 (1986).

    Input (..., C), the last axis of two or more; output (..., units). Weights:
    ``kernel`` (C, units), ``bias`` (units,).

    Parameters
    ----------
    units: number of neurons, >= 1.
    activation: name or function; default none.
    use_bias: default True.
    kernel_initializer: default "glorot_uniform".
    bias_initializer: default "zeros".
    kernel_regularizer, bias_regularizer, kernel_constraint, bias_constraint: names or
        objects of `fastconv.regularizers`, `fastconv.constraints`; default none.

    Raises
    ------
    ArgumentError or UnknownNameError for arguments that make no sense; ShapeError for
    an input with other features than the first one had.

    >>> import fastconv as fc
    >>> fc.layers.Dense(2, kernel_initializer="ones")([[1.0, 2.0]])
    array([[3., 3.]], dtype=float32)
    """

    ruled = ("kernel", "bias")

    @renamed(output_dim="units", **KERNEL)
    def __init__(
        self,
        units: int,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.units = check.integer(self, "units", units)
        self.activation = activations.get(activation)
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.bias_initializer = initializers.get(bias_initializer)

    def build(self, input_shape: Any) -> None:
        """Makes the kernel and the bias."""
        if len(input_shape) < 2:
            raise ShapeError(
                f"{check.who(self)}: expected an input of at least 2 axes, the batch "
                f"among them, received shape {tuple(input_shape)}"
            )
        features = check.known_size(self, "the number of features", input_shape[-1])
        shape = (features, self.units)
        self.kernel = self.add_weight(
            shape, self.kernel_initializer, name="kernel", **self.rules("kernel")
        )
        if self.use_bias:
            self.bias = self.add_weight(
                (self.units,), self.bias_initializer, name="bias", **self.rules("bias")
            )

    def call(self, x: Any) -> Any:
        """Product, bias, activation."""
        bias = self.bias if self.use_bias else None
        return self.activation(ops.dense(x, self.kernel, bias))
