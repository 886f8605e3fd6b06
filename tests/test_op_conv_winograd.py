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
# batch, planes and size, channels and filters of a group, window, groups
PLANES_AND_GROUPS = [
    (2, (4, 14, 14), 64, 48, (3, 3, 3), 1),
    (1, (7, 13, 10), 20, 33, (2, 3, 3), 1),
    (2, (2, 14, 14), 200, 256, (3, 3, 3), 1),  # weights that fit no cache
    (1, (3, 9, 10), 24, 40, (3, 5, 5), 1),
    (1, (1, 20, 20), 32, 32, (3, 3, 3), 1),  # two planes of the window see nothing
    (3, (14, 14), 24, 24, (3, 3), 20),  # more than one set of groups
    (2, (15, 13), 17, 70, (3, 3), 9),
    (2, (27, 27), 48, 128, (5, 5), 2),
    (1, (14, 14), 320, 480, (3, 3), 2),  # weights that fit no cache
    (1, (5, 12, 11), 16, 24, (3, 3, 3), 3),
]
# The same for few channels, with images side by side.
LANES = [(64, 14, 14, 8, 13, 5), (48, 30, 27, 7, 12, 5), (72, 29, 26, 15, 11, 3)]
# The same for few channels and images, along lines.
LINES = [(1, 14, 14, 6, 16, 5), (2, 31, 27, 14, 37, 5), (2, 29, 26, 12, 20, 3)]


def all_directions(padding, groups=1):
    """The convolution and both of its gradients, as one function of tensors."""

    def run(src, weights, ddst):
        dst = ops.conv(src, weights, padding=padding, groups=groups)
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


def grouped_operands(shape, seed=0):
    n, size, c, k, window, groups = shape
    rng = np.random.default_rng(seed)
    shapes = [
        (n, *size, c * groups),
        (*window, c, k * groups),
        (n, *size, k * groups),
    ]
    src, weights, ddst = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    return src, weights / np.float32(window[-1]), ddst


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


@pytest.mark.parametrize("shape", PLANES_AND_GROUPS, ids=str)
def test_planes_and_groups(cpu, reference, shape):
    function, arrays = all_directions("same", shape[-1]), grouped_operands(shape)
    chosen = kernels(cpu, function, arrays)
    assert set(chosen.values()) == {"winograd"}, chosen
    results = cpu.run(function, *arrays)
    for actual, expected in zip(results, reference(function, *arrays), strict=True):
        assert error(actual, expected) < LARGEST_ERROR


@given(
    size=st.tuples(st.integers(1, 6), st.integers(9, 24), st.integers(9, 24)),
    channels=st.tuples(st.integers(16, 40), st.integers(16, 40)),
    window=st.sampled_from([(1, 3, 3), (2, 3, 3), (3, 3, 3), (4, 3, 3), (3, 5, 5)]),
    groups=st.integers(1, 9),
    batch=st.integers(1, 2),
)
@settings(max_examples=30)
def test_any_number_of_planes_and_groups(
    cpu, reference, size, channels, window, groups, batch
):
    function = all_directions("same", groups)
    arrays = grouped_operands((batch, size, *channels, window, groups))
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


@pytest.mark.parametrize("shape", LINES, ids=str)
@pytest.mark.parametrize("padding", ["same", [(2, 1), (-1, 3)], "valid"], ids=str)
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("constant", [False, True])
def test_along_lines(cpu, reference, shape, padding, pooled, constant):
    src, weights, _ = operands(shape, "same")
    bias = np.linspace(-1, 1, shape[4], dtype=np.float32)

    def run(x, w, b):
        y = ops.relu(ops.conv(x, w, padding=padding) + b)
        return ops.max_pool(y, 2) if pooled else y

    def frozen(x):
        return run(x, weights, bias)

    arrays = (src, weights, bias)
    given = (frozen, src) if constant else (run, *arrays)
    assert kernels(cpu, given[0], given[1:]) == {"conv": "winograd_lines"}
    [actual], [expected] = cpu.run(*given), reference(run, *arrays)
    assert actual.shape == expected.shape
    assert error(actual, expected) < LARGEST_ERROR


@pytest.mark.parametrize("added", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(
    ("shape", "kernel"),
    [
        ((1, 20, 22, 32, 72, 3), "winograd"),
        (LANES[1], "winograd_lanes"),
        (LINES[1], "winograd_lines"),
    ],
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


@pytest.mark.parametrize("shape", SHAPES + LANES[1:] + LINES, ids=str)
def test_bytes_do_not_depend_on_threads(cpu, threads, shape):
    arrays = operands(shape, "same")
    threads(lambda: cpu.run(all_directions("same"), *arrays))


@pytest.mark.parametrize("shape", PLANES_AND_GROUPS, ids=str)
def test_bytes_of_planes_and_groups_do_not_depend_on_threads(cpu, threads, shape):
    arrays = grouped_operands(shape)
    threads(lambda: cpu.run(all_directions("same", shape[-1]), *arrays))


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


@pytest.mark.parametrize("shape", [SHAPES[0], LANES[1], LINES[0]], ids=str)
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
