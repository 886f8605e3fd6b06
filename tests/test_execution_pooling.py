"""Convolution and the maximum pooling behind it in one step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv import ops
from fastconv.graph.autodiff import grad

# An image, weights; those that winograd filters, too.
FEW_CHANNELS = [((11, 9, 1), (5, 5, 1, 6)), ((8, 7, 6), (2, 3, 6, 11))]
WINOGRAD = [((14, 14, 8), (5, 5, 8, 13)), ((29, 26, 15), (3, 3, 15, 11))]


def pooled(activation="relu", size=2, **options):
    """A layer with bias and activation, and its pooling."""

    def run(x, w, b):
        y = getattr(ops, activation)(ops.conv(x, w, **options) + b)
        return ops.max_pool(y, size)

    return run


def operands(image, weights, images=16, seed=0):
    rng = np.random.default_rng(seed)
    shapes = ((images, *image), weights, weights[-1:])
    return [rng.integers(-2, 3, shape).astype(np.float32) for shape in shapes]


def steps(device, function, arrays):
    return [step.op for step in device.function(function).explain(*arrays)]


@pytest.mark.parametrize("images", [5, 16, 29])
@pytest.mark.parametrize("activation", ["relu", "relu6"])
@pytest.mark.parametrize(("image", "weights"), FEW_CHANNELS)
def test_it_is_exact(backend, images, activation, image, weights):
    arrays = operands(image, weights, images)
    backend.check(pooled(activation), *arrays)


@given(
    size=st.tuples(st.integers(2, 40), st.integers(2, 40)),
    channels=st.tuples(st.integers(1, 9), st.integers(1, 30)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 2), st.integers(1, 2)),
)
@settings(max_examples=40)
def test_any_size_is_exact(cpu, size, channels, kernel, stride):
    arrays = operands((*size, channels[0]), (*kernel, *channels))
    function = pooled(strides=stride, padding="same")
    if min(-(-n // s) for n, s in zip(size, stride, strict=True)) >= 2:
        cpu.check(function, *arrays)


@pytest.mark.parametrize(("image", "weights"), [*FEW_CHANNELS, *WINOGRAD])
def test_it_is_one_step_with_the_same_bytes(cpu, threads, image, weights):
    arrays = operands(image, weights, 40)
    together = pooled("swish")

    def apart(*arrays):
        y = ops.swish(ops.conv(*arrays[:2]) + arrays[2])
        return [ops.max_pool(y, 2), y]

    assert steps(cpu, together, arrays) == ["conv"]
    assert steps(cpu, apart, arrays) == ["conv", "max_pool"]
    [actual] = threads(lambda: cpu.run(together, *arrays))
    np.testing.assert_array_equal(actual, cpu.run(apart, *arrays)[0])


def test_planes_are_pooled_apart(backend):
    arrays = operands((3, 8, 6, 2), (2, 3, 3, 2, 5))
    backend.check(pooled(size=(1, 2, 2)), *arrays)


def test_nan_is_handed_on(cpu):
    x, w, b = operands(*FEW_CHANNELS[0])
    x[3, 4, 5, 0] = np.nan
    [actual] = cpu.check(pooled(), x, w, b)
    assert np.isnan(actual[3]).any()
    assert not np.isnan(actual[4]).any()


@pytest.mark.parametrize("size", [3, (2, 1)])
def test_other_windows_are_steps_of_their_own(cpu, size):
    arrays = operands(*FEW_CHANNELS[0])
    assert steps(cpu, pooled(size=size), arrays) == ["conv", "max_pool"]


def test_faster_kernels_do_not_pool(cpu):
    """One image, and channels that fill vectors."""
    for image, weights, images in (
        (*FEW_CHANNELS[0], 1), ((12, 12, 64), (3, 3, 64, 32), 16)
    ):  # fmt: skip
        arrays = operands(image, weights, images)
        assert steps(cpu, pooled(), arrays) == ["conv", "max_pool"]


def test_gradients_need_the_whole_map(cpu):
    x, w, b = operands(*FEW_CHANNELS[0])

    def run(x, w, b):
        y = pooled()(x, w, b)
        return [y, grad(ops.sum(y), [w])[0]]

    assert "max_pool" in steps(cpu, run, (x, w, b))
    cpu.check(run, x, w, b)
