"""Convolution of bfloat16 in every direction, and matrix products, against float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv import ops
from narrowed import assert_near, directions, mixed, narrow, random, rounded, wide

# batch, sizes, channels, filters, window, strides, padding, dilation, groups
CASES = {
    "pointwise": (2, (9, 7), 64, 48, (1, 1), 1, "same", 1, 1),
    "pointwise, one row": (1, (1, 1), 32, 96, (1, 1), 1, "same", 1, 1),
    "pointwise, stride 2": (2, (9, 8), 32, 130, (1, 1), 2, "same", 1, 1),
    "3x3": (1, (13, 11), 24, 40, (3, 3), 1, "same", 1, 1),
    "3x3, Winograd": (2, (24, 24), 64, 64, (3, 3), 1, "same", 1, 1),
    "3x3, many channels": (1, (8, 8), 320, 96, (3, 3), 1, "same", 1, 1),
    "3x3, stride 2": (2, (15, 14), 32, 64, (3, 3), 2, "same", 1, 1),
    "stem": (2, (33, 31), 3, 64, (7, 7), 2, "same", 1, 1),
    "one channel": (3, (12, 12), 1, 20, (5, 5), 1, "valid", 1, 1),
    "odd channels": (1, (10, 9), 17, 5, (3, 3), 1, "same", 1, 1),
    "dilated": (1, (12, 13), 16, 18, (3, 3), 1, "same", 2, 1),
    "groups": (1, (10, 10), 64, 32, (3, 3), 1, "same", 1, 2),
    "odd groups": (2, (6, 7), 21, 14, (3, 3), 2, "same", 1, 7),
    "small groups": (2, (14, 14), 64, 64, (3, 3), 1, "same", 1, 16),
    "depthwise": (2, (14, 15), 40, 40, (3, 3), 1, "same", 1, 40),
    "depthwise, stride 2": (1, (14, 15), 96, 96, (5, 5), 2, "same", 1, 96),
    "depthwise, 5x5": (2, (9, 11), 24, 24, (5, 5), 1, "same", 1, 24),
    "depthwise, 3x3, stride 2": (3, (13, 12), 32, 32, (3, 3), 2, "same", 1, 32),
    "depthwise, odd channels": (2, (9, 8), 17, 17, (3, 3), 1, "valid", 1, 17),
    "depthwise, odd channels, stride 2": (1, (9, 8), 17, 17, (5, 5), 2, "same", 1, 17),
    "line": (3, (40,), 16, 24, (5,), 1, "causal", 1, 1),
    "volume": (1, (5, 6, 7), 8, 12, (3, 3, 3), 1, "same", 1, 1),
}


def function(case):
    *_, strides, padding, dilation, groups = case

    def run(x, weights):
        return ops.conv(x, weights, strides, padding, dilation, groups)

    return run


def operands(case, seed=0):
    n, sizes, c, k, window, strides, padding, dilation, groups = case
    shapes = (n, *sizes, c), (*window, c // groups, k)
    x, weights = random(seed, *shapes)
    weights = rounded(weights / np.sqrt(np.prod(shapes[1][:-1])))
    y = ops.conv(np.zeros(shapes[0], "f4"), weights, strides, padding, dilation, groups)
    return x, weights, *random(seed + 1, y.shape)


def both(run, wanted):
    """The directions in bfloat16, and in the dtype of the arrays."""
    return (directions(f, wanted, lambda t: t) for f in (mixed(run), run))


@pytest.mark.parametrize("name", CASES)
def test_conv_in_every_direction(native, reference, name):
    arrays = operands(CASES[name])
    run, exact = both(function(CASES[name]), 2)
    assert_near(native.run(run, *arrays), reference(exact, *arrays))


@pytest.mark.parametrize("name", CASES)
def test_integers_are_only_rounded(native, reference, monkeypatch, name):
    kinds = ("conv", "conv_backward_data", "conv_backward_weights")
    without = ",".join(f"{kind}=-winograd" for kind in kinds)  # its transforms round
    monkeypatch.setenv("FASTCONV_KERNEL", without)
    arrays = [np.clip(np.round(2 * a), -3, 3) for a in operands(CASES[name])]
    run, exact = both(function(CASES[name]), 2)
    y, dx, dw = reference(exact, *arrays)
    for actual, expected in zip(
        native.run(run, *arrays), (rounded(y), rounded(dx), dw), strict=True
    ):
        np.testing.assert_array_equal(actual, expected)


def test_a_bfloat16_input_alone_in_every_direction(native, reference):
    run, arrays = function(CASES["3x3"]), operands(CASES["3x3"])
    actual = native.run(directions(run, 2, narrow), *arrays)
    assert_near(actual, reference(directions(run, 2, lambda t: t), *arrays))


def test_float32_weights_are_rounded_like_results(cpu):
    x, weights = np.ones((1, 1, 1, 2), "f4"), np.array([1 + 2**-8, 0], "f4")
    made = cpu.run(
        lambda x, w: wide(ops.conv(narrow(x), w)), x, weights.reshape(1, 1, 2, 1)
    )
    assert made[0].item() == rounded(weights)[0] == 1  # a tie goes to even


def test_gradient_of_weights_is_not_rounded(cpu):
    """It is a sum in float32: 257 ones would round to 256 in bfloat16."""
    ones = np.ones((1, 257, 1, 2), "f4")
    run = directions(ops.conv, 2, narrow)
    weights = np.ones((1, 1, 2, 16), "f4")
    *_, dweights = cpu.run(run, ones, weights, np.ones((1, 257, 1, 16), "f4"))
    assert (dweights == 257).all()


@settings(max_examples=25)
@given(st.data())
def test_sizes_that_fill_no_vector(native, reference, data):
    def draw(most, least=1):
        return data.draw(st.integers(least, most))

    window, groups = (draw(3), draw(4)), draw(3)
    sizes = (draw(12, window[0]), draw(12, window[1]))
    case = (
        draw(3), sizes, groups * draw(20), groups * draw(20), window, draw(2),
        "same", 1, groups,
    )  # fmt: skip
    arrays = operands(case, draw(1000))
    run, exact = both(function(case), 2)
    assert_near(native.run(run, *arrays), reference(exact, *arrays))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_reach_the_outputs_that_read_them(cpu, value):
    x, weights = random(3, (1, 9, 9, 16), (3, 3, 16, 16))
    x[0, 4, 4, 7] = value
    (y,) = cpu.run(
        lambda x, w: wide(ops.conv(narrow(x), w, strides=2, padding="same")), x, weights
    )
    reads = np.zeros((5, 5), bool)
    reads[2, 2] = True
    assert np.array_equal(~np.isfinite(y[0]).all(-1), reads)


@pytest.mark.parametrize(
    "name", ["pointwise", "stem", "3x3, Winograd", "depthwise", "small groups"]
)
def test_same_bytes_for_any_number_of_threads(cpu, threads, name):
    run, arrays = directions(function(CASES[name]), 2, narrow), operands(CASES[name])
    threads(lambda: cpu.run(run, *arrays))


@pytest.mark.parametrize(("m", "k", "n"), [(64, 32, 48), (100, 257, 65), (129, 30, 7)])
@pytest.mark.parametrize("transposed", [False, True])
def test_matrix_products(native, reference, m, k, n, transposed):
    a, b, dc = random(7, (m, k), (n, k) if transposed else (k, n), (m, n))
    run, exact = both(lambda a, b: ops.matmul(a, b, transpose_b=transposed), 2)
    assert_near(native.run(run, a, b, dc), reference(exact, a, b, dc))
