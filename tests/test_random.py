"""fastconv.random: seeds, generators of seeds, Keras's functions."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError


def test_an_integer_seed_repeats():
    a, b = (fc.random.normal((100,), seed=3) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert np.any(a != fc.random.normal((100,), seed=4))


def test_the_global_generator_follows_set_seed():
    def draw():
        fc.random.set_seed(5)
        return [fc.random.uniform((20,)) for _ in range(2)]

    (a, b), (c, d) = draw(), draw()
    fc.random.set_seed(0)
    np.testing.assert_array_equal(a, c)
    np.testing.assert_array_equal(b, d)
    assert np.any(a != b)


def test_a_generator_goes_on_in_traced_functions():
    """A plan draws what calls on arrays draw, one step after the other."""

    def steps(draw):
        return [np.asarray(draw()) for _ in range(4)]

    seeds = fc.random.SeedGenerator(9)
    eager = steps(lambda: fc.random.uniform((8,), seed=seeds))
    seeds = fc.random.SeedGenerator.from_config(seeds.get_config())
    two = fc.function(lambda: [fc.random.uniform((8,), seed=seeds) for _ in range(2)])
    traced = [*two(), *two()]
    np.testing.assert_array_equal(eager, traced)


def test_distributions():
    size = (100, 100)
    assert abs(fc.random.uniform(size, 2, 4, seed=1).mean() - 3) < 0.03
    assert abs(fc.random.normal(size, 2, 4, seed=1).std() - 4) < 0.15
    assert abs(fc.random.truncated_normal(size, 1, 0.5, seed=1) - 1).max() <= 1
    assert abs(fc.random.bernoulli(size, 0.2, seed=1).mean() - 0.2) < 0.02
    whole = fc.random.randint(size, -2, 3, seed=1)
    assert whole.dtype == np.int32
    values, counts = np.unique(whole, return_counts=True)
    assert values.tolist() == [-2, -1, 0, 1, 2]
    assert abs(counts / 1e4 - 0.2).max() < 0.02
    assert fc.random.uniform(size, dtype="float64", seed=1).dtype == np.float64


def test_dropout():
    x = np.ones((50, 40), np.float32)
    y = fc.random.dropout(x, 0.5, seed=1)
    assert set(np.unique(y)) == {0, 2}
    shared = fc.random.dropout(x, 0.5, noise_shape=(50, 1), seed=1)
    np.testing.assert_array_equal(shared, np.repeat(shared[:, :1], 40, axis=1))


def test_bad_seeds():
    for seed in (-1, 1.5, "one", 2**63):
        with pytest.raises(ArgumentError, match="seed"):
            fc.random.normal((1,), seed=seed)
        with pytest.raises(ArgumentError, match="seed"):
            fc.random.SeedGenerator(seed)
    with pytest.raises(ArgumentError, match="randint"):
        fc.random.randint((1,), 3, 3)
