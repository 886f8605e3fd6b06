"""The course of training as an SVG picture: loss and accuracy over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from fastconv.errors import DataError
from fastconv.plot.axis import Axis, epoch_ticks, linear_axis, log_axis
from fastconv.plot.svg import Figure, document, rule, text

__all__ = ["curves"]

_WIDTH, _HEIGHT = 840, 330
_PANEL_W, _PANEL_H = 336, 212  # inside the axes
_LEFTS, _TOP = (62, 480), 74
_LOG_FROM = 20.0  # a loss that falls by more than this factor has a logarithmic axis
_SERIES = (("", "training"), ("val_", "validation"))


def curves(history: Mapping[str, Sequence[float]], title: str = "") -> Figure:
    """Loss and accuracy over the epochs, from ``History.history``.

    Two panels: the loss, and the first metric (the accuracy, as a rule), each of the
    training and, if there is one, of the validation data. A loss that falls by more
    than a factor of 20 has a logarithmic axis. Values that are not finite leave a gap.

    Parameters
    ----------
    history: values of each epoch by name, ``val_`` before those of validation.
    title: a line above the panels.

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
    parts.append(_panel(history, "loss", _LEFTS[0]))
    if metrics:
        accuracies = [name for name in metrics if "acc" in name]
        parts.append(_panel(history, (accuracies or metrics)[0], _LEFTS[1]))
    width = _WIDTH if metrics else _WIDTH // 2
    return document(width, _HEIGHT, parts, title or "training")


def _panel(history: Mapping[str, Sequence[float]], name: str, left: int) -> str:
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
    parts += [_line(i, line, y, epochs) for i, (_, line) in lines.items()]
    return f'<g transform="translate({left} {_TOP})">\n' + "\n".join(parts) + "\n</g>"


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


def _grid(y: Axis, epochs: int) -> str:
    parts = []
    for tick in y.ticks:
        height = _y(y, tick)
        parts.append(rule("grid", (0, height), (_PANEL_W, height)))
        parts.append(text(-8, height + 4, f"{tick:.6g}", anchor="end"))
    for epoch in epoch_ticks(epochs):
        x = _x(epoch, epochs)
        parts.append(rule("axis", (x, _PANEL_H), (x, _PANEL_H + 4)))
        parts.append(text(x, _PANEL_H + 18, str(epoch), anchor="middle"))
    parts.append(rule("axis", (0, _PANEL_H), (_PANEL_W, _PANEL_H)))
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


def _line(number: int, values: list[float], y: Axis, epochs: int) -> str:
    commands, pen = [], "M"
    for epoch, value in enumerate(values, 1):
        if not math.isfinite(value):
            pen = "M"
            continue
        commands.append(f"{pen}{_x(epoch, epochs):.1f} {_y(y, value):.1f}")
        pen = "L"
    if not commands:
        return ""
    x, height = commands[-1][1:].split()
    dot = f'<circle class="f{number}" cx="{x}" cy="{height}" r="3.5"/>'
    return f'<path class="s{number}" d="{"".join(commands)}"/>\n{dot}'


def _x(epoch: int, epochs: int) -> float:
    """The first epoch a little inside the panel, the last one at its right edge."""
    return 8 + (_PANEL_W - 16) * (epoch - 1) / max(1, epochs - 1)


def _y(axis: Axis, value: float) -> float:
    return _PANEL_H * (1 - axis.place(value))
