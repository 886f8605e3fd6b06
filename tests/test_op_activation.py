"""Activations and softmax, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv import ops
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.graph.autodiff import grad

RNG = np.random.default_rng(0)
BY_COMPARISON = {
    "relu": ops.relu,
    "relu6": ops.relu6,
    "leaky_relu": lambda x: ops.leaky_relu(x, 0.5),
    "leaky_relu_0": lambda x: ops.leaky_relu(x, 0),
    "hard_tanh": ops.hard_tanh,
    "threshold": ops.threshold,
    "sign": ops.sign_ste,
}
SMOOTH = {
    "elu": lambda x: ops.elu(x, 1.5),
    "selu": ops.selu,
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "hard_sigmoid": ops.hard_sigmoid,
    "gaussian": ops.gaussian,
    "softplus": ops.softplus,
    "softsign": ops.softsign,
    "swish": ops.swish,
    "gelu": lambda x: ops.gelu(x, approximate=False),
    "gelu_tanh": ops.gelu,
}
ALL = BY_COMPARISON | SMOOTH
STEPS = ("threshold", "sign")


def with_gradient(f):
    def run(x, dy):
        y = f(x)
        return y, grad(y, x, dy)

    return run


def whole(*shape):
    return RNG.integers(-8, 9, shape).astype(np.float32)


def normal(*shape):
    return (3 * RNG.standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("name", BY_COMPARISON)
@pytest.mark.parametrize("shape", [(), (1,), (7, 13), (0, 5), (3, 5, 7, 11), (40000,)])
def test_exact_on_whole_numbers(backend, name, shape):
    backend.check(with_gradient(BY_COMPARISON[name]), whole(*shape), whole(*shape))


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("size", [0, 1, 5, 16, 31, 40003])
def test_smooth(backend, name, size):
    """Within [-2, 2]: further out 1 - y^2 has few digits left, in any float32."""
    x, dy = (RNG.uniform(low, 2, size).astype(np.float32) for low in (-2, 1))
    backend.check(
        with_gradient(SMOOTH[name]), x, dy, reduction_length=1, gradients=True
    )


@pytest.mark.parametrize("name", SMOOTH)
def test_accuracy_of_each_value(backend, reference, name):
    """Relative to the value itself (gelu cancels far below 0: relative to 1 there)."""
    x = np.linspace(-12, 12, 20011).astype(np.float32)
    y = backend.run(SMOOTH[name], x)[0]
    exact = reference(SMOOTH[name], x)[0]
    floor = 1e-6 if name.startswith("gelu") else 1e-30
    np.testing.assert_allclose(y, exact, rtol=2e-6, atol=floor)


@pytest.mark.parametrize("name", ALL)
def test_gradient(check_gradient, name):
    if name in STEPS:
        pytest.skip("the straight-through gradient is no derivative")
    x = RNG.uniform(0.05, 0.9, (4, 9)) * RNG.choice([-1, 1, 5, -7], (4, 9))
    check_gradient(ALL[name], x)


@pytest.mark.parametrize("name", STEPS)
def test_straight_through_gradient(backend, name):
    x = np.array([-2, -1.01, -1, -0.5, 0, 0.5, 1, 1.01, 2], np.float32)
    dy = np.arange(1, 10, dtype=np.float32)
    dx = backend.run(with_gradient(ALL[name]), x, dy)[1]
    np.testing.assert_array_equal(dx, [0, 0, 3, 4, 5, 6, 7, 0, 0])


@pytest.mark.parametrize("name", ALL)
def test_nan_is_handed_on(backend, name):
    x = np.array([1, np.nan, -1] * 9, np.float32)
    y = backend.run(ALL[name], x)[0]
    np.testing.assert_array_equal(np.isnan(y), np.isnan(x))


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("relu", 0, np.inf), ("relu6", 0, 6), ("leaky_relu", -np.inf, np.inf),
        ("elu", -1.5, np.inf), ("sigmoid", 0, 1), ("tanh", -1, 1),
        ("hard_sigmoid", 0, 1), ("hard_tanh", -1, 1), ("gaussian", 0, 0),
        ("softplus", 0, np.inf), ("threshold", 0, 1), ("sign", -1, 1),
    ],
)  # fmt: skip
def test_limits_at_infinity(backend, name, low, high):
    y = backend.run(ALL[name], np.array([-np.inf, np.inf], np.float32))[0]
    np.testing.assert_array_equal(y, [low, high])


def test_large_arguments_do_not_overflow(backend):
    x = np.array([-1e4, -100, 100, 1e4], np.float32)
    y = backend.run(lambda x: [ops.softplus(x), ops.swish(x), ops.gelu(x)], x)
    for values in y:
        np.testing.assert_allclose(values, np.maximum(x, 0), atol=1e-30)


@given(st.integers(0, 40), st.integers(1, 70))
def test_softmax(backend, rows, length):
    operands = normal(rows, length), normal(rows, length)
    backend.check(with_gradient(ops.softmax), *operands, reduction_length=length)


@pytest.mark.parametrize("length", [10, 16, 17, 1000])
def test_softmax_rows(backend, length):
    y = backend.run(ops.softmax, 5 * normal(203, length))[0]
    np.testing.assert_allclose(y.sum(axis=-1, dtype=np.float64), 1, rtol=1e-6)


def test_softmax_of_large_values(backend):
    x = np.array([[1000, 0, -1000], [-1000, -1000, -1000], [3e38, 0, 0]], np.float32)
    y = backend.run(ops.softmax, x)[0]
    np.testing.assert_allclose(y, [[1, 0, 0], [1 / 3] * 3, [1, 0, 0]], rtol=1e-6)


def test_softmax_hands_nan_on_within_its_row(backend):
    x = np.array([[1, np.nan, 2], [1, 2, 3]], np.float32)
    y = backend.run(ops.softmax, x)[0]
    assert np.isnan(y[0]).all()
    assert np.isfinite(y[1]).all()


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
@pytest.mark.parametrize("f", [ops.softmax, ops.log_softmax])
def test_softmax_axes(backend, f, axis):
    operands = normal(3, 5, 7), normal(3, 5, 7)
    backend.check(
        with_gradient(lambda x: f(x, axis=axis)), *operands,
        reduction_length=7, gradients=True,
    )  # fmt: skip


@pytest.mark.parametrize("f", [ops.softmax, ops.log_softmax])
def test_softmax_gradient(check_gradient, f):
    check_gradient(f, normal(4, 6))
    check_gradient(lambda x: f(x, axis=0), normal(4, 6))


@pytest.mark.parametrize("name", [name for name in ALL if name not in STEPS])
def test_second_gradient(check_gradient, name):
    def first(x, dy):
        return grad(ALL[name](x), x, dy)

    x = RNG.uniform(0.05, 0.9, (4, 9)) * RNG.choice([-1, 1, 3, -3], (4, 9))
    check_gradient(first, x, normal(4, 9))


def test_second_gradient_of_softmax(check_gradient):
    def first(x):
        y = ops.softmax(x)
        return grad(ops.sum(y * y * y), x)

    check_gradient(first, normal(3, 5))


def test_same_bytes_for_every_number_of_threads(cpu, threads):
    x = normal(301, 257)
    threads(lambda: cpu.run(lambda x: [ops.gelu(x), ops.softmax(x)], x))


def test_torch_agrees(backend):
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    x, dy = normal(5, 33), normal(5, 33)
    peers = {
        "elu": lambda t: f.elu(t, 1.5), "selu": f.selu, "sigmoid": f.sigmoid,
        "tanh": torch.tanh, "hard_sigmoid": f.hardsigmoid, "softplus": f.softplus,
        "softsign": f.softsign, "swish": f.silu, "gelu": f.gelu,
        "gelu_tanh": lambda t: f.gelu(t, approximate="tanh"), "relu6": f.relu6,
    }  # fmt: skip
    for name, peer in peers.items():
        t = torch.tensor(x, requires_grad=True)
        y = peer(t)
        y.backward(torch.tensor(dy))
        ours = backend.run(with_gradient(ALL[name]), x, dy)
        backend.isclose(ours, [y.detach().numpy(), t.grad.numpy()], gradients=True)


def test_wrong_arguments():
    x = np.zeros((2, 3), np.float32)
    with pytest.raises(DtypeError, match=r"relu: expected floating.*int64"):
        ops.relu(np.arange(3))
    with pytest.raises(ArgumentError, match="negative_slope >= 0"):
        ops.leaky_relu(x, -1)
    with pytest.raises(ArgumentError, match="alpha >= 0"):
        ops.elu(x, -1)
    with pytest.raises(ArgumentError, match="axis from -2 to 1"):
        ops.softmax(x, axis=2)
    with pytest.raises(ShapeError, match="at least 1 element"):
        ops.softmax(np.zeros((2, 0), np.float32))
