"""Convolutions and matrix products of float16: the cases of bfloat16, on GPUs."""

from __future__ import annotations

import pytest

from narrowed import storage
from test_op_conv_bfloat16 import (  # noqa: F401  (tests, which run here once more)
    test_a_bfloat16_input_alone_in_every_direction,
    test_conv_in_every_direction,
    test_integers_are_only_rounded,
    test_matrix_products,
    test_sizes_that_fill_no_vector,
)


@pytest.fixture(scope="module", autouse=True)
def float16(gpu):
    with storage("float16"):
        yield
