"""Images whose values change: against NumPy, Python's colorsys, and Pillow."""

from __future__ import annotations

import colorsys

import numpy as np
import pytest

from fastconv import layers
from fastconv.data.augmented import Pipeline
from fastconv.errors import ArgumentError
from fastconv.layers.augmentation import drawn
from test_augment_geometry import SIZES, Step, images

RANGES = [(0.0, 255.0), (-1.0, 1.0)]


def spread(size, limits, seed=0):
    low, high = limits
    return images(2, *size, dtype="uint8", seed=seed) / np.float32(255) * (
        high - low
    ) + np.float32(low)


def close(layer, x, expected, atol=1e-4):
    span = float(np.ptp(layer.value_range)) if hasattr(layer, "value_range") else 1
    np.testing.assert_allclose(Pipeline([layer])(x), expected, rtol=0, atol=atol * span)


@pytest.mark.parametrize("limits", RANGES)
@pytest.mark.parametrize("size", SIZES)
def test_brightness_contrast_and_negative(size, limits):
    low, high = limits
    x = spread(size, limits).astype(np.float32)
    bright = np.clip(x + 0.3 * (high - low), low, high)
    close(layers.RandomBrightness((0.3, 0.3), limits), x, bright)
    mean = x.astype(np.float64).mean((1, 2), keepdims=True)
    close(
        Fixed("contrast", 0.6, limits), x, np.clip(mean + 1.6 * (x - mean), low, high)
    )
    close(layers.RandomInvert((1, 1), limits), x, low + high - x)
    close(Fixed("multiply", -0.4, limits), x, low + 0.6 * (x - low))


class Fixed(Step):
    """One native step with one factor."""

    def __init__(self, kind, factor, limits, **fields):
        super().__init__(drawn(kind, (factor, factor), range=limits, **fields))
        self.value_range = limits


def in_hsv(x, limits, change):
    """``change`` of the colours as (h, s, v) in [0, 1], by Python's colorsys."""
    low, high = limits
    y = x.astype(np.float64)
    for place in np.ndindex(x.shape[:3]):
        if x.shape[3] >= 3:
            scaled = (y[place][:3] - low) / (high - low)
            rgb = colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*scaled)))
            y[place][:3] = np.array(rgb) * (high - low) + low
    return y


@pytest.mark.parametrize("limits", RANGES)
@pytest.mark.parametrize("size", SIZES)
def test_saturation_hue_and_grey(size, limits):
    x = spread(size, limits).astype(np.float32)
    for factor in (0.0, 0.25, 0.5, 0.75, 1.0):
        ratio = factor / max(1 - factor, 1e-7)
        expected = in_hsv(x, limits, lambda h, s, v, r=ratio: (h, min(1, s * r), v))
        close(layers.RandomSaturation((factor, factor), limits), x, expected)
    for factor in (-1.0, -0.3, 0.0, 0.2, 0.9):
        expected = in_hsv(x, limits, lambda h, s, v, f=factor: ((h + f / 2) % 1, s, v))
        close(Fixed("hue", factor, limits), x, expected)
    expected = x.copy()
    if size[2] >= 3:
        expected[..., :3] = (x[..., :3] @ np.array([0.299, 0.587, 0.114]))[..., None]
    close(layers.RandomGrayscale(1.0, limits), x, expected)


def test_hue_goes_both_ways():
    x = np.tile(np.array([200, 100, 0], np.float32), (30, 1, 1, 1))
    y = Pipeline([layers.RandomHue((0.5, 0.5))])(x).reshape(30, 3)
    assert len(np.unique(y.round(2), axis=0)) == 2


def test_jitter_is_its_parts_in_order():
    x = spread((6, 5, 3), (0, 1)).astype(np.float32)
    jitter = layers.RandomColorJitter((0, 1), (0.1, 0.1), None, (0.3, 0.3), None)
    parts = [layers.RandomBrightness((0.1, 0.1), (0, 1)),
             layers.RandomSaturation((0.3, 0.3), (0, 1))]  # fmt: skip
    np.testing.assert_array_equal(Pipeline([jitter])(x), Pipeline(parts)(x))


