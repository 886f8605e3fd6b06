"""Ops that wait for memory, on bfloat16: the float32 result, rounded once."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv import ops
from narrowed import assert_near, directions, narrow, random, rounded, wide

SPECIAL = np.array(
    [0.0, -0.0, 1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8), 3.4e38, 1e38, np.inf, -np.inf,
     np.nan, 1.17549435e-38],
    "f4",
)  # fmt: skip


def test_rounding_is_to_nearest_even(native):
    values = np.concatenate([SPECIAL, np.random.default_rng(0).normal(size=333)])
    (made,) = native.run(lambda x: wide(narrow(x)), values)
    np.testing.assert_array_equal(made, rounded(values.astype("f4")))


UNARY = {
    "relu": ops.relu,
    "relu6": ops.relu6,
    "tanh": ops.tanh,
    "swish": ops.swish,
    "negative": lambda x: -x,
    "square": ops.square,
    "twice": lambda x: x * 2.0,
    "channels": lambda x: x * ops.cast(np.arange(1, x.shape[-1] + 1), x.dtype),
    "max_pool": lambda x: ops.max_pool(x, 3, 2, "same"),
    "max_pool, disjoint": lambda x: ops.max_pool(x, 2),
    "average_pool": lambda x: ops.average_pool(x, 3, 1, "same"),
    "concat": lambda x: ops.concatenate([x, x * 2.0], -1),
    "pad": lambda x: ops.pad(x, [(0, 0), (1, 2), (0, 0), (0, 0)]),
    "slice": lambda x: x[:, 1:, ::2],
    "transpose": lambda x: ops.transpose(x, (0, 2, 1, 3)),
    "sum": lambda x: ops.sum(x, axis=(1, 2)),
    "mean": lambda x: ops.mean(x, axis=(0, 1, 2)),
    "max": lambda x: ops.max(x, axis=-1),
}


@pytest.mark.parametrize("channels", [19, 64])
@pytest.mark.parametrize("name", UNARY)
def test_maps_pools_and_moves(native, reference, name, channels):
    function = UNARY[name]
    (x,) = random(1, (2, 8, 9, channels))
    shape = reference(function, x)[0].shape
    (seed,) = random(2, shape)
    actual = native.run(directions(function, 1, narrow), x, seed)
    assert_near(actual, reference(directions(function, 1, lambda t: t), x, seed))


@pytest.mark.parametrize("shape", [(7, 19), (3, 9, 5, 64), (2, 33)])
@pytest.mark.parametrize("op", [ops.add, ops.multiply, ops.maximum])
def test_two_operands(native, reference, shape, op):
    a, b = random(4, shape, shape[-1:])
    (whole,) = random(5, shape)
    for second in (b, whole):
        (made,) = native.run(lambda x, y: wide(op(narrow(x), narrow(y))), a, second)
        np.testing.assert_array_equal(made, rounded(reference(op, a, second)[0]))


@pytest.mark.parametrize(
    "shape", [(4, 6, 6, 64), (3, 5, 7, 19), (2, 3), (600, 33), (5000, 16)]
)
@pytest.mark.parametrize("activation", [None, ops.relu, ops.swish])
def test_batch_norm(native, reference, shape, activation):
    channels = shape[-1:]
    x, gamma, beta, seed = random(6, shape, channels, channels, shape)

    def run(x, gamma, beta):
        y = ops.batch_norm(x, gamma, beta)[0]
        return y if activation is None else activation(y)

    actual = native.run(directions(run, 3, narrow), x, gamma, beta, seed)
    expected = reference(directions(run, 3, lambda t: t), x, gamma, beta, seed)
    assert_near(actual, expected, 2e-2 if len(x) == 2 else 1e-2)


def test_statistics_are_float32(native, reference):
    x, gamma, beta = random(8, (50, 24), (24,), (24,))
    made = native.run(lambda x, *p: ops.batch_norm(narrow(x), *p)[1:], x, gamma, beta)
    expected = reference(lambda x, *p: ops.batch_norm(x, *p)[1:], x, gamma, beta)
    assert_near(made, expected, 1e-6)


def test_batch_norm_with_fixed_statistics(native, reference):
    x, gamma, beta, mean, spread = random(9, (9, 40), *[(40,)] * 4)
    arrays = (x, gamma, beta, mean, np.abs(spread) + 0.5)

    def run(x, *parameters):
        return ops.batch_norm_inference(x, *parameters)

    (made,) = native.run(lambda x, *p: wide(run(narrow(x), *p)), *arrays)
    assert_near([made], reference(run, *arrays))


def test_max_pool_hands_nan_on(native):
    (x,) = random(10, (1, 4, 4, 16))
    x[0, 1, 1, 3] = np.nan
    (y,) = native.run(lambda x: wide(ops.max_pool(narrow(x), 2)), x)
    assert np.isnan(y[0, 0, 0, 3])
    assert np.isnan(y).sum() == 1


def test_dropout_has_the_mask_of_float32(native):
    (x,) = random(11, (33, 19))
    step = np.array([3, 4])
    wide_y, narrow_y = native.run(
        lambda x, s: [
            ops.dropout(x, 0.5, s, stream=1),
            wide(ops.dropout(narrow(x), 0.5, s, stream=1)),
        ],
        x,
        step,
    )
    np.testing.assert_array_equal(wide_y, narrow_y)  # doubling is exact
