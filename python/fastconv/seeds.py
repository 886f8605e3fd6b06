"""The seed of all chance; `fastconv.random` is the public name of what is here.

Nothing here has a hidden state that depends on order: a stream of numbers is a function
of the seed and of counters, so that runs repeat to the last bit. The generator is
Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
"""

from __future__ import annotations

import numpy as np

from fastconv.errors import ArgumentError

__all__ = ["generator", "get_seed", "next_generator", "set_seed"]

_seed = 0
_used = 0


def set_seed(seed: int) -> None:
    """Sets the seed, and starts the numbering of initial weights again.

    Raises
    ------
    ArgumentError if ``seed`` is not an integer in [0, 2^63).
    """
    global _seed, _used
    if not hasattr(seed, "__index__") or not 0 <= int(seed) < 2**63:
        raise ArgumentError(
            f"seed: expected an integer in [0, 2^63), received {seed!r}"
        )
    _seed, _used = int(seed), 0


def get_seed() -> int:
    """The seed in force.

    >>> import fastconv as fc
    >>> fc.random.set_seed(0)
    >>> fc.random.get_seed()
    0
    """
    return _seed


def generator(*key: int) -> np.random.Generator:
    """NumPy's generator for up to two counters, such as (seed, epoch).

    >>> import fastconv as fc
    >>> a, b = fc.random.generator(1, 2), fc.random.generator(1, 2)
    >>> bool(a.random() == b.random())
    True
    """
    padded = [*key, 0, 0][:2]
    return np.random.Generator(np.random.Philox(key=np.array(padded, np.uint64)))


def next_generator() -> np.random.Generator:
    """The generator of the next weight to be initialised.

    >>> import fastconv as fc
    >>> fc.random.set_seed(0)
    >>> first = fc.random.next_generator().random()
    >>> fc.random.set_seed(0)
    >>> bool(first == fc.random.next_generator().random())
    True
    >>> fc.random.set_seed(0)
    """
    global _used
    _used += 1
    return generator(_seed, _used)
