"""Random numbers that are a function of a seed, a step and a position."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

from fastconv._core import Distribution, OpKind, RandomAttrs
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.execution.eager import op
from fastconv.graph.ir import Node, Rule, Tensor, emit, register
from fastconv.graph.scope import current_trace, who
from fastconv.graph.trace import Trace, as_tensor
from fastconv.ops.shape import Target, sizes_of, target_spec

# How often each trace has met random numbers: the number of an op is its stream.
OPS = 1 << 30  # a mark that streams of layers do not have
_met: WeakKeyDictionary[Trace, int] = WeakKeyDictionary()


@op
def random_uniform(
    shape: Any,
    random: Any,
    low: float = 0.0,
    high: float = 1.0,
    stream: int | None = None,
) -> Tensor:
    """Uniformly distributed numbers in [low, high).

    Element ``i`` follows from word ``i mod 4`` of Philox4x32-10 for the counter
    (``i // 4`` low, ``i // 4`` high, step low, stream) and the key (seed low, seed
    high): here ``low + (word >> 8) / 2^24 * (high - low)``. The bytes are the same on
    every device.

    Parameters
    ----------
    shape: of the result.
    random: int64 of shape (2,): seed and step.
    low, high: the bounds, low <= high; default 0 and 1.
    stream: tells the random numbers of one function apart, below 2^32; by default they
        are counted as they are traced, from 2^30 on, where no layer of a model is.

    Returns
    -------
    Tensor, float32.

    Raises
    ------
    ArgumentError for parameters out of range; ShapeError or DtypeError for ``random``.

    Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> fc.ops.random_uniform((2,), np.array([7, 0])).round(4)
    array([0.72  , 0.9158], dtype=float32)
    """
    if not low <= high:
        raise ArgumentError(
            f"{who('random_uniform')}: expected low <= high, received {low!r} and "
            f"{high!r}"
        )
    return _draw("random_uniform", Distribution.uniform, shape, random, low, high,
                 stream)  # fmt: skip


@op
def random_normal(
    shape: Any,
    random: Any,
    mean: float = 0.0,
    stddev: float = 1.0,
    stream: int | None = None,
) -> Tensor:
    """Normally distributed numbers; parameters in `random_uniform`.

    Each is ``mean + stddev q(p)`` with the normal distribution's quantile ``q`` (M.
    Wichura, algorithm AS 241, PPND7, Applied Statistics 37, 1988) of a probability of
    31 random bits; the last bit is the sign. No number is further than 6.4 ``stddev``
    from the mean. The bytes are the same on every device.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> x = fc.ops.random_normal((1000,), np.array([7, 0]), mean=5.0)
    >>> bool(abs(x.mean() - 5) < 0.1)
    True
    """
    _check_stddev("random_normal", stddev)
    return _draw("random_normal", Distribution.normal, shape, random, mean, stddev,
                 stream)  # fmt: skip


@op
def random_truncated_normal(
    shape: Any,
    random: Any,
    mean: float = 0.0,
    stddev: float = 1.0,
    stream: int | None = None,
) -> Tensor:
    """Normally distributed numbers within two ``stddev`` of ``mean``.

    As `random_normal`, of a probability between those of -2 and 2; parameters in
    `random_uniform`. Their deviation is 0.88 ``stddev``.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> x = fc.ops.random_truncated_normal((1000,), np.array([7, 0]))
    >>> bool(abs(x).max() <= 2)
    True
    """
    _check_stddev("random_truncated_normal", stddev)
    return _draw("random_truncated_normal", Distribution.truncated_normal, shape,
                 random, mean, stddev, stream)  # fmt: skip


@op
def random_bernoulli(
    shape: Any, random: Any, probability: float = 0.5, stream: int | None = None
) -> Tensor:
    """1 with a probability, else 0, as float32; parameters in `random_uniform`.

    An element is 1 if ``word >> 8 < ceil(probability 2^24)``.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> fc.ops.random_bernoulli((6,), np.array([7, 0]))
    array([0., 0., 0., 0., 1., 0.], dtype=float32)
    """
    if not 0 <= probability <= 1:
        raise ArgumentError(
            f"{who('random_bernoulli')}: expected a probability in [0, 1], received "
            f"{probability!r}"
        )
    return _draw("random_bernoulli", Distribution.bernoulli, shape, random, probability,
                 0.0, stream)  # fmt: skip


def check_state(name: str, random: Tensor) -> None:
    """Raises unless ``random`` is int64[2]: seed and step."""
    if random.dtype != "int64":
        raise DtypeError(
            f"{who(name)}: expected random (seed and step) of int64, received "
            f"{random.dtype}"
        )
    if random.shape != (2,):
        raise ShapeError(
            f"{who(name)}: expected random (seed and step) of shape (2,), received "
            f"{random.shape}"
        )


def next_stream() -> int:
    """A number that no other op of the trace in progress has."""
    trace = current_trace()
    if trace is None:
        return OPS
    _met[trace] = _met.get(trace, OPS - 1) + 1
    return _met[trace]


def _check_stddev(name: str, stddev: float) -> None:
    if not stddev >= 0:
        raise ArgumentError(f"{who(name)}: expected stddev >= 0, received {stddev!r}")


def _draw(
    name: str, kind: Distribution, shape: Any, random: Any, a: float, b: float,
    stream: int | None,
) -> Tensor:  # fmt: skip
    random, sizes = as_tensor(random), tuple(sizes_of(name, shape))
    check_state(name, random)
    if min(sizes, default=0) < 0:
        raise ShapeError(f"{who(name)}: expected sizes >= 0, received {shape}")
    stream = next_stream() if stream is None else stream
    native = RandomAttrs(distribution=kind, a=float(a), b=float(b), stream=stream)
    return emit(OpKind.random, Target(sizes, "float32", native), random)[0]


def _gradient(node: Node, _dy: Tensor) -> list[Tensor | None]:
    return [None]


register(OpKind.random, Rule(target_spec, _gradient))
