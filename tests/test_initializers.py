"""Initial weights: distribution, fans, seeds, names."""

import json
from math import sqrt

import numpy as np
import pytest

import fastconv as fc
from fastconv import errors, initializers

SHAPE = (5, 5, 40, 60)
FAN_IN, FAN_OUT = 1000, 1500

# name -> variance, and the largest value where there is one
RANDOM = {
    "random_normal": (0.05**2, None),
    "random_uniform": (0.05**2 / 3, 0.05),
    "truncated_normal": ((0.05 * 0.87962566) ** 2, 0.1),
    "glorot_uniform": (2 / (FAN_IN + FAN_OUT), sqrt(6 / (FAN_IN + FAN_OUT))),
    "glorot_normal": (2 / (FAN_IN + FAN_OUT), None),
    "he_uniform": (2 / FAN_IN, sqrt(6 / FAN_IN)),
    "he_normal": (2 / FAN_IN, 2 * sqrt(2 / FAN_IN) / 0.87962566),
    "lecun_uniform": (1 / FAN_IN, sqrt(3 / FAN_IN)),
    "lecun_normal": (1 / FAN_IN, 2 * sqrt(1 / FAN_IN) / 0.87962566),
    "variance_scaling": (1 / FAN_IN, None),
}


@pytest.mark.parametrize("name", RANDOM)
def test_moments(name):
    variance, largest = RANDOM[name]
    values = initializers.get(name)(SHAPE)
    assert values.shape == SHAPE
    assert values.dtype == np.float32
    assert abs(values.mean()) < 0.02 * sqrt(variance)
    assert values.var() == pytest.approx(variance, rel=0.02)
    if largest is not None:
        assert 0.97 * largest < np.abs(values).max() <= largest * 1.000001


def test_constants():
    np.testing.assert_array_equal(initializers.get("zeros")((2,)), [0, 0])
    np.testing.assert_array_equal(initializers.get("ones")((2,)), [1, 1])
    np.testing.assert_array_equal(
        initializers.Constant([1, 2])((2, 2)), [[1, 2], [1, 2]]
    )


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((), (1, 1)), ((7,), (7, 7)), ((3, 4), (3, 4)), ((3, 2, 5, 7), (30, 42))],
)
def test_fans(shape, expected):
    assert initializers.fans(shape) == expected


@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize(
    "distribution", ["uniform", "truncated_normal", "untruncated_normal"]
)
def test_variance_scaling(mode, distribution):
    n = {"fan_in": FAN_IN, "fan_out": FAN_OUT, "fan_avg": 1250}[mode]
    values = initializers.VarianceScaling(3.0, mode, distribution)(SHAPE)
    assert values.var() == pytest.approx(3 / n, rel=0.02)


def test_the_global_seed_decides():
    made = []
    for seed in (1, 1, 2):
        fc.random.set_seed(seed)
        made.append([initializers.get("he_normal")((9,)) for _ in range(2)])
    fc.random.set_seed(0)
    np.testing.assert_array_equal(made[0], made[1])
    assert (made[0][0] != made[0][1]).all()
    assert (made[0][0] != made[2][0]).all()


def test_a_seed_of_its_own_repeats():
    draw = initializers.HeNormal(seed=3)
    np.testing.assert_array_equal(draw((9,)), draw((9,)))


@pytest.mark.parametrize("name", [*RANDOM, "zeros", "ones", "constant"])
def test_config_round_trip(name):
    first = initializers.get(name)
    config = json.loads(json.dumps(initializers.serialize(first)))
    again = initializers.get(config)
    assert type(again) is type(first)
    assert again.get_config() == first.get_config()


def test_what_get_takes():
    assert isinstance(initializers.get("HeNormal"), initializers.HeNormal)
    assert isinstance(initializers.get(initializers.HeNormal), initializers.HeNormal)
    assert isinstance(initializers.get("uniform"), initializers.RandomUniform)
    assert initializers.get(np.zeros) is np.zeros


def test_errors():
    with pytest.raises(errors.UnknownNameError, match=r"'glorot'.*glorot_"):
        initializers.get("glorot")
    with pytest.raises(errors.ArgumentError, match="received 3"):
        initializers.get(3)
    with pytest.raises(errors.ArgumentError, match="scale > 0"):
        initializers.VarianceScaling(0)
    with pytest.raises(errors.UnknownNameError, match="mode 'fan'"):
        initializers.VarianceScaling(1, "fan")
    with pytest.raises(errors.UnknownNameError, match="distribution 'gauss'"):
        initializers.VarianceScaling(1, "fan_in", "gauss")
    with pytest.raises(errors.ArgumentError, match="seed"):
        initializers.HeNormal(seed=-1)


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (3, 3, 5, 7), (2, 1, 40)])
def test_orthogonal(shape):
    draw = initializers.Orthogonal(2.0, seed=5)
    values = draw(shape)
    flat = values.reshape(-1, shape[-1]).astype(float) / 2
    product = flat.T @ flat if flat.shape[0] >= flat.shape[1] else flat @ flat.T
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-6)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, draw(shape))


def test_orthogonal_has_no_preferred_sign():
    """With the signs of R's diagonal, Q is uniform: its first element has mean 0."""
    first = [initializers.Orthogonal(seed=i)((3, 3))[0, 0] for i in range(600)]
    assert abs(np.mean(first)) < 0.1
    assert np.var(first) == pytest.approx(1 / 3, rel=0.15)


def test_identity():
    expected = [[3, 0, 0], [0, 3, 0]]
    np.testing.assert_array_equal(initializers.Identity(3.0)((2, 3)), expected)
    dense = fc.layers.Dense(3, kernel_initializer="identity")
    np.testing.assert_array_equal(dense(np.eye(3)), np.eye(3))
    with pytest.raises(errors.ArgumentError, match="two axes"):
        initializers.Identity()((3, 3, 2, 2))
    with pytest.raises(errors.ArgumentError, match="two or more axes"):
        initializers.Orthogonal()((3,))


def test_keras_names():
    for name in ("OrthogonalInitializer", "IdentityInitializer", "lecun_uniform"):
        made = initializers.get(name)
        again = initializers.deserialize(initializers.serialize(made))
        assert again.get_config() == made.get_config()
