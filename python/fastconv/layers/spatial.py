"""What layers over 1 to 3 spatial axes share: their number, and the axes' order."""

from __future__ import annotations

from typing import Any, ClassVar

from fastconv.layers import layout
from fastconv.layers.base import Layer


class Spatial(Layer):
    """A layer over so many spatial axes: ``class Conv2D(Conv, axes=2)``.

    Subclasses compute with the channels last; `to_last` and `from_last` are the border.
    """

    axes: ClassVar[int]

    def __init_subclass__(cls, axes: int = 0, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if axes:
            cls.axes, cls._rank = axes, axes + 2

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = layout.resolve(data_format)

    def to_last(self, x: Any) -> Any:
        """An input with its channels last."""
        return layout.to_last(x, self.data_format)

    def from_last(self, y: Any) -> Any:
        """A result in the order that the user asked for."""
        return layout.from_last(y, self.data_format)
