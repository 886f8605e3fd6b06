"""Random numbers, with the same bytes as every backend.

Element ``i`` takes word ``i % 4`` of Philox4x32-10 (Salmon et al., "Parallel random
numbers: as easy as 1, 2, 3", SC 2011) with the counter ``(i // 4 low, i // 4 high, step
low, stream)`` and the key ``(seed low, seed high)``, 32 bits each. A normal number is
the quantile of its word by algorithm AS 241 (PPND7; Wichura, Applied Statistics 37,
1988) in float32: every operation is one that IEEE 754 rounds, and so exact to the bit.
"""

from __future__ import annotations

from math import ceil, prod
from typing import Any

import numpy as np

from fastconv._core import Distribution, OpKind
from fastconv.reference.registry import kernel

_LOW = np.uint64(0xFFFFFFFF)
_BITS = np.uint64(32)
_F = np.float32
_TAIL = _F(0.022750132)  # of the normal distribution below -2


def philox(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Four random 32-bit words a row for counters of shape (n, 4)."""
    c = [counter[:, i].astype(np.uint64) for i in range(4)]
    k = list(key)
    for _ in range(10):
        first = c[0] * np.uint64(0xD2511F53)
        second = c[2] * np.uint64(0xCD9E8D57)
        c = [
            (second >> _BITS) ^ c[1] ^ np.uint64(k[0]),
            second & _LOW,
            (first >> _BITS) ^ c[3] ^ np.uint64(k[1]),
            first & _LOW,
        ]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return np.stack(c, axis=1)


def words(count: int, random: np.ndarray, stream: int) -> np.ndarray:
    """The words of ``count`` elements, in uint64."""
    group = np.arange(-(-count // 4), dtype=np.uint64)
    counter = np.zeros((len(group), 4), np.uint64)
    counter[:, 0], counter[:, 1] = group & _LOW, group >> _BITS
    counter[:, 2], counter[:, 3] = int(random[1]) % 2**32, stream
    seed = int(random[0]) % 2**64
    return philox(counter, (seed % 2**32, seed >> 32)).reshape(-1)[:count]


def below(word: np.ndarray, probability: float) -> np.ndarray:
    """Where the upper 24 bits are below this share of 2^24, rounded up."""
    threshold = ceil(float(_F(probability)) * 2**24)
    return (word >> np.uint64(8)) < np.uint64(threshold)


def quantile(p: np.ndarray) -> np.ndarray:
    """What a normal number exceeds with probability p <= 1/2, in float32."""
    q = _F(0.5) - p
    r = _F(0.180625) - q * q
    middle = q * (
        _polynomial(r, 3.3871327179, 50.434271938, 159.29113202, 59.10937472)
        / _polynomial(r, 1, 17.895169469, 78.757757664, 67.1875636)
    )
    t = np.sqrt(-_log(p)) - _F(1.6)
    tail = _polynomial(
        t, 1.4234372777, 2.75681539, 1.3067284816, 0.17023821103
    ) / _polynomial(t, 1, 0.7370016425, 0.12021132975)
    return np.where(q <= _F(0.425), middle, tail)


def _polynomial(x: np.ndarray, *coefficients: float) -> np.ndarray:
    y = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        y = y * x + _F(c)
    return y


def _log(x: np.ndarray) -> np.ndarray:
    mantissa, exponent = np.frexp(x)
    small = mantissa < _F(np.sqrt(0.5))
    m = np.where(small, mantissa * _F(2), mantissa)
    n = (exponent - small).astype(_F)
    t = m - _F(1)
    s = t / (t + _F(2))
    z = s * s
    series = (2 / d for d in (3, 5, 7, 9))
    return n * _F(0.693147181) + (s * _F(2) + s * (z * _polynomial(z, *series)))


def _standard_normal(word: np.ndarray, least: np.float32) -> np.ndarray:
    scale = (_F(0.5) - least) * _F(2**-31)
    fraction = (word >> np.uint64(1)).astype(np.int32).astype(_F) + _F(0.5)
    x = quantile(fraction * scale + least)
    return np.where(word & np.uint64(1), -x, x)


@kernel(OpKind.random)
def random(attrs: Any, state: np.ndarray) -> tuple[np.ndarray, ...]:
    """Numbers of the distribution, float32."""
    native = attrs.native
    a, b = _F(native.a), _F(native.b)
    word = words(prod(attrs.shape), state, native.stream)
    if native.distribution == Distribution.uniform:
        fraction = (word >> np.uint64(8)).astype(_F) * ((b - a) * _F(2**-24))
        x, most = fraction + a, b if a == b else np.nextafter(b, a)
        return (np.where(x < most, x, most),)
    if native.distribution == Distribution.bernoulli:
        return (below(word, native.a).astype(_F),)
    cut = native.distribution == Distribution.truncated_normal
    x = _standard_normal(word, _TAIL if cut else _F(0))
    return ((np.clip(x, _F(-2), _F(2)) if cut else x) * b + a,)
