"""The operators of tensors, variables and tensors of models: ``+``, ``@``, ``[]`` ...

Each calls the op of `fastconv.ops` of that name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

# The functions behind the operators, and what the graph needs; ops fills it in.
OPERATORS: dict[str, Callable[..., Any]] = {}


class Operators:
    """Gives a class the operators; NumPy arrays on the left leave them to it."""

    __slots__ = ()
    __array_ufunc__ = None

    def __getitem__(self, key: Any) -> Any:
        return OPERATORS["getitem"](self, key)

    def __neg__(self) -> Any:
        return OPERATORS["negative"](self)

    def __abs__(self) -> Any:
        return OPERATORS["abs"](self)

    def __add__(self, other: Any) -> Any:
        return OPERATORS["add"](self, other)

    def __radd__(self, other: Any) -> Any:
        return OPERATORS["add"](other, self)

    def __sub__(self, other: Any) -> Any:
        return OPERATORS["subtract"](self, other)

    def __rsub__(self, other: Any) -> Any:
        return OPERATORS["subtract"](other, self)

    def __mul__(self, other: Any) -> Any:
        return OPERATORS["multiply"](self, other)

    def __rmul__(self, other: Any) -> Any:
        return OPERATORS["multiply"](other, self)

    def __truediv__(self, other: Any) -> Any:
        return OPERATORS["divide"](self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return OPERATORS["divide"](other, self)

    def __pow__(self, other: Any) -> Any:
        return OPERATORS["power"](self, other)

    def __rpow__(self, other: Any) -> Any:
        return OPERATORS["power"](other, self)

    def __matmul__(self, other: Any) -> Any:
        return OPERATORS["matmul"](self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return OPERATORS["matmul"](other, self)

    def __gt__(self, other: Any) -> Any:
        return OPERATORS["greater"](self, other)

    def __ge__(self, other: Any) -> Any:
        return OPERATORS["greater_equal"](self, other)

    def __lt__(self, other: Any) -> Any:
        return OPERATORS["less"](self, other)

    def __le__(self, other: Any) -> Any:
        return OPERATORS["less_equal"](self, other)
