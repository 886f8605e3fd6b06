"""The course of training as an SVG picture: loss and accuracy over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from fastconv.errors import DataError
from fastconv.plot.axis import Axis, epoch_ticks, linear_axis, log_axis

__all__ = ["sweep_chart", "training_chart"]

_WIDTH, _HEIGHT = 840, 330
_PANEL_W, _PANEL_H = 336, 212  # inside the axes
_LEFTS, _TOP = (62, 480), 74
_LOG_FROM = 20.0  # a loss that falls by more than this factor has a logarithmic axis
_SERIES = (("", "training", "train"), ("val_", "validation", "val"))
# Greys and hues that can be read on white and on black; the ground is transparent.
_STYLE = """
    text { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, sans-serif;
           fill: #768390 }
    .title { font-size: 15px; font-weight: 600 }
    .name { font-size: 13px; font-weight: 600 }
    path { fill: none; stroke-linejoin: round; stroke-linecap: round }
    .grid { stroke: #8b949e; stroke-opacity: 0.25 }
    .axis { stroke: #8b949e; stroke-opacity: 0.8 }
    .train { stroke: #2f81f7; stroke-width: 2 }
    .val { stroke: #e8710a; stroke-width: 2 }
    .mark { stroke: #c93c37; stroke-width: 1.5; stroke-dasharray: 4 4 }
    .train-dot { fill: #2f81f7 } .val-dot { fill: #e8710a }
"""


def training_chart(
    history: Mapping[str, Sequence[float]],
    title: str = "",
    overfitting: int | None = None,
) -> str:
    """The text of an SVG picture of ``History.history``.

    Two panels: the loss, and the first metric (the accuracy, as a rule), each of the
    training and, if there is one, of the validation data. A loss that falls by more
    than a factor of 20 has a logarithmic axis. Values that are not finite leave a gap.

    Parameters
    ----------
    history: values of each epoch by name, ``val_`` before those of validation.
    title: a line above the panels.
    overfitting: the epoch, from 1, since when it is seen; it is marked in all panels.

    Raises
    ------
    DataError: there is no "loss", or no epoch.

    >>> svg = training_chart({"loss": [2.3, 0.4], "accuracy": [0.2, 0.9]}, "LeNet")
    >>> svg.startswith("<svg"), svg.count('class="name"')
    (True, 2)
    """
    names = [n for n in history if not n.startswith("val_") and n != "learning_rate"]
    if "loss" not in names or not len(history["loss"]):
        raise DataError("chart: expected a history with the loss of one epoch or more")
    metrics = [name for name in names if name != "loss"]
    parts = [_head(title), _panel(history, "loss", _LEFTS[0], overfitting)]
    if metrics:
        accuracies = [name for name in metrics if "acc" in name]
        name = (accuracies or metrics)[0]
        parts.append(_panel(history, name, _LEFTS[1], overfitting))
    return _picture(_WIDTH if metrics else _WIDTH // 2, parts)


def sweep_chart(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float,
) -> str:
    """The text of an SVG picture of a learning-rate range test.

    The rates are on a logarithmic axis; the suggested one is marked. The scale is that
    of the smoothed losses; single losses beyond it leave a gap.

    Raises
    ------
    DataError: fewer than two rates.

    >>> svg = sweep_chart([0.01, 0.1, 1.0], [2.0, 1.0, 3.0], [2.0, 1.5, 2.5], 0.1)
    >>> "suggested 0.1" in svg
    True
    """
    if len(rates) < 2:
        raise DataError("chart: expected two learning rates or more")
    x = log_axis(float(min(rates)), float(max(rates)))
    y = linear_axis(float(min(smoothed)), float(max(smoothed)))
    lines = {"train": ("loss", losses), "val": ("smoothed", smoothed)}
    parts = [_text(0, -18, "loss by learning rate", "name"), _value_grid(y)]
    parts.append(_legend({k: (n, [float(v[-1])]) for k, (n, v) in lines.items()}))
    for tick in x.ticks:
        place = _PANEL_W * x.place(tick)
        parts.append(_rule("axis", (place, _PANEL_H), (place, _PANEL_H + 4)))
        parts.append(_text(place, _PANEL_H + 18, f"{tick:g}", anchor="middle"))
    places = [_PANEL_W * x.place(float(rate)) for rate in rates]
    for kind, (_, line) in lines.items():
        inside = [v if y.low <= v <= y.high else math.nan for v in map(float, line)]
        parts.append(_line(kind, inside, y, places))
    mark = min(max(suggestion, x.low), x.high)
    parts.append(_mark(_PANEL_W * x.place(mark), f"suggested {suggestion:.2g}"))
    return _picture(_WIDTH // 2, [_head(""), _placed(_LEFTS[0], parts)])


def _picture(width: int, parts: Sequence[str]) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" '
        f'width="{width}" height="{_HEIGHT}" role="img">\n' + "\n".join(parts) + "\n"
        "</svg>\n"
    )


def _placed(left: int, parts: Sequence[str]) -> str:
    return f'<g transform="translate({left} {_TOP})">\n' + "\n".join(parts) + "\n</g>"


def _head(title: str) -> str:
    text = escape(title or "training")
    shown = _text(24, 28, text, "title") if title else ""
    return f"<title>{text}</title>\n<style>{_STYLE}</style>\n{shown}"


def _panel(
    history: Mapping[str, Sequence[float]], name: str, left: int, mark: int | None
) -> str:
    lines = {
        kind: (label, [float(v) for v in history[prefix + name]])
        for prefix, label, kind in _SERIES
        if len(history.get(prefix + name, ()))
    }
    values = [v for _, line in lines.values() for v in line if math.isfinite(v)]
    y = _value_axis(name, values or [0.0])
    epochs = max(len(line) for _, line in lines.values())
    heading = _text(0, -18, escape(_short(name)), "name")
    parts = [heading, _legend(lines), _grid(y, epochs)]
    parts += [_mark(_x(mark, epochs), f"over-fitting since {mark}")] if mark else []
    places = [_x(epoch, epochs) for epoch in range(1, epochs + 1)]
    parts += [_line(kind, line, y, places) for kind, (_, line) in lines.items()]
    return _placed(left, parts)


def _short(name: str) -> str:
    """Keras's long names of accuracies leave no room for a legend."""
    return "accuracy" if name.endswith("accuracy") else name[:16]


def _value_axis(name: str, values: list[float]) -> Axis:
    low, high = min(values), max(values)
    if name == "loss" and 0.0 < low * _LOG_FROM < high:
        return log_axis(low * 0.8, high * 1.2)
    if name == "loss" and low > 0:
        low = 0.0
    if "acc" in name and 0.9 < high <= 1.0:
        high = 1.0
    return linear_axis(low, high)


def _value_grid(y: Axis) -> str:
    parts = [_rule("axis", (0, _PANEL_H), (_PANEL_W, _PANEL_H))]
    for tick in y.ticks:
        height = _y(y, tick)
        parts.append(_rule("grid", (0, height), (_PANEL_W, height)))
        parts.append(_text(-8, height + 4, f"{tick:.6g}", anchor="end"))
    return "\n".join(parts)


def _grid(y: Axis, epochs: int) -> str:
    parts = [_value_grid(y)]
    for epoch in epoch_ticks(epochs):
        x = _x(epoch, epochs)
        parts.append(_rule("axis", (x, _PANEL_H), (x, _PANEL_H + 4)))
        parts.append(_text(x, _PANEL_H + 18, str(epoch), anchor="middle"))
    parts.append(_text(_PANEL_W, _PANEL_H + 36, "epoch", anchor="end"))
    return "\n".join(parts)


def _legend(lines: Mapping[str, tuple[str, list[float]]]) -> str:
    """A dash of its colour, the name and the last value, from the right inwards."""
    parts = []
    right = float(_PANEL_W)
    for kind, (label, line) in reversed(list(lines.items())):
        text = f"{label} {line[-1]:.3g}"
        start = right - 6.2 * len(text)
        parts.append(_text(right, -18, text, anchor="end"))
        parts.append(f'<path class="{kind}" d="M{start - 22:.1f} -22h16"/>')
        right = start - 36
    return "\n".join(parts)


def _line(kind: str, values: Sequence[float], y: Axis, places: Sequence[float]) -> str:
    commands, pen = [], "M"
    for x, value in zip(places, values, strict=False):
        if not math.isfinite(value):
            pen = "M"
            continue
        commands.append(f"{pen}{x:.1f} {_y(y, value):.1f}")
        pen = "L"
    if not commands:
        return ""
    last, height = commands[-1][1:].split()
    dot = f'<circle class="{kind}-dot" cx="{last}" cy="{height}" r="3.5"/>'
    return f'<path class="{kind}" d="{"".join(commands)}"/>\n{dot}'


def _mark(x: float, text: str) -> str:
    """An upright dashed line, with words on the side that has more room."""
    left = x < _PANEL_W / 2
    label = _text(x + (6 if left else -6), 12, text, anchor="start" if left else "end")
    return f"{_rule('mark', (x, 0), (x, _PANEL_H))}\n{label}"


def _x(epoch: int, epochs: int) -> float:
    """The first epoch a little inside the panel, the last one at its right edge."""
    return 8 + (_PANEL_W - 16) * (epoch - 1) / max(1, epochs - 1)


def _y(axis: Axis, value: float) -> float:
    return _PANEL_H * (1 - axis.place(value))


def _rule(kind: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    (x1, y1), (x2, y2) = start, end
    return f'<path class="{kind}" d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}"/>'


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    attributes = f' class="{kind}"' if kind else ""
    if anchor != "start":
        attributes += f' text-anchor="{anchor}"'
    return f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{text}</text>'
