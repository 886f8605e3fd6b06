"""The course of training as an SVG picture: loss and accuracy over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fastconv.errors import DataError
from fastconv.plot.axis import Axis, epoch_ticks, linear_axis, log_axis
from fastconv.plot.svg import Figure, document, rule, text

__all__ = ["curves", "sweep_chart"]

_WIDTH, _HEIGHT = 840, 330
_PANEL_W, _PANEL_H = 336, 212  # inside the axes
_LEFTS, _TOP = (62, 480), 74
_LOG_FROM = 20.0  # a loss that falls by more than this factor has a logarithmic axis
_SERIES = (("", "training"), ("val_", "validation"))


def curves(
    history: Mapping[str, Sequence[float]],
    title: str = "",
    overfitting: int | None = None,
) -> Figure:
    """Loss and accuracy over the epochs, from ``History.history``.

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

    >>> import fastconv as fc
    >>> fc.plot.curves({"loss": [2.3, 0.4], "accuracy": [0.2, 0.9]}, "LeNet")
    <Figure 840x330>
    """
    names = [n for n in history if not n.startswith("val_") and n != "learning_rate"]
    if "loss" not in names or not len(history["loss"]):
        raise DataError("chart: expected a history with the loss of one epoch or more")
    metrics = [name for name in names if name != "loss"]
    parts = [text(24, 28, title, "title") if title else ""]
    parts.append(_panel(history, "loss", _LEFTS[0], overfitting))
    if metrics:
        accuracies = [name for name in metrics if "acc" in name]
        name = (accuracies or metrics)[0]
        parts.append(_panel(history, name, _LEFTS[1], overfitting))
    width = _WIDTH if metrics else _WIDTH // 2
    return document(width, _HEIGHT, parts, title or "training")


def sweep_chart(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float,
) -> Figure:
    """A learning-rate range test.

    The rates are on a logarithmic axis; the suggested one is marked. The scale is that
    of the smoothed losses; single losses beyond it leave a gap.

    Raises
    ------
    DataError: fewer than two rates.

    >>> import fastconv as fc
    >>> rates, losses = [0.01, 0.1, 1.0], [2.0, 1.0, 3.0]
    >>> figure = fc.plot.sweep_chart(rates, losses, [2.0, 1.5, 2.5], 0.1)
    >>> "suggested 0.1" in figure.svg
    True
    """
    if len(rates) < 2:
        raise DataError("chart: expected two learning rates or more")
    x = log_axis(float(min(rates)), float(max(rates)))
    y = linear_axis(float(min(smoothed)), float(max(smoothed)))
    lines = {0: ("loss", losses), 1: ("smoothed", smoothed)}
    parts = [text(0, -18, "loss by learning rate", "name"), _value_grid(y)]
    parts.append(_legend({k: (n, [float(v[-1])]) for k, (n, v) in lines.items()}))
    for tick in x.ticks:
        place = _PANEL_W * x.place(tick)
        parts.append(rule("axis", (place, _PANEL_H), (place, _PANEL_H + 4)))
        parts.append(text(place, _PANEL_H + 18, f"{tick:g}", anchor="middle"))
    places = [_PANEL_W * x.place(float(rate)) for rate in rates]
    for number, (_, line) in lines.items():
        inside = [v if y.low <= v <= y.high else math.nan for v in map(float, line)]
        parts.append(_line(number, inside, y, places))
    mark = min(max(suggestion, x.low), x.high)
    parts.append(_mark(_PANEL_W * x.place(mark), f"suggested {suggestion:.2g}"))
    parts = [_placed(_LEFTS[0], parts)]
    return document(_WIDTH // 2, _HEIGHT, parts, "loss by learning rate")


def _placed(left: int, parts: Sequence[str]) -> str:
    return f'<g transform="translate({left} {_TOP})">\n' + "\n".join(parts) + "\n</g>"


def _panel(
    history: Mapping[str, Sequence[float]], name: str, left: int, mark: int | None
) -> str:
    lines = {
        number: (label, [float(v) for v in history[prefix + name]])
        for number, (prefix, label) in enumerate(_SERIES)
        if len(history.get(prefix + name, ()))
    }
    values = [v for _, line in lines.values() for v in line if math.isfinite(v)]
    y = _value_axis(name, values or [0.0])
    epochs = max(len(line) for _, line in lines.values())
    heading = text(0, -18, _short(name), "name")
    parts = [heading, _legend(lines), _grid(y, epochs)]
    parts += [_mark(_x(mark, epochs), f"over-fitting since {mark}")] if mark else []
    places = [_x(epoch, epochs) for epoch in range(1, epochs + 1)]
    parts += [_line(number, line, y, places) for number, (_, line) in lines.items()]
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
    parts = [rule("axis", (0, _PANEL_H), (_PANEL_W, _PANEL_H))]
    for tick in y.ticks:
        height = _y(y, tick)
        parts.append(rule("grid", (0, height), (_PANEL_W, height)))
        parts.append(text(-8, height + 4, f"{tick:.6g}", anchor="end"))
    return "\n".join(parts)


def _grid(y: Axis, epochs: int) -> str:
    parts = [_value_grid(y)]
    for epoch in epoch_ticks(epochs):
        x = _x(epoch, epochs)
        parts.append(rule("axis", (x, _PANEL_H), (x, _PANEL_H + 4)))
        parts.append(text(x, _PANEL_H + 18, str(epoch), anchor="middle"))
    parts.append(text(_PANEL_W, _PANEL_H + 36, "epoch", anchor="end"))
    return "\n".join(parts)


def _legend(lines: Mapping[int, tuple[str, list[float]]]) -> str:
    """A dash of its colour, the name and the last value, from the right inwards."""
    parts = []
    right = float(_PANEL_W)
    for number, (label, line) in reversed(list(lines.items())):
        words = f"{label} {line[-1]:.3g}"
        start = right - 6.2 * len(words)
        parts.append(text(right, -18, words, anchor="end"))
        parts.append(f'<path class="s{number}" d="M{start - 22:.1f} -22h16"/>')
        right = start - 36
    return "\n".join(parts)


def _line(
    number: int, values: Sequence[float], y: Axis, places: Sequence[float]
) -> str:
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
    dot = f'<circle class="f{number}" cx="{last}" cy="{height}" r="3.5"/>'
    return f'<path class="s{number}" d="{"".join(commands)}"/>\n{dot}'


def _mark(x: float, words: str) -> str:
    """An upright dashed line, with words on the side that has more room."""
    left = x < _PANEL_W / 2
    label = text(x + (6 if left else -6), 12, words, anchor="start" if left else "end")
    return f"{rule('mark', (x, 0), (x, _PANEL_H))}\n{label}"


def _x(epoch: int, epochs: int) -> float:
    """The first epoch a little inside the panel, the last one at its right edge."""
    return 8 + (_PANEL_W - 16) * (epoch - 1) / max(1, epochs - 1)


def _y(axis: Axis, value: float) -> float:
    return _PANEL_H * (1 - axis.place(value))
