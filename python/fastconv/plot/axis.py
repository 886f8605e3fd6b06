"""Axes: from values to positions, and the round numbers beside them."""

import math
from dataclasses import dataclass

__all__ = ["Axis", "epoch_ticks", "linear_axis", "log_axis"]


@dataclass(frozen=True)
class Axis:
    """A scale from values ``low .. high`` to 0 .. 1, with its ticks."""

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """Where ``value`` lies: 0 at ``low``, 1 at ``high``.

        >>> Axis(1.0, 100.0, (), log=True).place(10.0)
        0.5
        """
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        return (value - low) / (high - low)


def linear_axis(low: float, high: float, count: int = 5) -> Axis:
    """About ``count`` ticks at multiples of 1, 2, 2.5 or 5, which enclose the values.

    >>> linear_axis(0.13, 0.98).ticks
    (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """
    if high <= low:
        low, high = low - abs(low) * 0.5 - 1e-6, high + abs(high) * 0.5 + 1e-6
    rough = (high - low) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(round(i * step, 12) for i in range(first, last + 1))
    return Axis(ticks[0], ticks[-1], ticks)


def log_axis(low: float, high: float) -> Axis:
    """Ticks at powers of ten, and at 2 and 5 between them if these are few.

    >>> log_axis(0.004, 2.0).ticks
    (0.01, 0.1, 1.0)
    """
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    parts = (1, 2, 5) if math.log10(high / low) < 2 else (1,)
    marks = [float(f"{part}e{d}") for d in decades for part in parts]
    ticks = tuple(mark for mark in marks if low <= mark <= high)
    return Axis(low, high, ticks, log=True)


def epoch_ticks(epochs: int, count: int = 6) -> tuple[int, ...]:
    """Round whole numbers in 1 .. ``epochs``.

    >>> epoch_ticks(30)
    (5, 10, 15, 20, 25, 30)
    """
    rough = max(1.0, epochs / count)
    unit = 10 ** int(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough)
    ticks = tuple(range(step, epochs + 1, step))
    return ticks if step > 1 or epochs == 0 else tuple(range(1, epochs + 1))
