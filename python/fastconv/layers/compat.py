"""Old argument names: accepted, with a DeprecationWarning that names the new one."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from fastconv.errors import ArgumentError, FastconvWarning

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

# Names of Keras 1 that several layers share.
KERNEL = {
    "init": "kernel_initializer",
    "bias": "use_bias",
    "W_regularizer": "kernel_regularizer",
    "b_regularizer": "bias_regularizer",
    "W_constraint": "kernel_constraint",
    "b_constraint": "bias_constraint",
}
WINDOW = {
    "border_mode": "padding",
    "subsample": "strides",
    "dim_ordering": "data_format",
    "atrous_rate": "dilation_rate",
}
ORDER_NAMES = {"data_format", "dim_ordering"}  # today's name and Keras 1's


def renamed(**new_names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Lets a constructor or method take arguments under old names: ``old="new"``.

    >>> from fastconv.layers.compat import renamed
    >>> class Box:
    ...     @renamed(breadth="width")
    ...     def __init__(self, width):
    ...         self.width = width
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as seen:
    ...     warnings.simplefilter("always")
    ...     Box(breadth=3).width
    3
    >>> str(seen[0].message)
    "Box: argument 'breadth' is now called 'width'"
    """

    def decorate(method: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(method)
        def accept(*args: P.args, **kwargs: P.kwargs) -> R:
            translated = _translate(type(args[0]).__name__, kwargs, new_names)
            return method(*args, **translated)

        return old_names(*new_names)(accept)

    return decorate


def old_names(*names: str) -> Callable[[T], T]:
    """Notes the old names that a function takes, for `fastconv check`."""

    def decorate(function: T) -> T:
        function.old_names = names  # type: ignore[attr-defined]
        return function

    return decorate


def _translate(
    owner: str, arguments: dict[str, Any], new_names: dict[str, str]
) -> dict[str, Any]:
    """The arguments with old names replaced, and a warning for each."""
    result = {}
    for name, value in arguments.items():
        new = new_names.get(name, name)
        if new in result or (new != name and new in arguments):
            raise ArgumentError(
                f"{owner}: {new!r} was given twice, once by its old name"
            )
        if new != name:
            deprecated(f"{owner}: argument {name!r} is now called {new!r}")
        result[new] = value
    return result


def one_kernel_size(
    owner: str, names: tuple[str, ...], args: tuple[Any, ...], arguments: dict[str, Any]
) -> dict[str, Any]:
    """``(filters, rows, columns)`` of Keras 1 as today's arguments."""
    named = [arguments.pop(n) for n in names if n in arguments]
    given = [*args[1:], *named]
    if named or len(given) > 1:
        deprecated(f"{owner}: the sizes of the kernel are now one 'kernel_size'")
    result = dict(arguments)
    if args:
        result["filters"] = args[0]
    if given:
        result["kernel_size"] = given[0] if len(given) == 1 else tuple(given)
    return result


def deprecated(message: str) -> None:
    """A DeprecationWarning at the line that called into fastconv."""
    warnings.warn(message, DeprecationWarning, stacklevel=_levels())


def warn_of_order(who: str, shape: Any) -> None:
    """Says that an image's shape looks like (depth, height, width), and is not read so.

    A guess could be wrong without anybody noticing; a warning cannot.
    """
    message = (
        f"{who}: input_shape={tuple(shape)} is read as (height, width, channels); if "
        "it is (depth, height, width), as with Theano, import the layers from "
        "fastconv.layers.channels_first, or give data_format='channels_first'"
    )
    warnings.warn(message, FastconvWarning, stacklevel=_levels())


def _levels() -> int:
    """Frames from the caller of this function to the line that called fastconv."""
    level, frame = 0, sys._getframe(1)
    while frame is not None and frame.f_globals["__name__"].startswith("fastconv."):
        level, frame = level + 1, frame.f_back  # type: ignore[assignment]
    return level + 1
