"""Inputs that cannot be learned from, or not well."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.data import tree
from fastconv.training.sanity.finding import Finding

LARGE, SMALL = 10.0, 1e-3  # deviations beyond which scaling helps


def faults(x: Any) -> list[Finding]:
    """Infinite or constant arrays in nested inputs of shape (samples, ...)."""
    found = []
    for name, array in tree.leaves(x, "x"):
        if array.size == 0 or len(array) < 2:
            continue
        infinite = 0
        if array.dtype.kind == "f":
            infinite = int(array.size - np.isfinite(array).sum())
        if infinite:
            found.append(
                Finding(
                    "finite",
                    f"{name}: {infinite} of {array.size} values looked at are infinite "
                    "or NaN; remove or replace them (numpy.nan_to_num)",
                )
            )
        elif (array == array[:1]).all():
            found.append(
                Finding(
                    "constant",
                    f"{name}: all {len(array)} samples looked at are equal (first "
                    f"value {array.reshape(-1)[0]}); look at how the data are loaded",
                )
            )
    return found


def scale_faults(label: str, mean: float, deviation: float) -> list[Finding]:
    """Whether what the first layer with weights reads is far from mean 0, deviation 1.

    mean, deviation: over all samples and features. Glorot, Bengio, AISTATS 2010, and
    LeCun et al., "Efficient BackProp", 1998, section 4.3, assume such inputs.
    """
    far = abs(mean) > LARGE / 2 and abs(mean) > 2 * deviation
    if SMALL <= deviation <= LARGE and not far:
        return []
    if deviation == 0.0:  # constant: said already
        return []
    return [
        Finding(
            "scale",
            f"layer {label!r} reads inputs of mean {mean:.3g} and standard deviation "
            f"{deviation:.3g}; expected about 0 and 1: subtract the mean and divide by "
            "the deviation, or begin the model with layers.Rescaling(1 / 255) (images) "
            "or layers.BatchNormalization()",
        )
    ]
