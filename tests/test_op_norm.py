"""Batch, layer and local response normalisation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fastconv import ops
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.graph.autodiff import grad
from fastconv.ops.norm import (
    batch_norm,
    batch_norm_inference,
    layer_norm,
    local_response_norm,
)

RNG = np.random.default_rng(0)
SIZES = st.sampled_from([1, 2, 3, 5, 6, 8, 10, 15, 16, 17, 33, 64, 65, 70, 130])


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@settings(max_examples=40)
@given(st.integers(0, 40), st.integers(1, 40), SIZES)
def test_batch_norm(backend, batch, width, channels):
    def run(x, gamma, beta, seed):
        y, mean, rstd, variance = batch_norm(x, gamma, beta)
        return [y, mean, rstd, variance, *grad(y, [x, gamma, beta], seed)]

    assume(batch * width not in (2, 3))  # the gradient then cancels to its last digits
    x, seed = normal(batch, width, channels), normal(batch, width, channels)
    operands = (x, normal(channels), normal(channels), seed)
    rows = max(1, batch * width)
    backend.check(run, *operands, reduction_length=16 * rows, gradients=True)


@pytest.mark.parametrize("rows", [9, 63, 64, 1000, 4099])
@pytest.mark.parametrize("channels", [1, 3, 16, 70, 1100])
def test_batch_norm_over_many_rows(backend, rows, channels):
    def run(x, gamma):
        y, mean, rstd, variance = batch_norm(x, gamma, gamma)
        return y, mean, rstd, variance, grad(y, gamma, x)

    x = normal(min(rows, 300000 // channels), channels)
    backend.check(run, x, normal(channels), reduction_length=16 * rows, gradients=True)


def test_a_large_mean_costs_no_digits_of_the_variance(native):
    x = RNG.integers(0, 2, (4096, 3)).astype(np.float32)
    one, zero = np.ones(3), np.zeros(3)
    shifted = native.run(batch_norm, x + 8192, one, zero)
    np.testing.assert_allclose(shifted[3], x.var(0), rtol=1e-4)
    np.testing.assert_allclose(
        shifted[0], native.run(batch_norm, x, one, zero)[0], atol=2e-3
    )


@pytest.mark.parametrize("channels", [1, 5, 16, 40])
def test_one_value_a_channel_gives_beta(backend, channels):
    x, gamma, beta = normal(1, 1, channels), normal(channels), normal(channels)
    y, _, _, variance = backend.run(batch_norm, x, gamma, beta)
    np.testing.assert_array_equal(y, beta.reshape(1, 1, channels))
    np.testing.assert_array_equal(variance, np.zeros(channels))


def test_empty_batch(backend):
    def run(x, gamma, beta):
        y, mean, _, variance = batch_norm(x, gamma, beta)
        z = layer_norm(x, gamma, beta)
        return [
            y,
            mean,
            variance,
            *grad(y, [gamma, beta], y),
            *grad(z, [gamma, beta], z),
        ]

    y, *others = backend.run(run, np.zeros((0, 4)), np.ones(4), np.ones(4))
    assert y.shape == (0, 4)
    for other in others:
        np.testing.assert_array_equal(other, np.zeros(4))


@pytest.mark.parametrize("channels", range(1, 71, 3))
def test_batch_norm_inference(backend, channels):
    def run(x, gamma, beta, mean, variance, seed):
        y = batch_norm_inference(x, gamma, beta, mean, variance)
        return [y, *grad(y, [x, gamma, beta, mean, variance], seed)]

    x, seed = normal(3, 7, channels), normal(3, 7, channels)
    parameters = [normal(channels) for _ in range(3)]
    operands = (x, *parameters, normal(channels) ** 2 + 0.1, seed)
    backend.check(run, *operands, reduction_length=64, gradients=True)


@pytest.mark.parametrize("activation", ["relu", "relu6", "leaky_relu", "tanh"])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(("rows", "channels"), [(0, 8), (37, 3), (700, 24), (99, 70)])
def test_batch_norm_fused(backend, rows, channels, add, activation):
    def run(x, gamma, beta, other, seed):
        y, mean, *_ = batch_norm(x, gamma, beta)
        y = getattr(ops, activation)(other + y if add else y)
        wanted = [x, gamma, beta, other] if add else [x, gamma, beta]
        return [y, mean, *grad(y, wanted, seed)]

    x, other, seed = (normal(rows, channels) for _ in range(3))
    operands = x, normal(channels), normal(channels), other, seed
    backend.check(run, *operands, reduction_length=16 * (rows + 1), gradients=True)
    if backend.device != "reference":
        steps = {step.op for step in backend.function(run).explain(*operands)}
        assert steps == {"batch_norm", "batch_norm_backward"}


@pytest.mark.parametrize("channels", [3, 40])
def test_batch_norm_inference_fused(backend, channels):
    def run(x, gamma, beta, mean, variance, other):
        y = batch_norm_inference(x, gamma, beta, mean, variance)
        return ops.relu(other + y)

    x, other = normal(9, 7, channels), normal(9, 7, channels)
    parameters = [normal(channels) for _ in range(3)]
    operands = (x, *parameters, normal(channels) ** 2 + 0.1, other)
    backend.check(run, *operands, reduction_length=64)


@settings(max_examples=40)
@given(st.integers(0, 40), st.integers(1, 40), SIZES, st.integers(1, 2))
def test_layer_norm(backend, batch, width, channels, axes):
    def run(x, gamma, beta, seed):
        y = layer_norm(x, gamma, beta, axes)
        return [y, *grad(y, [x, gamma, beta], seed)]

    shape = (batch, width, channels)
    assume(np.prod(shape[-axes:]) > 3)  # the gradient cancels, as above
    x, seed = (RNG.integers(-3, 4, shape).astype(np.float32) for _ in range(2))
    x[..., 0] += np.arange(1, width + 1)  # rows that vary
    parameters = normal(*shape[-axes:]), normal(*shape[-axes:])
    length = 16 * max(batch * width, width * channels, 1)
    backend.check(run, x, *parameters, seed, reduction_length=length, gradients=True)


@settings(max_examples=40)
@given(st.integers(0, 40), SIZES, st.integers(0, 9), st.sampled_from([0.75, 0.5, 1.0]))
def test_local_response_norm(backend, rows, channels, radius, beta):
    def run(x, seed):
        y = local_response_norm(x, radius, 1.5, 0.1, beta)
        return y, grad(y, x, seed)

    x = normal(rows, channels)
    backend.check(run, x, normal(rows, channels), reduction_length=32, gradients=True)


def test_gradients(check_gradient):
    x, gamma, beta = normal(3, 4, 5), normal(5), normal(5)
    check_gradient(batch_norm, x, gamma, beta)
    check_gradient(
        batch_norm_inference, x, gamma, beta, normal(5), normal(5) ** 2 + 0.2
    )
    check_gradient(layer_norm, x, gamma, beta)
    wide = normal(4, 5), normal(4, 5)
    check_gradient(lambda x, g, b: layer_norm(x, g, b, axes=2), x, *wide)
    check_gradient(lambda x: local_response_norm(x, 1, 1.0, 0.3, 0.75), x)


def test_bytes_do_not_depend_on_threads(cpu, threads):
    def run(x, gamma, beta):
        ys = [
            ops.relu(batch_norm(x, gamma, beta)[0]),
            ops.relu(batch_norm(x, gamma, beta)[0] + x),
            layer_norm(x, gamma, beta),
            local_response_norm(x),
        ]
        return [
            *ys,
            *(g for y in ys[:3] for g in grad(y, [x, gamma, beta], y)),
            grad(ys[3], x, x),
        ]

    for channels in (6, 64, 300):
        operands = normal(16, 20, 20, channels), normal(channels), normal(channels)
        threads(lambda operands=operands: cpu.run(run, *operands))


X, ONE = np.zeros((2, 3), np.float32), np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("python", "error", "words"),
    [
        (lambda: batch_norm(X, ONE[:2], ONE), ShapeError, r"gamma of shape \(3,\)"),
        (lambda: batch_norm(X, ONE, ONE, 0), ArgumentError, "epsilon > 0"),
        (lambda: batch_norm(X.astype(np.int64), ONE, ONE), DtypeError, "floating"),
        (
            lambda: batch_norm(X[:, :0], ONE[:0], ONE[:0]),
            ShapeError,
            "at least one channel",
        ),
        (lambda: batch_norm_inference(X, ONE, ONE, ONE, X), ShapeError, "variance"),
        (lambda: layer_norm(X, ONE, ONE, 3), ArgumentError, "axes from 1 to 2"),
        (lambda: layer_norm(X, ONE, ONE, 2), ShapeError, r"\(2, 3\)"),
        (lambda: local_response_norm(X, -1), ArgumentError, "depth_radius"),
        (lambda: local_response_norm(X, 1.5), ArgumentError, "depth_radius"),
        (lambda: local_response_norm(X, bias=0), ArgumentError, "bias > 0"),
        (lambda: local_response_norm(X, alpha=-1), ArgumentError, "alpha"),
    ],
)
def test_errors(python, error, words):
    with pytest.raises(error, match=words):
        python()


def test_against_torch(backend):
    torch = pytest.importorskip("torch")
    x, gamma, beta = normal(6, 5, 9), normal(9), normal(9)
    here = [torch.tensor(a) for a in (x, gamma, beta)]
    functional = torch.nn.functional
    flat = here[0].reshape(30, 9)
    expected = [
        functional.batch_norm(flat, None, None, *here[1:], training=True, eps=1e-3),
        functional.layer_norm(here[0], (9,), *here[1:], eps=1e-3),
        functional.local_response_norm(
            flat[..., None], 5, alpha=5 * 0.2, beta=0.75, k=2.0
        ),
    ]

    def run(x, gamma, beta):
        return [
            batch_norm(x, gamma, beta)[0],
            layer_norm(x, gamma, beta),
            local_response_norm(x, 2, 2.0, 0.2, 0.75),
        ]

    shaped = [e.reshape(x.shape).numpy() for e in expected]
    backend.isclose(backend.run(run, x, gamma, beta), shaped, 64)
