"""Dropout: the same mask everywhere, with the right statistics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv.errors import ArgumentError, DtypeError, ShapeError
from fastconv.graph.autodiff import grad
from fastconv.ops.dropout import dropout
from fastconv.reference.random import philox

RANDOM = np.array([1234567890123456789, 42])


def test_philox_gives_the_published_numbers():
    """Known answers of Random123 (kat_vectors) for philox4x32-10."""
    ones = 0xFFFFFFFF
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
    cases = [
        ([0] * 4, (0, 0), "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([ones] * 4, (ones, ones), "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (pi, (0xA4093822, 0x299F31D0), "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ]
    for counter, key, expected in cases:
        words = philox(np.array([counter], np.uint64), key)[0]
        assert " ".join(f"{int(w):08x}" for w in words) == expected


@settings(max_examples=60)
@given(
    st.integers(0, 3000),
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 0.999999]),
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 2**40),
    st.integers(0, 2**32 - 1),
)
def test_the_same_elements_on_every_backend(backend, size, rate, seed, step, stream):
    def run(x, random, dy):
        y = dropout(x, rate, random, stream)
        return y, grad(y, x, dy)

    x, dy = np.arange(1, size + 1), np.arange(size, 0, -1)
    operands = (x.astype(np.float32), np.array([seed, step]), dy.astype(np.float32))
    y, dx = backend.check(run, *operands, reduction_length=1)
    np.testing.assert_array_equal(y != 0, dx != 0)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.8])
def test_statistics(backend, rate):
    size = 400_000
    y = backend.run(lambda x, r: dropout(x, rate, r), np.ones(size), RANDOM)[0]
    kept = np.count_nonzero(y) / size
    assert abs(kept - (1 - rate)) < 4 * (rate * (1 - rate) / size) ** 0.5
    assert set(np.unique(y)) == {0, np.float32(1) / (np.float32(1) - np.float32(rate))}
    neighbours = np.mean((y[1:] != 0) & (y[:-1] != 0))
    assert abs(neighbours - (1 - rate) ** 2) < 0.005


def test_steps_seeds_and_streams_differ(backend):
    def run(x, *randoms):
        return [
            *(dropout(x, 0.5, r, 0) for r in randoms),
            dropout(x, 0.5, randoms[0], 1),
        ]

    randoms = [
        np.array([seed, step]) for seed, step in [(1, 1), (1, 2), (2, 1), (2**40, 1)]
    ]
    masks = backend.run(run, np.ones(4096), *randoms)
    for i, a in enumerate(masks):
        for b in masks[:i]:
            assert abs(np.mean((a != 0) == (b != 0)) - 0.5) < 0.05


def test_dropouts_of_one_function_have_streams_of_their_own(backend):
    a, b = backend.run(
        lambda x, r: (dropout(x, 0.5, r), dropout(x, 0.5, r)), np.ones(256), RANDOM
    )
    assert (a != b).any()


def test_dropped_nan_is_zero(backend):
    y = backend.run(lambda x, r: dropout(x, 0.5, r), np.full(256, np.nan), RANDOM)[0]
    assert 64 < np.count_nonzero(np.isnan(y)) < 192
    assert np.count_nonzero(y == 0) == 256 - np.count_nonzero(np.isnan(y))


def test_bytes_do_not_depend_on_threads(cpu, threads):
    threads(lambda: cpu.run(lambda x, r: dropout(x, 0.3, r), np.ones(200_001), RANDOM))


def test_gradient(check_gradient):
    check_gradient(lambda x: dropout(x, 0.4, RANDOM, 3), np.linspace(-1, 1, 37))


X = np.ones(4, np.float32)


@pytest.mark.parametrize(
    ("python", "error", "words"),
    [
        (lambda: dropout(X, 1.0, RANDOM), ArgumentError, "rate < 1"),
        (lambda: dropout(X, -0.1, RANDOM), ArgumentError, "0 <= rate"),
        (lambda: dropout(X, 1 - 1e-12, RANDOM), ArgumentError, "float32"),
        (lambda: dropout(X, "half", RANDOM), ArgumentError, "rate"),
        (lambda: dropout(X, 0.5, RANDOM[:1]), ShapeError, r"\(2,\)"),
        (lambda: dropout(X, 0.5, X[:2]), DtypeError, "int64"),
        (lambda: dropout(RANDOM, 0.5, RANDOM), DtypeError, "floating"),
    ],
)
def test_errors(python, error, words):
    with pytest.raises(error, match=words):
        python()
