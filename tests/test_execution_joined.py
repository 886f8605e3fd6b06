"""Batch normalisations that read the parts of a concat and add to a gradient."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv import ops
from fastconv._core import Activation, BatchNormAttrs, Epilogue, OpKind
from fastconv.execution import lower
from fastconv.graph.autodiff import grad
from fastconv.graph.ir import emit

RNG = np.random.default_rng(0)
ACTIVATIONS = st.sampled_from(
    [Activation.identity, Activation.relu, Activation.relu6, Activation.tanh]
)
SIZES = st.sampled_from([1, 3, 5, 16, 17, 32, 64, 70])


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def check(cpu, python, arrays, length):
    """On the CPU and on the reference, which have the operands of one array or many."""
    cpu.check(python, *arrays, reduction_length=length, gradients=True)


@settings(max_examples=40)
@given(st.integers(0, 300), st.lists(SIZES, min_size=2, max_size=6), st.booleans())
def test_inference_of_parts(cpu, rows, sizes, add):
    def run(gamma, variance, other, *parts):
        joined = ops.concatenate(parts, -1)
        y = ops.batch_norm_inference(joined, gamma, gamma, gamma, variance)
        return ops.relu(other + y if add else y)

    channels = sum(sizes)
    vectors = normal(channels), normal(channels) ** 2 + 0.1
    parts = [normal(rows, 1, n) for n in sizes]
    arrays = (*vectors, normal(rows, 1, channels), *parts)
    check(cpu, run, arrays, 64)
    assert steps(cpu, run, arrays) == ["batch_norm_inference"]


@settings(max_examples=40)
@given(
    st.integers(0, 300), st.lists(SIZES, min_size=1, max_size=6), ACTIVATIONS,
    st.booleans(), st.sampled_from([None, 0, 1, 32]),
)  # fmt: skip
def test_backward_of_parts_and_a_sum(cpu, rows, sizes, activation, add, more):
    channels = sum(sizes)
    add = add and activation != Activation.identity
    epilogue = Epilogue(add=int(add), activation=activation)
    attrs = BatchNormAttrs(epsilon=1e-3, epilogue=epilogue)

    def run(first, ddst, gamma, rstd, saved, *rest):
        operands = [ddst, first, gamma, gamma, rstd]
        if activation != Activation.identity:
            operands.append(saved)
        return emit(OpKind.batch_norm_backward, attrs, *operands, *rest)

    parts = [normal(2, rows, n) for n in sizes]
    saved = normal(2, rows, channels) / 9 if add else normal(channels)
    vectors = normal(channels), normal(channels) ** 2 + 0.1
    sums = [] if more is None else [normal(2, rows, channels + more)]
    arrays = (parts[0], normal(2, rows, channels), *vectors, saved, *parts[1:], *sums)
    check(cpu, run, arrays, 64 * (rows + 1))


def dense(pieces, weights, gamma, seed):
    """Dense layers, and what normalises all that they join."""
    wanted = [*pieces, *weights, gamma]
    for w in weights:
        joined = ops.concatenate(pieces, -1)
        pieces = [joined, layer(joined, w, gamma)]
    y, mean, _, variance = ops.batch_norm(ops.concatenate(pieces, -1), gamma, gamma)
    return [y, mean, variance, *grad(y, wanted, seed)]


def layer(x, w, gamma):
    beta = gamma[: x.shape[-1]]
    return ops.conv(ops.relu(ops.batch_norm(x, beta, beta)[0]), w, 1, "same")


def dense_arrays(first, growths, window, size):
    channels = [sum(first)]
    for growth in growths:
        channels.append(channels[-1] + growth)
    weights = [
        normal(window, window, n, growth) / np.float32(window * np.sqrt(n))
        for n, growth in zip(channels, growths, strict=False)
    ]
    maps = [normal(4, size, size, n) for n in (*first, channels[-1])]
    return [*maps, normal(channels[-1]), *weights]


def dense_net(a, b, seed, gamma, *weights):
    return dense([a, b], weights, gamma, seed)


def steps(device, python, arrays):
    return [step.op for step in device.function(python).explain(*arrays)]


def on_maps(device, python, arrays):
    """The steps that give maps."""
    found = device.function(python).explain(*arrays)
    return [step.op for step in found if len(step.shape) > 1]


@pytest.mark.parametrize(
    ("first", "growths", "window", "size"),
    [((4, 6), [6, 7, 9], 3, 9), ((32, 64), [32, 32], 1, 20), ((1, 1), [1] * 5, 1, 3)],
)
def test_a_dense_connection(backend, threads, first, growths, window, size):
    arrays = dense_arrays(first, growths, window, size)
    length = 64 * 4 * size * size
    backend.check(dense_net, *arrays, reduction_length=length, gradients=True)
    if backend.device != "cpu":
        return
    assert steps(backend, dense_net, arrays).count("batch_norm") == 2 + len(growths)
    assert {"concat", "binary"}.isdisjoint(on_maps(backend, dense_net, arrays))
    threads(lambda: backend.run(dense_net, *arrays))


def test_more_parts_than_are_gone_through_together(cpu):
    def run(gamma, seed, *parts):
        y, mean, *_ = ops.batch_norm(ops.concatenate(parts, -1), gamma, gamma)
        y = ops.relu(y)
        return [y, mean, *grad(y, list(parts), seed)]

    parts = [normal(50, 1 + i % 3) for i in range(150)]
    arrays = (normal(300), normal(50, 300), *parts)
    check(cpu, run, arrays, 64 * 50)
    assert steps(cpu, run, arrays).count("batch_norm_inference") == 1


def test_what_else_reads_a_concat_keeps_it(backend):
    def run(a, b, gamma, seed):
        joined = ops.concatenate([a, b], -1)
        y = ops.batch_norm(joined, gamma, gamma)[0]
        return [joined * 2, y, *grad(y, [a, b], seed)]

    arrays = normal(90, 4), normal(90, 5), normal(9), normal(90, 9)
    backend.check(run, *arrays, reduction_length=6400, gradients=True)
    if backend.device != "reference":
        assert "concat" in on_maps(backend, run, arrays)


@pytest.mark.parametrize("channels", [5, 48])
def test_the_gradient_of_a_residual_is_added(backend, threads, channels):
    def run(x, w, gamma, seed):
        y = x * x
        y = y + layer(y, w, gamma)
        return [y, *grad(y, [x, w, gamma], seed)]

    w = normal(1, 1, channels, channels) / np.float32(channels)
    arrays = normal(3, 9, 9, channels), w, normal(channels), normal(3, 9, 9, channels)
    backend.check(run, *arrays, reduction_length=6400, gradients=True)
    if backend.device == "cpu":
        made = on_maps(backend, run, arrays)
        assert made.count("binary") == 4  # x * x and its gradient
        threads(lambda: backend.run(run, *arrays))


def test_the_statistics_alone(backend):
    def run(x, gamma):
        _, mean, rstd, variance = ops.batch_norm(x, gamma, gamma)
        return mean, rstd, variance

    backend.check(run, normal(70, 24), normal(24), reduction_length=6400)


def test_bfloat16(cpu, monkeypatch):
    def run(a, b, gamma, seed):
        a, b = ops.cast(a, "bfloat16"), ops.cast(b, "bfloat16")
        y = ops.batch_norm(ops.concatenate([a, b], -1), gamma, gamma)[0]
        y = ops.relu(y)
        gradients = grad(y, [a, b, gamma], ops.cast(seed, "bfloat16"))
        return [ops.cast(t, "float32") for t in (y, *gradients)]

    arrays = normal(700, 24), normal(700, 16), normal(40), normal(700, 40)
    assert "concat" in steps(cpu, run, arrays)  # of statistics
    assert "batch_norm_inference" in steps(cpu, run, arrays)
    made = cpu.run(run, *arrays)
    monkeypatch.setattr(lower, "join_norms", lambda graph, _backend: graph)
    for one, other in zip(made, cpu.run(run, *arrays), strict=True):
        np.testing.assert_allclose(one, other, rtol=0.02, atol=0.02)


def test_a_concat_that_is_a_result_is_made(cpu):
    def run(gamma, *parts):
        joined = ops.concatenate(parts, -1)
        return joined, ops.batch_norm_inference(joined, gamma, gamma, gamma, gamma)

    check(cpu, run, (normal(5) ** 2 + 0.1, normal(4, 2), normal(4, 3)), 64)


def test_a_concat_beside_a_normalisation_is_made(cpu):
    def run(gamma, *parts):
        y = ops.batch_norm_inference(parts[0], gamma, gamma, gamma, gamma)
        return ops.concatenate([y, *parts[1:]], -1)

    check(cpu, run, (normal(2) ** 2 + 0.1, normal(4, 2), normal(4, 3)), 64)
