"""From the figures of a pass through the model to findings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fastconv.training.sanity.finding import Finding
from fastconv.training.sanity.inputs import scale_faults
from fastconv.training.sanity.targets import Output

HIGH, LOW = 2.0, 0.25  # a loss beyond these multiples of guessing is reported
HIGH_SQUARES = 10.0  # of squares: targets need not have mean 0
DEAD = 0.5  # share of units that may rest
NEAR = 1e-3


def scales(layers: Sequence[str], moments: Sequence[Any]) -> list[Finding]:
    """The inputs of the first layers with weights."""
    pairs = zip(layers, moments, strict=False)
    return [f for name, (mean, dev) in pairs for f in scale_faults(name, mean, dev)]


def losses(outputs: Sequence[Output], values: Sequence[Any]) -> list[Finding]:
    """Whether each loss is about that of guessing."""
    found = []
    for output, value in zip(outputs, map(float, values), strict=True):
        where = f"output {output.name!r}: the initial loss {output.loss.name!r}"
        guess = output.guessing()
        if not math.isfinite(value):
            text = f"{where} is {value}; look at the inputs, and at the loss's range"
            found.append(Finding("loss", text))
        elif guess is not None:
            found += _far(where, value, *guess)
    return found


def _far(
    where: str, value: float, uniform: float, shares: float, name: str
) -> list[Finding]:
    squares = name == "the variance of y"
    what = f"{where} is {value:.4g}, expected about {uniform:.4g} ({name})"
    if uniform > 0 and value > uniform * (HIGH_SQUARES if squares else HIGH):
        advice = (
            "standardise the targets: subtract their mean, divide by their deviation"
            if squares
            else "the first outputs are too large: look at the scale of the inputs "
            "and the initializers, and at from_logits of the loss"
        )
        return [Finding("loss", f"{what}; {advice}")]
    if value < shares * LOW:
        advice = (
            "unless the weights are trained already, look whether the inputs hold the "
            "labels"
        )
        return [Finding("loss", f"{what}; {advice}")]
    return []


def predictions(output: Output, figures: Mapping[str, Any]) -> list[Finding]:
    """Whether predictions are what the loss takes, and differ between samples."""
    low, high, least, most, spread = (
        float(figures[k]) for k in ("low", "high", "least_sum", "largest_sum", "spread")
    )
    found = []
    if spread == 0.0:
        text = (
            f"output {output.name!r} is the same for all samples; look at the "
            "initializers (zeros?), at units that never fire, and at the inputs"
        )
        found.append(Finding("predictions", text))
    several = output.classes is not None and output.classes > 1
    summed = low >= 0 and abs(least - 1) < NEAR and abs(most - 1) < NEAR
    categorical = (output.sparse or output.one_hot) and several
    seen = f"output {output.name!r}: values from {low:.3g} to {high:.3g}"
    mismatch = ""
    if categorical and output.from_logits and summed:
        mismatch = (
            f"{seen} sum to 1, and the loss applies softmax to them again; leave the "
            "last layer without an activation, or pass from_logits=False"
        )
    elif categorical and not output.from_logits and not summed:
        mismatch = (
            f"{seen} sum to {least:.3g} to {most:.3g}, and the loss takes "
            "probabilities; end the model with softmax, or pass from_logits=True"
        )
    elif output.binary and not output.from_logits and (low < 0 or high > 1):
        mismatch = (
            f"{seen}, and the loss takes probabilities; end the model with a sigmoid, "
            "or pass from_logits=True"
        )
    elif output.binary and output.from_logits and figures["sigmoid"]:
        mismatch = (
            f"{seen} come from a sigmoid, and the loss applies another; leave the last "
            "layer without an activation, or pass from_logits=False"
        )
    if mismatch:
        found.append(Finding("activation", mismatch))
    return found


def units(layers: Sequence[str], largest: Sequence[Any]) -> list[Finding]:
    """Rectified units that are 0 for every sample and place."""
    dead = []
    for name, values in zip(layers, map(np.asarray, largest), strict=True):
        count = int((values <= 0).sum())
        if count > DEAD * values.size:
            dead.append(f"{name!r} {count} of {values.size}")
    if not dead:
        return []
    text = (
        f"units that never fire: layer {', '.join(dead)}; they have no gradient: look "
        "at the scale of the inputs, at biases below 0, and at the initializers "
        '(kernel_initializer="he_normal")'
    )
    return [Finding("dead", text)]


def gradients(names: Sequence[str], largest: Sequence[Any]) -> list[Finding]:
    """Layers that would not learn: gradients that are all 0, or no numbers."""
    by_layer: dict[str, list[float]] = {}
    for name, value in zip(names, largest, strict=True):
        by_layer.setdefault(name.rpartition("/")[0] or name, []).append(float(value))
    wild = [n for n, values in by_layer.items() if not np.isfinite(values).all()]
    still = [n for n, values in by_layer.items() if not any(values)]
    found = []
    if wild:
        text = (
            f"the gradient of layer {_listed(wild)} is infinite or NaN; look at the "
            "scale of the inputs and at operations such as log, sqrt and division"
        )
        found.append(Finding("gradient", text))
    if still:
        text = (
            f"the gradient of layer {_listed(still)} is 0 everywhere ({len(still)} of "
            f"{len(by_layer)} layers); they would not learn: look whether they lead to "
            "the loss, at units that never fire, and at weights of zeros behind them"
        )
        found.append(Finding("gradient", text))
    return found


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:8])
    return shown if len(names) <= 8 else f"{shown} and {len(names) - 8} more"
