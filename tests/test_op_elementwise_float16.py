"""Ops that wait for memory, on float16: the cases of bfloat16, and its rounding."""

from __future__ import annotations

import numpy as np
import pytest

from narrowed import narrow, rounded, storage, wide
from test_op_elementwise_bfloat16 import (  # noqa: F401  (tests, which run here again)
    test_batch_norm,
    test_batch_norm_with_fixed_statistics,
    test_dropout_has_the_mask_of_float32,
    test_maps_pools_and_moves,
    test_max_pool_hands_nan_on,
    test_rounding_is_to_nearest_even,
    test_statistics_are_float32,
    test_two_operands,
)


@pytest.fixture(scope="module", autouse=True)
def float16():
    with storage("float16"):
        yield


def test_every_value_every_tie_and_what_is_next_to_ties(native):
    """Down to the denormals, and up to what becomes infinite."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype("f4")
    ties = (halves + np.append(halves[1:], np.float32(65536))) / 2
    beside = [np.nextafter(ties, np.float32(to)) for to in (0, np.inf)]
    values = np.concatenate([halves, ties, *beside])
    values = np.concatenate([values, -values, np.float32([np.inf, np.nan])])
    (made,) = native.run(lambda x: wide(narrow(x)), values)
    np.testing.assert_array_equal(made, rounded(values))
    assert np.array_equal(np.signbit(made), np.signbit(rounded(values)))
    assert np.isinf(rounded(np.float32(65520)))
    assert rounded(np.float32(65519)) == 65504
