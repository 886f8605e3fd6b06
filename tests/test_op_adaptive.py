"""RMSprop, Adagrad, Adadelta, Adam, Adamax and Lion: one update of a block."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconv import ops
from fastconv.errors import DtypeError, ShapeError
from fastconv.graph.variable import Variable

RNG = np.random.default_rng(0)

# Op, its scalars, its slots (which must not be negative).
CASES = {
    "rmsprop": (ops.rmsprop, [0.1, 0.01, 0.9, 0.1, 1e-3, 0.0], "v"),
    "rmsprop_momentum": (ops.rmsprop, [0.1, 0.0, 0.9, 0.1, 1e-3, 0.8], "vm"),
    "adagrad": (ops.adagrad, [0.1, 0.02, 1e-3], "v"),
    "adadelta": (ops.adadelta, [0.5, 0.01, 0.9, 0.1, 1e-3], "vv"),
    "adam": (ops.adam, [0.1, 0.01, 0.02, 0.1, 0.05, 1.5, 1e-3], "mv"),
    "amsgrad": (ops.adam, [0.1, 0.0, 0.0, 0.1, 0.05, 1.0, 1e-3], "mvv"),
    "adamax": (ops.adamax, [0.1, 0.01, 0.1, 0.9, 1e-3], "mv"),
    "lion": (ops.lion, [0.1, 0.01, 0.9, 0.1, 0.75, 0.25], "m"),
}


def operands(name, size):
    _, hyper, slots = CASES[name]
    draw = [RNG.standard_normal(size).astype(np.float32) for _ in "wg" + slots]
    signed = [
        np.abs(d) if s == "v" else d for d, s in zip(draw, "wg" + slots, strict=True)
    ]
    return [*signed[:2], np.array(hyper, np.float32), *signed[2:]]


@pytest.mark.parametrize("name", CASES)
@settings(max_examples=15)
@given(size=st.integers(0, 3000))
def test_against_the_reference(backend, name, size):
    backend.check(CASES[name][0], *operands(name, size), reduction_length=1)


@pytest.mark.parametrize("momentum", [False, True])
def test_centered(backend, momentum):
    w, g, hyper, v, m = operands("rmsprop_momentum", 1001)
    average = 0.1 * m

    def run(w, g, hyper, v, m, average):
        return ops.rmsprop(w, g, hyper, v, m if momentum else None, average)

    hyper[4] = 0.1
    backend.check(run, w, g, hyper, v + 1, m, average, reduction_length=1)


def test_centered_spread_is_never_negative(backend):
    """A constant gradient: v - mean^2 is 0 up to rounding, and its root no NaN."""
    g = RNG.uniform(1, 2, 500).astype(np.float32)
    hyper = np.array([0.1, 0, 0.9, 0.1, 1e-12, 0], np.float32)

    def run(g, hyper, v):
        return ops.rmsprop(g, g, hyper, v, None, g)

    assert np.isfinite(backend.run(run, g, hyper, g * g)[0]).all()


def test_lion_stands_still_at_zero_and_keeps_nan(backend):
    g = np.array([0.0, np.nan, -2.0], np.float32)
    hyper = np.array([0.5, 0, 0.5, 0.5, 0.5, 0.5], np.float32)
    new = backend.run(ops.lion, np.ones(3), g, hyper, np.zeros(3))[0]
    np.testing.assert_array_equal(new, [1.0, np.nan, 1.5])


@pytest.mark.parametrize("name", CASES)
def test_variables_are_updated_in_place(cpu, name):
    op, _, names = CASES[name]
    w, g, hyper, *slots = operands(name, 77)
    weights, variables = (
        Variable(w),
        [Variable(s, f"s{i}") for i, s in enumerate(slots)],
    )

    def step(g, hyper):
        new, *states = op(weights, g, hyper, *variables)
        weights.assign(new)
        for variable, state in zip(variables, states, strict=True):
            variable.assign(state)
        return ops.sum(g)

    function = cpu.function(step)
    expected = cpu.run(op, w, g, hyper, *slots)
    function(g, hyper)
    for variable, e in zip([weights, *variables], expected, strict=True):
        np.testing.assert_array_equal(variable.value, e)
    assert [line.op for line in function.explain(g, hyper)].count("copy") == 0
    assert len(names) == len(variables)


@pytest.mark.parametrize("name", CASES)
def test_bytes_do_not_depend_on_threads(cpu, threads, name):
    arrays = operands(name, 100_003)
    threads(lambda: cpu.run(CASES[name][0], *arrays))


W = np.ones(3, np.float32)


@pytest.mark.parametrize(
    ("python", "error", "words"),
    [
        (lambda: ops.adam(W, W[:2], np.ones(7), W, W), ShapeError, "gradients"),
        (lambda: ops.adam(W, W, W, W, W), ShapeError, "hyper"),
        (lambda: ops.adagrad(W, W, W, W[:2]), ShapeError, "accumulator"),
        (lambda: ops.lion(W, W.astype(np.int64), np.ones(6), W), DtypeError, "grad"),
    ],
)
def test_errors(python, error, words):
    with pytest.raises(error, match=words):
        python()
