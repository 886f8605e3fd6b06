"""The table of reference kernels: kind -> function(attrs, *arrays) -> arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from fastconv._core import OpKind

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