@pytest.mark.parametrize("limits", RANGES)
@pytest.mark.parametrize("kernel", [(1, 1), (3, 3), (5, 3), (1, 7)])
@pytest.mark.parametrize("size", SIZES)
def test_blur(size, kernel, limits):
    x = spread(size, limits).astype(np.float32)
    sigma = 0.8
    taps = [np.exp(-((np.arange(k) - k // 2) ** 2) / (2 * sigma**2)) for k in kernel]
    weights = np.outer(taps[0] / taps[0].sum(), taps[1] / taps[1].sum())
    border = ((0, 0), *((k // 2, k // 2) for k in kernel), (0, 0))
    wide = np.pad(x.astype(np.float64), border, "reflect")
    h, w = size[:2]
    expected = sum(
        weights[i, j] * wide[:, i : i + h, j : j + w]
        for i in range(kernel[0]) for j in range(kernel[1])
    )  # fmt: skip
    close(layers.RandomGaussianBlur((1, 1), kernel, (sigma, sigma)), x, expected)


def test_noise_is_normal_and_independent():
    x = np.zeros((8, 50, 51, 3), np.float32)
    y = Pipeline([layers.RandomGaussianNoise(2.0)])(x) / 2
    n = y.size
    assert abs(y.mean()) < 5 / n**0.5
    assert abs(y.var() - 1) < 5 * (2 / n) ** 0.5
    assert abs((y**3).mean()) < 5 * (15 / n) ** 0.5
    assert abs((y**4).mean() - 3) < 5 * (96 / n) ** 0.5
    flat = y.reshape(8, -1)
    for shift in (1, 2, 3, 4):
        assert abs((flat[:, shift:] * flat[:, :-shift]).mean()) < 5 / n**0.5
    assert abs((flat[1:] * flat[:-1]).mean()) < 5 / n**0.5


@pytest.mark.parametrize("size", [(1, 1, 1), (9, 12, 3), (7, 4, 4)])
@pytest.mark.parametrize("fill", [None, 7.0])
def test_erasing_is_a_box(size, fill):
    x = np.full((60, *size), -5, np.float32)
    made = layers.RandomErasing((1, 1), (0.25, 0.64), fill, value_range=(0, 1))
    y = Pipeline([made])(x)
    places = set()
    for image in y:
        erased = (image != -5).all(-1)
        assert ((image != -5).any(-1) == erased).all()
        rows, columns = np.flatnonzero(erased.any(1)), np.flatnonzero(erased.any(0))
        assert erased[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert erased.sum() == len(rows) * len(columns)
        for count, length in ((len(rows), size[0]), (len(columns), size[1])):
            assert round(0.5 * length) - 1 <= count <= round(0.8 * length) + 1
        values = image[erased]
        assert (values == fill).all() if fill else ((values >= 0) & (values < 1)).all()
        places.add((rows[0], columns[0]))
    assert len(places) > 5 or size == (1, 1, 1)


@pytest.mark.parametrize(("layer", "share"), [
    (layers.RandomErasing(fill_value=-1.0, scale=(1, 1)), 0.5),
    (layers.RandomErasing((0.1, 0.3), fill_value=-1.0, scale=(1, 1)), 0.2),
    (layers.RandomInvert(1.0), 0.5), (layers.RandomGrayscale(0.3), 0.3),
    (layers.RandomGaussianBlur(0.6, 3, (1, 1)), 0.3),
])  # fmt: skip
def test_share_of_images(layer, share):
    x = np.tile(images(1, 3, 3, 3, dtype="uint8"), (2000, 1, 1, 1)).astype(np.float32)
    changed = (Pipeline([layer])(x) != x).any((1, 2, 3)).mean()
    assert abs(changed - share) < 5 * (share * (1 - share) / 2000) ** 0.5


def pillow(x, change):
    from PIL import Image

    return np.stack([np.asarray(change(Image.fromarray(image))) for image in x])


@pytest.mark.parametrize(("height", "width"), [(40, 33), (20, 64), (3, 5), (1, 1)])
def test_values_are_those_of_pillow(height, width):
    """The operations of RandAugment; blends are rounded there in other places."""
    pil = pytest.importorskip("PIL.ImageOps")
    enhance = pytest.importorskip("PIL.ImageEnhance")
    x = (images(3, height, width, 3, dtype="uint8") // 2 + 30).astype(np.uint8)
    full = (0.0, 255.0)
    exact = {
        "equalize": (0, pil.equalize),
        "posterize": (3, lambda i: pil.posterize(i, 5)),
        "solarize": (0.6, lambda i: pil.solarize(i, 255 * 0.4)),
        "invert": (0, pil.invert),
    }
    for kind, (factor, change) in exact.items():
        y = Pipeline([Fixed(kind, factor, full)])(x)
        np.testing.assert_array_equal(y, pillow(x, change), err_msg=kind)
    near = {
        "autocontrast": (0, pil.autocontrast),
        "multiply": (0.5, lambda i: enhance.Brightness(i).enhance(1.5)),
        "color": (-0.7, lambda i: enhance.Color(i).enhance(0.3)),
        "sharpness": (0.9, lambda i: enhance.Sharpness(i).enhance(1.9)),
    }
    for kind, (factor, change) in near.items():
        y = Pipeline([Fixed(kind, factor, full)])(x).astype(int)
        assert np.abs(y - pillow(x, change)).max() <= 2, kind


def test_values_that_are_the_same_stay():
    x = np.full((2, 300, 2, 3), 80, np.uint8)
    for kind in ("autocontrast", "equalize", "sharpness", "contrast", "saturation"):
        y = Pipeline([Fixed(kind, 0.5, (0.0, 255.0))])(x)
        np.testing.assert_array_equal(y, x, err_msg=kind)


def test_not_a_number_goes_through():
    x = np.full((1, 4, 4, 3), np.nan, np.float32)
    steps = [layers.RandAugment(factor=1.0, num_ops=40), layers.RandomHue(1.0),
             layers.RandomSaturation(1.0), layers.RandomGaussianBlur()]  # fmt: skip
    assert Pipeline(steps)(x).shape == x.shape


def test_bad_arguments():
    with pytest.raises(ArgumentError, match=r"value_range, a pair \(low, high\)"):
        layers.RandomBrightness(0.1, value_range=(1, 0))
    with pytest.raises(ArgumentError, match=r"factor.*\[0, 1\].*received -0.5"):
        layers.RandomContrast(-0.5)
    with pytest.raises(ArgumentError, match="odd kernel_size"):
        layers.RandomGaussianBlur(1.0, 4)
    with pytest.raises(ArgumentError, match="stddev"):
        layers.RandomGaussianNoise(-1.0)
    with pytest.raises(ArgumentError, match="fill_value"):
        layers.RandomErasing(fill_value="red")
    with pytest.raises(ArgumentError, match="received True"):
        layers.RandomHue(True)
