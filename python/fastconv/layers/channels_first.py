"""The layers for scripts whose images are (depth, height, width).

Each name is the layer of `fastconv.layers`, with ``data_format="channels_first"`` where
it takes a data format and none is given. So that a script in the order of Theano and
Keras 1 runs when its imports are changed::

    from fastconv.layers.channels_first import Convolution2D, Flatten, MaxPooling2D

Inside a model there is one layout, channels last; axes are moved at its border. For all
layers at once: `fastconv.config.set_image_data_format`.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any

from fastconv import layers
from fastconv.layers.compat import ORDER_NAMES

__all__ = [*layers.__all__]  # noqa: PLE0604


def _takes_format(cls: type) -> bool:
    """Whether a constructor, of the class or of a base, has a data format."""
    constructors = [vars(c)["__init__"] for c in cls.__mro__ if "__init__" in vars(c)]
    return any("data_format" in inspect.signature(c).parameters for c in constructors)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(layers, name)
    if not isinstance(found, type) or not _takes_format(found):
        return found
    signature = inspect.signature(found)

    @functools.wraps(found, updated=())
    def channels_first(*args: Any, **kwargs: Any) -> Any:
        by_position = signature.bind_partial(*args).arguments
        if not ORDER_NAMES & {*by_position, *kwargs}:
            kwargs["data_format"] = "channels_first"
        return found(*args, **kwargs)

    return channels_first
