"""The table of reference kernels: kind -> function(attrs, *arrays) -> arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from fastconv._core import Epilogue, OpKind

Kernel = Callable[..., tuple[np.ndarray, ...]]
KERNELS: dict[OpKind, Kernel] = {}

F = TypeVar("F", bound=Kernel)


def kernel(kind: OpKind) -> Callable[[F], F]:
    """Registers a function as the reference kernel of ``kind``."""

    def add(function: F) -> F:
        assert kind not in KERNELS, kind
        KERNELS[kind] = function
        return function

    return add


def epilogue(attrs: Epilogue, dst: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """Bias and activation, as fused into an op."""
    if attrs.bias:
        dst = dst + bias
    return activate(attrs.activation, attrs.alpha, dst)


def activate(activation: Any, alpha: float, src: np.ndarray) -> np.ndarray:
    """An activation, as fused into an op."""
    from fastconv.reference.activation import activate as formula

    return formula(activation, alpha, src)
