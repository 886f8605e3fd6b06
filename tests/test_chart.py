"""The chart of training: well-formed, complete, readable numbers on the axes."""

import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv.errors import DataError
from fastconv.plot import curves
from fastconv.plot.axis import epoch_ticks, linear_axis, log_axis

SVG = "{http://www.w3.org/2000/svg}"
HISTORY = {
    "loss": [2.0, 0.5, 0.01],
    "accuracy": [0.3, 0.8, 0.999],
    "val_loss": [1.5, 0.6, 0.05],
    "val_accuracy": [0.4, 0.8, 0.98],
}


def svg_of(*given) -> str:
    return curves(*given).svg


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_two_panels_with_two_lines_each():
    root = ET.fromstring(svg_of(HISTORY, "lenet on <digits> & more"))
    kinds = [path.get("class") for path in root.iter(f"{SVG}path")]
    # A line and its dash in the legend, in each of two panels.
    assert kinds.count("s0") == kinds.count("s1") == 4
    found = texts(svg_of(HISTORY, "lenet on <digits> & more"))
    assert {"lenet on <digits> & more", "loss", "accuracy", "epoch"} <= set(found)
    assert "validation 0.98" in found


def test_same_history_same_bytes():
    assert svg_of(HISTORY) == svg_of(dict(HISTORY))


def test_one_epoch_without_metrics_or_validation():
    root = ET.fromstring(svg_of({"loss": [0.7]}))
    assert len(list(root.iter(f"{SVG}circle"))) == 1


def test_the_loss_is_logarithmic_when_it_falls_far():
    assert {"1", "0.1"} <= set(texts(svg_of(HISTORY)))
    near = texts(svg_of({"loss": [2.0, 1.9, 1.8]}))
    assert "0" in near  # a linear axis starts at 0


def test_nan_leaves_a_gap():
    svg = svg_of({"loss": [1.0, math.nan, 0.5, math.inf, 0.2]})
    assert "nan" not in svg
    assert "inf" not in svg


def test_only_nan_is_drawn_without_a_line():
    ET.fromstring(svg_of({"loss": [math.nan]}))


@pytest.mark.parametrize("history", [{}, {"loss": []}, {"accuracy": [0.5]}])
def test_a_history_without_loss_is_refused(history):
    with pytest.raises(DataError, match="loss"):
        svg_of(history)


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_linear_ticks_enclose_the_values_and_are_few(a, b):
    low, high = min(a, b), max(a, b)
    axis = linear_axis(low, high)
    slack = 1e-6 * (1 + abs(low) + abs(high))
    assert axis.low <= low + slack
    assert axis.high >= high - slack
    assert 2 <= len(axis.ticks) <= 8


@given(st.floats(1e-6, 1.0), st.floats(21.0, 1e6))
def test_log_ticks_lie_inside(low, factor):
    axis = log_axis(low, low * factor)
    assert len(axis.ticks) >= 1
    assert all(0.0 <= axis.place(tick) <= 1.0 + 1e-9 for tick in axis.ticks)


@given(st.integers(1, 5000))
def test_epoch_ticks_are_few(epochs):
    ticks = epoch_ticks(epochs)
    assert 1 <= len(ticks) <= 10
    assert ticks[-1] <= epochs
