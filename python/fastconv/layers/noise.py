"""Layers that add noise in training: Gaussian noise and dropout, alpha dropout."""

from __future__ import annotations

from math import sqrt
from typing import Any

from fastconv import ops
from fastconv.layers import check
from fastconv.layers.regularization import Dropout, Random

__all__ = ["AlphaDropout", "GaussianDropout", "GaussianNoise"]

ALPHA_P = -1.7580993408473766  # what SELU tends to: -alpha * scale


class GaussianNoise(Random):
    """In training, adds normally distributed noise of mean 0; else identity.

    Bishop, "Training with noise is equivalent to Tikhonov regularization", Neural
    Computation 7 (1995).

    Parameters
    ----------
    stddev: of the noise, >= 0.
    seed: of this layer; default None, that is the model's.

    >>> import fastconv as fc
    >>> fc.layers.GaussianNoise(0.1)([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """

    def __init__(self, stddev: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.stddev = check.number(self, "stddev", stddev, 0)

    def call(self, x: Any, training: bool = False) -> Any:
        """The input, in training with noise."""
        if not training or self.stddev == 0:
            return x
        state, stream = self.draw()
        noise = ops.random_normal(x.shape, state, 0.0, self.stddev, stream)
        return ops.add(x, ops.cast(noise, x.dtype))


class GaussianDropout(Random):
    """In training, multiplies by noise of mean 1 and variance ``rate / (1 - rate)``.

    Srivastava et al., "Dropout", JMLR 15 (2014), section 10. Without training, the
    identity.

    Parameters
    ----------
    rate: in [0, 1), as for `Dropout`, whose noise has the same variance.
    seed: of this layer; default None, that is the model's.

    >>> import fastconv as fc
    >>> fc.layers.GaussianDropout(0.5)([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(seed, **kwargs)
        self.rate = check.number(self, "rate", rate, 0, 1)

    def call(self, x: Any, training: bool = False) -> Any:
        """The input, in training times noise."""
        if not training or self.rate == 0:
            return x
        state, stream = self.draw()
        stddev = sqrt(self.rate / (1 - self.rate))
        noise = ops.random_normal(x.shape, state, 1.0, stddev, stream)
        return ops.multiply(x, ops.cast(noise, x.dtype))


class AlphaDropout(Dropout):
    """Dropout that keeps mean and variance of inputs with mean 0 and variance 1.

    Formula: ``a (x keep + p (1 - keep)) + b`` with ``p = -1.7581``, the limit of SELU,
    ``a = ((1 - rate)(1 + rate p^2))^(-1/2)`` and ``b = -a rate p``. Klambauer et al.,
    "Self-normalizing neural networks", NIPS 2017, section 3. Use it with "selu" and
    "lecun_normal".

    Parameters are those of `Dropout`.

    >>> import fastconv as fc
    >>> fc.layers.AlphaDropout(0.5)([[1.0, 2.0]])
    array([[1., 2.]], dtype=float32)
    """

    def call(self, x: Any, training: bool = False) -> Any:
        """The input, in training with elements set to ``p``, scaled and shifted."""
        if not training or self.rate == 0:
            return x
        rate = self.rate
        a = 1 / sqrt((1 - rate) * (1 + rate * ALPHA_P**2))
        state, stream = self.draw()
        shape = self.mask_shape(x.shape)
        dropped = ops.cast(ops.random_bernoulli(shape, state, rate, stream), x.dtype)
        kept = ops.multiply(ops.subtract(1.0, dropped), a)
        shift = ops.subtract(ops.multiply(dropped, a * ALPHA_P), a * ALPHA_P * rate)
        return ops.add(ops.multiply(x, kept), shift)
