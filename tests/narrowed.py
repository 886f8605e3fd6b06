"""Halves in tests: rounding in NumPy, and functions that compute in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastconv import ops
from fastconv.graph.autodiff import grad
from fastconv.graph.scope import scope

LARGEST_ERROR = 1e-2  # of a result that is stored in a half: relative, of the norm
_half = "bfloat16"


@contextmanager
def storage(half: str) -> Iterator[None]:
    """What the functions below call a half; else it is bfloat16."""
    global _half
    before, _half = _half, half
    try:
        yield
    finally:
        _half = before


def rounded(array: np.ndarray) -> np.ndarray:
    """The nearest values of a half, ties to even, as float32."""
    if _half == "float16":
        with np.errstate(over="ignore"):
            return np.asarray(array, np.float32).astype(np.float16).astype(np.float32)
    word = np.asarray(array, np.float32).view(np.uint32)
    word = (word + 0x7FFF + (word >> 16 & 1)) & np.uint32(0xFFFF0000)
    return np.where(np.isnan(array), np.float32(np.nan), word.view(np.float32))


def narrow(t: Any) -> Any:
    """The tensor in a half."""
    return ops.cast(t, _half)


def wide(t: Any) -> Any:
    """The tensor in float32."""
    return ops.cast(t, "float32")


def mixed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a layer computes it under the policy of the half."""

    def run(*arrays: Any) -> Any:
        with scope("layer", _half):
            return function(*arrays)

    return run


def random(seed: int, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Normal numbers that are exact in a half."""
    rng = np.random.default_rng(seed)
    return [rounded(rng.standard_normal(shape)) for shape in shapes]


def directions(function: Callable[..., Any], wanted: int, as_input: Any) -> Any:
    """The result of a function of (x, *others), and gradients of the first ``wanted``.

    The last argument is the gradient of the result.
    """

    def run(*arrays: Any) -> list[Any]:
        *arguments, seed = arrays
        y = function(as_input(arguments[0]), *arguments[1:])
        y = wide(y) if as_input is narrow else y
        return [y, *grad(y, list(arguments[:wanted]), seed)]

    return run


def assert_near(actual: Any, expected: Any, most: float = LARGEST_ERROR) -> None:
    """Fails where an array is further away than ``most``, relative, of its norm."""
    for a, e in zip(actual, expected, strict=True):
        assert a.shape == e.shape
        assert np.isfinite(a).all()
        error = np.linalg.norm(a - e) / (np.linalg.norm(e) + 1e-30)
        assert error <= most, (a.shape, error)
