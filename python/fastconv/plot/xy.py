"""Figures with axes: lines, points in the plane, histograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastconv.errors import DataError, ShapeError
from fastconv.plot.axis import Axis, linear_axis
from fastconv.plot.svg import Figure, box, document, rule, series_class, text

__all__ = ["histograms", "lines", "scatter"]

_WIDTH, _HEIGHT = 360, 240  # inside the axes
_LEFT, _TOP, _RIGHT, _BELOW = 64, 54, 36, 46
_SMALL_W, _SMALL_H, _STEP_X, _STEP_Y = 190, 90, 236, 158  # a histogram, and its place


def lines(
    series: Mapping[str, tuple[Any, Any]],
    title: str = "",
    x_label: str = "",
    y_label: str = "",
) -> Figure:
    """One line for each series, with a legend if there are several.

    Parameters
    ----------
    series: by name the x and the y of the points. Values that are not finite leave
        a gap.
    title, x_label, y_label: texts.

    Raises
    ------
    ShapeError: x and y of different lengths; DataError: nothing to draw.

    >>> import fastconv as fc
    >>> fc.plot.lines({"plain": ([0, 1], [1, 0]), "robust": ([0, 1], [0.9, 0.8])})
    <Figure 546x340>
    """
    points = {name: _pairs(name, *xy) for name, xy in series.items()}
    x, y = _axes(list(points.values()))
    parts = _frame(x, y, title, x_label, y_label)
    for i, xy in enumerate(points.values()):
        path, pen = [], "M"
        for px, py in xy:
            finite = np.isfinite(px) and np.isfinite(py)
            if finite:
                path.append(f"{pen}{_x(x, px):.1f} {_y(y, py):.1f}")
            pen = "L" if finite else "M"
        parts.append(f'<path class="s{series_class(i)}" d="{"".join(path)}"/>')
    return _finish(parts, list(points) if len(points) > 1 else [], title)


def scatter(
    points: Any,
    labels: Any = None,
    class_names: Sequence[object] | None = None,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
) -> Figure:
    """Points in the plane, such as a 2D map of features, coloured by class.

    Parameters
    ----------
    points: (N, 2).
    labels: classes (N,), integers from 0; default one colour.
    class_names: a name for each class; default the numbers.
    title, x_label, y_label: texts.

    Raises
    ------
    ShapeError: arrays of other shapes; DataError: no finite point.

    >>> import fastconv as fc
    >>> fc.plot.scatter([[0, 0], [1, 2], [2, 1]], labels=[0, 1, 1])
    <Figure 508x340>
    """
    xy = np.asarray(points, np.float64)
    if xy.ndim != 2 or xy.shape[1] != 2:
        raise ShapeError(f"scatter: expected points (N, 2), received shape {xy.shape}")
    classes = np.zeros(len(xy), int) if labels is None else np.asarray(labels).ravel()
    if len(classes) != len(xy):
        raise ShapeError(f"scatter: expected {len(xy)} labels, received {len(classes)}")
    x, y = _axes([xy])
    parts = _frame(x, y, title, x_label, y_label)
    there = sorted(set(classes.tolist()))
    for number in there:
        own = xy[(classes == number) & np.isfinite(xy).all(1)]
        dots = "".join(
            f'<circle cx="{_x(x, px):.1f}" cy="{_y(y, py):.1f}" r="2.5"/>'
            for px, py in own
        )
        hue = series_class(number)
        parts.append(f'<g class="f{hue}" fill-opacity="0.75">{dots}</g>')
    if labels is None:
        return _finish(parts, [], title)
    names = [str(n if class_names is None else class_names[n]) for n in there]
    return _finish(parts, names, title, there)


def histograms(
    arrays: Mapping[str, Any], title: str = "", *, bins: int = 40, columns: int = 3
) -> Figure:
    """A histogram for each array: weights or gradients, layer by layer.

    Each has its own axis of values; heights are relative to the fullest bin. Under the
    name: mean, standard deviation and, if there are any, how many are not finite.

    Parameters
    ----------
    arrays: values by name, of any shape.
    title: a line above.
    bins: bars a histogram.
    columns: histograms in a row.

    Raises
    ------
    DataError: no array, or an empty one.

    >>> import fastconv as fc
    >>> import numpy as np
    >>> fc.plot.histograms({"w": np.linspace(-1, 1, 50)}, columns=1)
    <Figure 276x212>
    """
    if not arrays:
        raise DataError("histograms: expected one array or more, received none")
    top = _TOP + (22 if title else 0)
    parts = [text(24, 28, title, "title") if title else ""]
    for i, (name, values) in enumerate(arrays.items()):
        x, y = 40 + i % columns * _STEP_X, top + i // columns * _STEP_Y
        parts.append(f'<g transform="translate({x} {y})">')
        parts += [*_histogram(name, np.asarray(values, np.float64), bins), "</g>"]
    rows = -(-len(arrays) // columns)
    width = 40 + min(columns, len(arrays)) * _STEP_X
    return document(width, top + rows * _STEP_Y, parts, title or "histograms")


def _histogram(name: str, values: np.ndarray, bins: int) -> list[str]:
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise DataError(f"histograms: {name!r} has no finite value")
    low, high = float(finite.min()), float(finite.max())
    axis = linear_axis(low, high, 3)
    counts, _ = np.histogram(finite, bins, (axis.low, axis.high))
    about = f"mean {finite.mean():.2g}, deviation {finite.std():.2g}"
    lost = values.size - finite.size
    parts = [text(0, -14, name, "name")]
    parts.append(text(0, 2, about + (f", {lost} not finite" if lost else "")))
    wide = _SMALL_W / bins
    for i, count in enumerate(counts):
        if count:
            height = (_SMALL_H - 12) * count / counts.max()
            place = (wide * i, _SMALL_H - height + 8)
            parts.append(box("f0", *place, max(wide - 0.5, 0.5), height))
    parts.append(rule("axis", (0, _SMALL_H + 8), (_SMALL_W, _SMALL_H + 8)))
    for tick in (axis.ticks[0], axis.ticks[-1]):
        x = _SMALL_W * axis.place(tick)
        parts.append(text(x, _SMALL_H + 24, f"{tick:.4g}", anchor="middle"))
    return parts


def _pairs(name: str, x: Any, y: Any) -> np.ndarray:
    first, second = (np.asarray(v, np.float64).ravel() for v in (x, y))
    if len(first) != len(second):
        raise ShapeError(
            f"lines: {name!r} has {len(first)} values of x and {len(second)} of y"
        )
    return np.stack([first, second], 1)


def _axes(series: list[np.ndarray]) -> tuple[Axis, Axis]:
    every = np.concatenate(series) if series else np.empty((0, 2))
    every = every[np.isfinite(every).all(1)]
    if not len(every):
        raise DataError("figure: expected finite points, received none")
    (x0, y0), (x1, y1) = every.min(0).tolist(), every.max(0).tolist()
    return linear_axis(x0, x1), linear_axis(y0, y1)


def _frame(x: Axis, y: Axis, title: str, x_label: str, y_label: str) -> list[str]:
    """The opening of a group with the axes in it."""
    parts = [text(24, 24, title, "title") if title else ""]
    parts.append(f'<g transform="translate({_LEFT} {_TOP})">')
    for tick in y.ticks:
        height = _y(y, tick)
        parts.append(rule("grid", (0, height), (_WIDTH, height)))
        parts.append(text(-8, height + 4, f"{tick:.6g}", anchor="end"))
    for tick in x.ticks:
        place = _x(x, tick)
        parts.append(rule("axis", (place, _HEIGHT), (place, _HEIGHT + 4)))
        parts.append(text(place, _HEIGHT + 18, f"{tick:.6g}", anchor="middle"))
    parts.append(rule("axis", (0, _HEIGHT), (_WIDTH, _HEIGHT)))
    parts.append(text(_WIDTH, _HEIGHT + 36, x_label, anchor="end"))
    parts.append(text(-_LEFT + 24, -8, y_label))
    return parts


def _finish(
    parts: list[str], names: list[str], title: str, hues: Sequence[int] | None = None
) -> Figure:
    """Closes the group after a legend, and makes the figure."""
    for i, name in enumerate(names):
        hue = series_class(i if hues is None else hues[i])
        y = 10 + 18 * i
        parts.append(box(f"f{hue}", _WIDTH + 24, y - 5, 12, 6))
        parts.append(text(_WIDTH + 42, y + 2, name))
    legend = 40 + round(7.6 * max(map(len, names))) if names else 0
    height = max(_HEIGHT + _BELOW, 18 * len(names) + 8)
    width = max(_LEFT + _WIDTH + _RIGHT + legend, 48 + 8 * len(title))
    return document(width, _TOP + height, [*parts, "</g>"], title or "chart")


def _x(axis: Axis, value: float) -> float:
    return _WIDTH * axis.place(value)


def _y(axis: Axis, value: float) -> float:
    return _HEIGHT * (1 - axis.place(value))
