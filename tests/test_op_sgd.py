"""Stochastic gradient descent."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv.errors import DtypeError, ShapeError
from fastconv.graph.variable import Variable
from fastconv.ops.sgd import sgd

RNG = np.random.default_rng(0)


def integers(size):
    return RNG.integers(-8, 9, size).astype(np.float32)


@settings(max_examples=40)
@given(st.integers(0, 3000), st.booleans())
def test_sgd_is_exact(backend, size, nesterov):
    def run(weights, gradients, hyper, velocity):
        plain = sgd(weights, gradients, hyper)
        return [plain, *sgd(weights, gradients, hyper, velocity, nesterov)]

    hyper = np.array([0.25, 0.5], np.float32)
    backend.check(run, integers(size), integers(size), hyper, integers(size))


def test_formulas(backend):
    operands = [np.array([v]) for v in (1.0, 2.0)] + [
        np.array([0.5, 0.25]),
        np.array([4.0]),
    ]
    both = [
        backend.run(lambda *a, n=n: sgd(*a, nesterov=n), *operands)
        for n in (False, True)
    ]
    np.testing.assert_array_equal(both, [[[1.0], [0.0]], [[0.0], [0.0]]])


def test_variables_are_updated_in_place(backend):
    weights, velocity = Variable(np.ones((3, 5)), "w"), Variable(np.zeros((3, 5)), "v")

    def step(gradients, hyper):
        w, v = sgd(weights, gradients, hyper, velocity)
        weights.assign(w)
        velocity.assign(v)
        return gradients

    run = backend.function(step)
    for _ in range(2):
        run(np.ones((3, 5), np.float32), np.array([0.5, 0.5], np.float32))
    np.testing.assert_array_equal(velocity.value, np.full((3, 5), -0.75))
    np.testing.assert_array_equal(weights.value, np.full((3, 5), -0.25))


def test_bytes_do_not_depend_on_threads(cpu, threads):
    operands = [RNG.standard_normal(100_003).astype(np.float32) for _ in range(3)]
    hyper = np.array([0.1, 0.9], np.float32)
    threads(lambda: cpu.run(lambda w, g, v, h: sgd(w, g, h, v, True), *operands, hyper))


W, H = np.ones(3, np.float32), np.ones(2, np.float32)


@pytest.mark.parametrize(
    ("python", "error", "words"),
    [
        (lambda: sgd(W, W[:2], H), ShapeError, "gradients"),
        (lambda: sgd(W, W, W), ShapeError, "hyper"),
        (lambda: sgd(W, W, H, H), ShapeError, "velocity"),
        (lambda: sgd(W, W.astype(np.int64), H), DtypeError, "gradients"),
    ],
)
def test_errors(python, error, words):
    with pytest.raises(error, match=words):
        python()
