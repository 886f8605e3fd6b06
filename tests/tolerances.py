"""The one table of tolerances, by dtype, and the comparison that uses it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Tolerance(NamedTuple):
    """Allowed error, in units of the dtype's rounding error."""

    epsilon: float  # distance from 1 to the next number
    values: float
    gradients: float


TOLERANCES = {
    "float64": Tolerance(2.0**-52, values=8, gradients=32),
    "float32": Tolerance(2.0**-23, values=8, gradients=32),
    "float16": Tolerance(2.0**-10, values=2, gradients=8),
    "bfloat16": Tolerance(2.0**-7, values=2, gradients=8),
}


def assert_close(
    actual: Any,
    expected: Any,
    reduction_length: int = 1,
    *,
    gradients: bool = False,
    dtype: str = "float32",
) -> None:
    """Fails unless ``actual`` is ``expected`` up to rounding.

    An element may be wrong by ``units * epsilon * (|expected| +
    sqrt(reduction_length) * scale)``, where ``scale`` is the largest finite value
    expected: rounding errors of a sum grow like the root of the number of its terms.
    NaN and infinities must agree.
    """
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, (actual.shape, expected.shape)
    if expected.dtype.kind != "f":
        np.testing.assert_array_equal(actual, expected)
        return
    row = TOLERANCES[dtype]
    units = row.gradients if gradients else row.values
    finite = np.abs(expected[np.isfinite(expected)])
    scale = float(finite.max()) if finite.size else 0.0
    np.testing.assert_allclose(
        actual,
        expected,
        rtol=units * row.epsilon,
        atol=units * row.epsilon * scale * reduction_length**0.5,
    )
