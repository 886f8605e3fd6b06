"""Winograd's filtering, in every direction, against the reference in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv import ops
from fastconv.graph.autodiff import grad

LARGEST_ERROR = 1e-4  # relative, of a norm; what the design allows

# batch, height, width, channels, filters, window
SHAPES = [
    (2, 28, 28, 64, 64, 3),
    (1, 33, 30, 40, 24, 3),  # tiles over the edge, channels that fill no vector
    (3, 21, 19, 17, 130, 3),  # three panels of filters
    (1, 14, 14, 320, 480, 3),  # transformed weights that fit no cache
    (40, 13, 13, 16, 16, 3),
    (2, 27, 27, 64, 192, 5),
    (1, 30, 33, 24, 40, 5),
    (2, 14, 15, 250, 340, 5),  # transformed weights that fit no cache
]
# The same for few channels, with images side by side.
LANES = [(64, 14, 14, 8, 13, 5), (48, 30, 27, 7, 12, 5), (72, 29, 26, 15, 11, 3)]


def all_directions(padding):
    """The convolution and both of its gradients, as one function of tensors."""

    def run(src, weights, ddst):
        dst = ops.conv(src, weights, padding=padding)
        return [dst, *grad(dst, [src, weights], ddst)]

    return run


def operands(shape, padding, seed=0):
    n, h, w, c, k, window = shape
    rng = np.random.default_rng(seed)
    src = rng.standard_normal((n, h, w, c)).astype(np.float32)
    weights = rng.standard_normal((window, window, c, k)).astype(np.float32)
    weights /= np.float32(window)
    if padding == "same":
        p, q = h, w
    else:
        p, q = (
            size - window + 1 + sum(pad)
            for size, pad in zip((h, w), padding, strict=True)
        )
    return src, weights, rng.standard_normal((n, p, q, k)).astype(np.float32)


def error(actual, expected):
    """The largest difference, relative to the root mean square."""
    return np.abs(actual - expected).max() / np.sqrt(np.mean(np.square(expected)))


def kernels(cpu, function, arrays):
    steps = cpu.function(function).explain(*arrays)
    return {s.op: s.kernel for s in steps if s.op.startswith("conv")}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_error_is_bounded_in_every_direction(cpu, reference, shape):
    function, arrays = all_directions("same"), operands(shape, "same")
    chosen = kernels(cpu, function, arrays)
    assert set(chosen.values()) == {"winograd"}, chosen
    results = cpu.run(function, *arrays)
    for actual, expected in zip(results, reference(function, *arrays), strict=True):
        assert error(actual, expected) < LARGEST_ERROR


@given(
    size=st.tuples(st.integers(9, 40), st.integers(9, 40)),
    channels=st.tuples(st.integers(16, 70), st.integers(16, 70)),
    padding=st.tuples(*[st.tuples(st.integers(-2, 3), st.integers(-2, 3))] * 2),
    batch=st.integers(1, 3),
    window=st.sampled_from([3, 5]),
)
@settings(max_examples=40)
def test_any_size_and_padding(cpu, reference, size, channels, padding, batch, window):
    function = all_directions(list(padding))
    arrays = operands((batch, *size, *channels, window), padding)
    results = cpu.run(function, *arrays)
    for actual, expected in zip(results, reference(function, *arrays), strict=True):
        assert error(actual, expected) < LARGEST_ERROR


@pytest.mark.parametrize("shape", LANES, ids=str)
@pytest.mark.parametrize("padding", ["same", [(2, 1), (0, 3)]], ids=str)
def test_images_side_by_side(cpu, reference, shape, padding):
    function, arrays = all_directions(padding), operands(shape, padding)
    assert kernels(cpu, function, arrays)["conv"] == "winograd_lanes"
    results = cpu.run(function, *arrays)
    for actual, expected in zip(results, reference(function, *arrays), strict=True):
        assert error(actual, expected) < LARGEST_ERROR


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(
    ("shape", "kernel"),
    [((1, 20, 22, 32, 72, 3), "winograd"), (LANES[1], "winograd_lanes")],
)
def test_epilogue(cpu, reference, shape, kernel, activation, added):
    src, weights, other = operands(shape, "same")
    bias = np.linspace(-1, 1, shape[4], dtype=np.float32)

    def run(x, w, b, other):
        y = ops.conv(x, w, padding="same") + b
        return getattr(ops, activation)(y + other if added else y)

    arrays = (src, weights, bias, other)
    assert kernels(cpu, run, arrays) == {"conv": kernel}
    [actual], [expected] = (device(run, *arrays) for device in (cpu.run, reference))
    assert error(actual, expected) < LARGEST_ERROR


@pytest.mark.parametrize("shape", SHAPES + LANES[1:], ids=str)
def test_bytes_do_not_depend_on_threads(cpu, threads, shape):
    arrays = operands(shape, "same")
    threads(lambda: cpu.run(all_directions("same"), *arrays))


def test_more_threads_than_a_plan_has_memory_for(cpu):
    from fastconv import _core

    arrays = operands(SHAPES[0], "same")
    before = _core.thread_count()
    try:
        _core.set_thread_count(1)
        traced = cpu.function(all_directions("same"))
        expected = traced(*arrays)
        _core.set_thread_count(3)
        for actual, e in zip(traced(*arrays), expected, strict=True):
            np.testing.assert_array_equal(actual, e)
    finally:
        _core.set_thread_count(before)


@pytest.mark.parametrize("shape", [SHAPES[0], LANES[1]], ids=str)
def test_can_be_switched_off(cpu, monkeypatch, shape):
    kinds = ("conv", "conv_backward_data", "conv_backward_weights")
    monkeypatch.setenv("FASTCONV_KERNEL", ",".join(f"{k}=-winograd" for k in kinds))
    function, arrays = all_directions("same"), operands(shape, "same")
    chosen = kernels(cpu, function, arrays).values()
    assert not any(name.startswith("winograd") for name in chosen)
    [step] = [s for s in cpu.function(function).explain(*arrays) if s.op == "conv"]
    assert any("switched off" in reason for reason in step.declined)


@pytest.mark.parametrize(
    ("shape", "options", "reason"),
    [
        ((1, 28, 28, 64, 64, 3), {"strides": 2}, "stride"),
        ((1, 28, 28, 64, 64, 3), {"dilation_rate": 2}, "dilation"),
        ((1, 28, 28, 3, 64, 3), {}, "channels"),
        ((1, 4, 4, 64, 64, 3), {}, "transforms"),
        ((0, 28, 28, 64, 64, 3), {}, "transforms"),
        ((1, 28, 28, 64, 64, 7), {}, "3x3 or 5x5"),
    ],
)
def test_declines(cpu, shape, options, reason):
    src, weights, _ = operands(shape, "same")
    [step] = cpu.function(
        lambda x, w: ops.conv(x, w, padding="same", **options)
    ).explain(src, weights)
    [declined] = [d for d in step.declined if d.startswith("winograd:")]
    assert reason in declined
