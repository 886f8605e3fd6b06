"""Random numbers: the same bytes everywhere, with the right statistics."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastconv as fc
from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.reference.random import quantile, words

STATE = np.array([1234567890123456789, 42])
DRAWS = {
    "uniform": fc.ops.random_uniform,
    "normal": fc.ops.random_normal,
    "truncated": fc.ops.random_truncated_normal,
    "bernoulli": lambda shape, state, a, b, stream=None: fc.ops.random_bernoulli(
        shape, state, min(abs(a), 1.0), stream
    ),
}


@settings(max_examples=80)
@given(
    st.sampled_from(sorted(DRAWS)),
    st.integers(0, 3000),
    st.floats(-4, 4, width=32),
    st.floats(0, 4, width=32),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**40),
    st.integers(0, 2**32 - 1),
)
def test_the_same_bytes_on_every_backend(backend, kind, size, a, b, seed, step, stream):
    b = a + b if kind == "uniform" else b

    def run(state):
        return DRAWS[kind]((size,), state, a, b, stream=stream)

    state = np.array([seed, step])
    values = backend.run(run, state)[0]
    with fc.device("reference"):
        expected = run(state)
    np.testing.assert_array_equal(values.view(np.int32), expected.view(np.int32))


def test_numbers_follow_from_philox(backend):
    """The formulas of the docstrings, in float64 from the words."""
    word = words(1000, STATE, 3)
    uniform, ones, normal = backend.run(
        lambda s: (
            fc.ops.random_uniform((1000,), s, -2, 6, stream=3),
            fc.ops.random_bernoulli((1000,), s, 0.3, stream=3),
            fc.ops.random_normal((1000,), s, 1.0, 0.5, stream=3),
        ),
        STATE,
    )
    fraction = (word >> np.uint64(8)).astype(float) / 2**24
    np.testing.assert_allclose(uniform, -2 + 8 * fraction, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(ones, fraction < np.float32(0.3))
    p = ((word >> np.uint64(1)).astype(float) + 0.5) / 2**32
    sign = np.where(word & np.uint64(1), -1, 1)
    exact = [-NormalDist().inv_cdf(float(v)) for v in p]
    np.testing.assert_allclose(normal, 1 + 0.5 * sign * exact, rtol=0, atol=2e-6)


def test_quantile_is_that_of_the_normal_distribution():
    p = np.concatenate([2.0 ** -np.arange(1, 34), np.linspace(1e-9, 0.5, 999)])
    p = p.astype(np.float32)
    exact = np.array([-NormalDist().inv_cdf(float(v)) for v in p])
    np.testing.assert_allclose(quantile(p), exact, rtol=5e-7, atol=1e-7)


@pytest.mark.parametrize(
    ("kind", "a", "b", "mean", "deviation", "low", "high"),
    [
        ("uniform", -1.0, 3.0, 1.0, 4 / 12**0.5, -1.0, 3.0),
        ("normal", 2.0, 0.5, 2.0, 0.5, -1.2, 5.2),
        ("truncated", 2.0, 0.5, 2.0, 0.5 * 0.8796256610342398, 1.0, 3.0),
        ("bernoulli", 0.25, 0.0, 0.25, (0.25 * 0.75) ** 0.5, 0.0, 1.0),
    ],
)
def test_statistics(backend, kind, a, b, mean, deviation, low, high):
    size = 400_000
    x = backend.run(lambda s: DRAWS[kind]((size,), s, a, b), STATE)[0].astype(float)
    assert abs(x.mean() - mean) < 4 * deviation / size**0.5
    assert abs(x.std() - deviation) < 4 * deviation / size**0.5
    assert low <= x.min()
    assert x.max() <= high
    centred = (x - mean) / deviation
    assert abs(np.mean(centred[1:] * centred[:-1])) < 4 / size**0.5


def test_uniform_is_half_open(backend):
    """1 - 2^-24 times a width may round to the upper bound, which is not given."""
    x = backend.run(lambda s: fc.ops.random_uniform((9999,), s, 1.0, 1.0000002), STATE)
    assert x[0].max() < np.float32(1.0000002)
    below = backend.run(lambda s: fc.ops.random_uniform((9999,), s, -1.0, -0.0), STATE)
    assert below[0].max() < 0
    same = backend.run(lambda s: fc.ops.random_uniform((3,), s, 5, 5), STATE)
    np.testing.assert_array_equal(same[0], [5, 5, 5])


def test_streams_and_steps_differ(backend):
    def run(state, later):
        return [
            *(fc.ops.random_uniform((50,), state) for _ in range(2)),
            fc.ops.random_uniform((50,), later),
        ]

    draws = backend.run(run, np.array([1, 2]), np.array([1, 3]))
    for i in range(3):
        for j in range(i):
            assert np.mean(draws[i] == draws[j]) < 0.1


def test_no_elements_and_no_gradient(backend):
    empty = backend.run(lambda s: fc.ops.random_normal((0, 3), s), STATE)[0]
    assert empty.shape == (0, 3)
    dx = backend.run(
        lambda x, s: fc.grad(fc.ops.sum(x * fc.ops.random_bernoulli((5,), s, 1.0)), x),
        np.zeros(5), STATE,
    )  # fmt: skip
    np.testing.assert_array_equal(dx[0], np.ones(5))


def test_bad_parameters():
    bad = [
        lambda: fc.ops.random_uniform((2,), STATE, 2, 1),
        lambda: fc.ops.random_uniform((2,), STATE, float("nan"), 1),
        lambda: fc.ops.random_normal((2,), STATE, 0, -1),
        lambda: fc.ops.random_truncated_normal((2,), STATE, 0, -1),
        lambda: fc.ops.random_bernoulli((2,), STATE, 1.5),
    ]
    for call in bad:
        with pytest.raises(ArgumentError, match=r"random_\w+.*received"):
            call()
    with pytest.raises(ShapeError, match="sizes >= 0"):
        fc.ops.random_uniform((-1,), STATE)
    with pytest.raises(ShapeError, match="shape \\(2,\\)"):
        fc.ops.random_uniform((1,), np.array([1, 2, 3]))
    with pytest.raises(DtypeError, match="int64"):
        fc.ops.random_uniform((1,), np.array([1.0, 2.0]))
