"""The embedded digits and their scaling."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv.data import digits
from fastconv.data.resize import resize_bilinear
from fastconv.errors import ArgumentError


def test_raw():
    images, labels = digits.load_raw()
    assert images.shape == (1797, 8, 8)
    assert images.dtype == np.uint8
    assert images.max() == 16
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(labels).tolist() == counts
    # First line of the file of the source.
    assert images[0, 0].tolist() == [0, 0, 5, 13, 9, 1, 0, 0]
    assert labels[0] == 0


def test_split():
    (x_train, y_train), (x_test, y_test) = digits.load_data()
    assert x_train.shape == (1438, 32, 32, 1)
    assert x_test.shape == (359, 32, 32, 1)
    assert x_train.dtype == np.uint8
    assert y_train.dtype == np.int64
    assert x_train.max() == 255
    share = np.bincount(y_test) / np.bincount(np.append(y_train, y_test))
    assert abs(share - 0.2).max() < 0.006


def test_the_same_seed_gives_the_same_split():
    first, again, other = (digits.load_data(8, seed=seed) for seed in (0, 0, 1))
    assert (first[0][1] == again[0][1]).all()
    assert (first[0][0] == again[0][0]).all()
    assert not (first[0][1] == other[0][1]).all()


def test_at_its_own_size_nothing_is_lost():
    (x_train, _), (x_test, _) = digits.load_data(8)
    values = np.append(x_train, x_test)
    assert set(values.tolist()) == {round(v * 255 / 16) for v in range(17)}


@pytest.mark.parametrize("arguments", [{"size": 0}, {"test_fraction": 1}, {"seed": -1}])
def test_bad_arguments(arguments):
    with pytest.raises(ArgumentError):
        digits.load_data(**arguments)


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 40), st.integers(1, 40))
def test_resize_keeps_range_and_constants(h, w, height, width):
    images = np.random.default_rng(h * w).random((2, h, w))
    images[1] = 0.25
    out = resize_bilinear(images, height, width)
    assert out.shape == (2, height, width)
    assert out.min() >= images.min() - 1e-6
    assert out.max() <= images.max() + 1e-6
    assert np.allclose(out[1], 0.25)


def test_resize_halves_by_the_triangle_filter():
    ramp = np.arange(8.0).reshape(1, 1, 8)
    out = resize_bilinear(ramp, 1, 4)[0, 0]
    # Weights 1 3 3 1 inside; at the border the missing one is shared out.
    np.testing.assert_allclose(out, [5 / 7, 2.5, 4.5, 44 / 7], rtol=1e-6)


def test_resize_agrees_with_pillow():
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(0).random((13, 9)).astype(np.float32)
    for height, width in ((13, 9), (32, 32), (5, 4), (7, 20)):
        expected = image.fromarray(pixels).resize((width, height), 2)
        ours = resize_bilinear(pixels[None], height, width)[0]
        np.testing.assert_allclose(ours, np.asarray(expected), atol=1e-5)
