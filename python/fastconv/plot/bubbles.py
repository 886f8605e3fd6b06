"""Points with a name and a size, such as networks by accuracy, operations and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, sqrt

from fastconv.errors import DataError, ShapeError
from fastconv.plot.axis import Axis, linear_axis, log_axis
from fastconv.plot.svg import Figure, document, rule, series_class, text

__all__ = ["bubbles"]

_WIDTH, _HEIGHT = 720, 440  # inside the axes
_LEFT, _TOP, _RIGHT, _BELOW = 64, 54, 150, 46
_LARGEST = 34.0  # radius
_LETTER, _LINE = 6.3, 13.0  # of a label: width of a letter, height
Box = tuple[float, float, float, float]  # left, top, right, bottom


def bubbles(
    points: Mapping[str, tuple[float, float, float]],
    groups: Sequence[str] | None = None,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    size_label: str = "",
) -> Figure:
    """A named disc for each point; its area is in proportion to its size.

    Parameters
    ----------
    points: by name x, on a logarithmic axis, y and size; x and size above 0.
    groups: of each point one, which has a colour of its own; default one colour.
    title, x_label, y_label, size_label: texts.

    Raises
    ------
    DataError: no point, or one that cannot be drawn; ShapeError: not a group for each.

    >>> import fastconv as fc
    >>> fc.plot.bubbles({"AlexNet": (0.7, 56.5, 61e6), "VGG16": (15.5, 71.6, 138e6)})
    <Figure 934x540>
    """
    if not points:
        raise DataError("bubbles: expected one point or more, received none")
    for name, (px, py, size) in points.items():
        if not (px > 0 and size > 0 and all(map(isfinite, (px, py, size)))):
            raise DataError(
                f"bubbles: {name!r}: expected x and size above 0, and finite values, "
                f"received {(px, py, size)}"
            )
    if groups is not None and len(groups) != len(points):
        raise ShapeError(
            f"bubbles: expected {len(points)} groups, received {len(groups)}"
        )
    xs, ys, sizes = zip(*points.values(), strict=True)
    x, y = log_axis(min(xs) / 1.5, max(xs) * 1.5), linear_axis(min(ys), max(ys))
    parts = _frame(x, y, title, x_label, y_label)
    own = list(groups or [""] * len(points))
    hues = {group: i for i, group in enumerate(dict.fromkeys(own))}
    discs = [
        (_WIDTH * x.place(px), _HEIGHT * (1 - y.place(py)), _radius(size, max(sizes)))
        for px, py, size in points.values()
    ]
    parts += [
        f'<circle class="f{series_class(hues[group])}" fill-opacity="0.5" '
        f'cx="{cx:.1f}" cy="{cy:.1f}" r="{r:.1f}"/>'
        for (cx, cy, r), group in sorted(
            zip(discs, own, strict=True), key=lambda pair: -pair[0][2]
        )
    ]
    parts += _labels(list(points), discs)
    parts += _legend({g: i for g, i in hues.items() if g}, max(sizes), size_label)
    width, height = _LEFT + _WIDTH + _RIGHT, _TOP + _HEIGHT + _BELOW
    return document(width, height, [*parts, "</g>"], title or "bubbles")


def _radius(size: float, largest: float) -> float:
    return max(_LARGEST * sqrt(size / largest), 2.0)


def _frame(x: Axis, y: Axis, title: str, x_label: str, y_label: str) -> list[str]:
    """The opening of a group with the axes in it."""
    parts = [text(24, 24, title, "title") if title else ""]
    parts.append(f'<g transform="translate({_LEFT} {_TOP})">')
    for tick in y.ticks:
        height = _HEIGHT * (1 - y.place(tick))
        parts.append(rule("grid", (0, height), (_WIDTH, height)))
        parts.append(text(-8, height + 4, f"{tick:.6g}", anchor="end"))
    for tick in x.ticks:
        place = _WIDTH * x.place(tick)
        parts.append(rule("axis", (place, _HEIGHT), (place, _HEIGHT + 4)))
        parts.append(text(place, _HEIGHT + 18, f"{tick:.6g}", anchor="middle"))
    parts.append(rule("axis", (0, _HEIGHT), (_WIDTH, _HEIGHT)))
    parts.append(text(_WIDTH, _HEIGHT + 36, x_label, anchor="end"))
    parts.append(text(-_LEFT + 24, -8, y_label))
    return parts


def _labels(names: list[str], discs: list[tuple[float, float, float]]) -> list[str]:
    """Names beside their discs, where none is yet; those of small discs first."""
    taken: list[Box] = []
    parts = []
    for i in sorted(range(len(names)), key=lambda i: discs[i][2]):
        (cx, cy, r), width = discs[i], _LETTER * len(names[i])
        places = [
            (left, cy + up * (r + _LINE * abs(up)) + _LINE / 2)
            for up in (0, -1, 1, -2, 2, -3, 3)
            for left in (cx + r + 4, cx - r - 4 - width, cx - width / 2)[bool(up) :]
        ]
        boxes = [(px, py - _LINE, px + width, py) for px, py in places]
        free = [b for b in boxes if _inside(b) and not any(_meet(b, t) for t in taken)]
        chosen = (free or boxes)[0]
        taken.append(chosen)
        parts.append(text(chosen[0], chosen[3] - 3, names[i]))
    return parts


def _inside(box: Box) -> bool:
    left, top, right, bottom = box
    return left >= 0 and top >= 0 and right <= _WIDTH + _RIGHT / 3 and bottom <= _HEIGHT


def _meet(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _legend(hues: Mapping[str, int], largest: float, label: str) -> list[str]:
    """Colours of groups, and discs of round sizes."""
    parts, left, place = [], _WIDTH + 62, 10.0
    for name, i in hues.items():
        parts.append(f'<circle class="f{series_class(i)}" cx="{left}" cy="{place}" '
                     f'r="5" fill-opacity="0.5"/>')  # fmt: skip
        parts.append(text(left + 12, place + 4, name))
        place += 18
    if label:
        parts.append(text(left - 12, place + 16, label))
        place += 28
        for size in (largest, largest / 4, largest / 16):
            r = _radius(size, largest)
            parts.append(f'<circle class="box" cx="{left + 8}" cy="{place + r:.1f}" '
                         f'r="{r:.1f}"/>')  # fmt: skip
            parts.append(text(left + 48, place + r + 4, _short(size)))
            place += 2 * r + 8
    return parts


def _short(size: float) -> str:
    """A size in thousands or millions.

    >>> _short(138357544), _short(61706), _short(12)
    ('138 M', '61.7 k', '12')
    """
    for unit, letter in ((1e6, " M"), (1e3, " k")):
        if size >= unit:
            return f"{size / unit:.3g}{letter}"
    return f"{size:.3g}"
