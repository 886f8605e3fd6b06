"""Random numbers with Keras's names, and the seed of all chance in fastconv.

Nothing here depends on the order of threads or on the device: numbers are a function of
a seed, a step and a position (`fastconv.ops.random_uniform`). A ``seed`` may be an
integer, which gives the same numbers at every call; a `SeedGenerator`, which gives
others at every call; or None, the generator that `set_seed` starts again.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv import ops, seeds
from fastconv.errors import ArgumentError
from fastconv.graph.ir import Tensor
from fastconv.graph.scope import current_trace
from fastconv.graph.trace import as_tensor, constant
from fastconv.graph.variable import Variable
from fastconv.seeds import generator, get_seed, next_generator

__all__ = [
    "SeedGenerator", "bernoulli", "dropout", "generator", "get_seed", "next_generator",
    "normal", "randint", "set_seed", "truncated_normal", "uniform",
]  # fmt: skip


class SeedGenerator:
    """Gives another seed at every call of `next`, in an order that repeats.

    Its state is a variable, so that a traced function draws other numbers in each run.

    Parameters
    ----------
    seed: an integer >= 0; default None, the seed of `set_seed`.

    Raises
    ------
    ArgumentError for any other seed.

    >>> import fastconv as fc
    >>> seeds = fc.random.SeedGenerator(1)
    >>> a, b = (fc.random.uniform((3,), seed=seeds) for _ in range(2))
    >>> bool((a == b).any())
    False
    """

    def __init__(self, seed: int | None = None, name: str | None = None) -> None:
        seed = get_seed() if seed is None else _checked(seed)
        self.name = name or "seed_generator"
        self.state = Variable(np.array([seed, 0]), f"{self.name}/state", False)

    def next(self) -> Any:
        """Seed and step, int64[2]; the state goes on by one step."""
        if current_trace() is None:
            now = self.state.numpy()
            self.state.value[1] += 1
            return now
        state = as_tensor(self.state)
        self.state.assign(state + constant(np.array([0, 1])))
        return state

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {"seed": int(self.state.value[0]), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SeedGenerator:
        """A generator from what `get_config` returned."""
        return cls(**config)


_default = SeedGenerator(name="global_seed_generator")


def set_seed(seed: int) -> None:
    """Sets the seed of weights, shuffling, dropout and random numbers (default 0).

    Raises
    ------
    ArgumentError if ``seed`` is not an integer in [0, 2^63).

    >>> import fastconv as fc
    >>> fc.random.set_seed(7)
    >>> fc.random.get_seed()
    7
    >>> fc.random.set_seed(0)
    """
    seeds.set_seed(seed)
    _default.state.assign(np.array([get_seed(), 0]))


def uniform(
    shape: Any,
    minval: float = 0.0,
    maxval: float = 1.0,
    dtype: Any = None,
    seed: Any = None,
) -> Tensor:
    """Uniformly distributed numbers in [minval, maxval).

    Parameters
    ----------
    shape: of the result.
    dtype: floating; default float32.
    seed: see above; default None.

    >>> import fastconv as fc
    >>> x = fc.random.uniform((100,), -1, 1)
    >>> bool(abs(x).max() <= 1)
    True
    """
    x = ops.random_uniform(shape, _state(seed), minval, maxval, stream=0)
    return _as(x, dtype)


def normal(
    shape: Any,
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: Any = None,
    seed: Any = None,
) -> Tensor:
    """Normally distributed numbers; parameters as for `uniform`.

    >>> import fastconv as fc
    >>> bool(abs(fc.random.normal((1000,), mean=5.0).mean() - 5) < 0.2)
    True
    """
    return _as(ops.random_normal(shape, _state(seed), mean, stddev, stream=0), dtype)


def truncated_normal(
    shape: Any,
    mean: float = 0.0,
    stddev: float = 1.0,
    dtype: Any = None,
    seed: Any = None,
) -> Tensor:
    """Normally distributed numbers within two ``stddev`` of ``mean``; see `uniform`.

    >>> import fastconv as fc
    >>> bool(abs(fc.random.truncated_normal((100,))).max() <= 2)
    True
    """
    state = _state(seed)
    return _as(ops.random_truncated_normal(shape, state, mean, stddev, stream=0), dtype)


def bernoulli(
    shape: Any, probability: float = 0.5, dtype: Any = None, seed: Any = None
) -> Tensor:
    """1 with a probability, else 0; parameters as for `uniform`.

    >>> import fastconv as fc
    >>> fc.random.bernoulli((3,), 1.0)
    array([1., 1., 1.], dtype=float32)
    """
    return _as(ops.random_bernoulli(shape, _state(seed), probability, stream=0), dtype)


def randint(
    shape: Any, minval: int, maxval: int, dtype: Any = "int32", seed: Any = None
) -> Tensor:
    """Whole numbers in [minval, maxval), all equally likely.

    At most 2^20 different ones: they are made of 24 random bits.

    Raises
    ------
    ArgumentError for an empty range or one that is too large.

    >>> import fastconv as fc
    >>> fc.random.randint((3,), 4, 5)
    array([4, 4, 4], dtype=int32)
    """
    if not 0 < maxval - minval <= 2**20:
        raise ArgumentError(
            "randint: expected minval < maxval, at most 2^20 apart, received "
            f"{minval!r} and {maxval!r}"
        )
    x = uniform(shape, 0, maxval - minval, seed=seed)
    whole = ops.cast(ops.floor(x), "int64")
    return ops.cast(ops.add(whole, np.asarray(minval)), dtype)


def dropout(
    inputs: Any, rate: float, noise_shape: Any = None, seed: Any = None
) -> Tensor:
    """``inputs`` with a fraction zeroed, and the rest scaled up by ``1 / (1 - rate)``.

    Parameters
    ----------
    rate: in [0, 1).
    noise_shape: of what is drawn; 1 where all elements of an axis share their fate.

    >>> import fastconv as fc
    >>> fc.random.dropout([[1.0, 2.0]], 0.0)
    array([[1., 2.]], dtype=float32)
    """
    if noise_shape is None:
        return ops.dropout(inputs, rate, _state(seed), stream=0)
    kept = ops.dropout(ops.ones(noise_shape), rate, _state(seed), stream=0)
    return ops.multiply(inputs, kept)


def _state(seed: Any) -> Any:
    if seed is None or isinstance(seed, SeedGenerator):
        return (seed or _default).next()
    return np.array([_checked(seed), 0])


def _checked(seed: Any) -> int:
    if not hasattr(seed, "__index__") or not 0 <= int(seed) < 2**63:
        raise ArgumentError(
            "seed: expected an integer in [0, 2^63), None or a SeedGenerator, received "
            f"{seed!r}"
        )
    return int(seed)


def _as(x: Any, dtype: Any) -> Any:
    return x if dtype in (None, "float32") else ops.cast(x, dtype)
