"""Images that are moved: against NumPy, in float64, written another way."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import layers
from fastconv._core import AugmentFill
from fastconv.data.augmented import Pipeline
from fastconv.errors import ArgumentError, DtypeError, ShapeError, UnknownNameError
from fastconv.layers.augmentation import drawn, native

PAD = {
    "constant": "constant",
    "nearest": "edge",
    "reflect": "symmetric",
    "wrap": "wrap",
}
SIZES = [(1, 1, 1), (1, 5, 3), (7, 1, 4), (2, 3, 1), (8, 6, 3), (9, 10, 2)]


class Step:
    """A layer of native steps, for tests."""

    def __init__(self, *steps):
        self.given = list(steps)

    def augment_steps(self, training=True):
        return self.given


def images(*shape, dtype="float32", seed=0):
    draw = np.random.default_rng(seed)
    if dtype == "uint8":
        return draw.integers(0, 256, shape, np.uint8)
    return draw.standard_normal(shape).astype(np.float32)


def numpy_sample(image, matrix, fill, interpolation, value):
    """Each output pixel (x, y) from matrix @ (x, y, 1), in a padded image."""
    h, w, c = image.shape
    far = 6 * max(h, w) + 8
    args = {"constant_values": value} if fill == "constant" else {}
    border = ((far, far), (far, far), (0, 0))
    wide = np.pad(image.astype(np.float64), border, PAD[fill], **args)
    ys, xs = np.mgrid[:h, :w]
    places = np.stack([xs, ys, np.ones_like(xs)]).reshape(3, -1).astype(np.float64)
    x, y = np.asarray(matrix, np.float64) @ places + far
    if interpolation == "nearest":
        rows, columns = (np.floor(v + 0.5).astype(int) for v in (y, x))
        return wide[rows, columns].reshape(h, w, c)
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    v, u = (y - top)[:, None], (x - left)[:, None]
    upper = wide[top, left] * (1 - u) + wide[top, left + 1] * u
    lower = wide[top + 1, left] * (1 - u) + wide[top + 1, left + 1] * u
    return (upper * (1 - v) + lower * v).reshape(h, w, c)


def about_middle(linear, h, w):
    middle = np.array([(w - 1) / 2, (h - 1) / 2])
    return np.column_stack([linear, middle - linear @ middle])


def matrices(h, w):
    """Layers with one fixed factor, and the matrices of their formulas."""
    t = 2 * np.pi * 0.1
    turn = np.array([[np.cos(t), -np.sin(t)], [np.sin(t), np.cos(t)]])
    yield layers.RandomRotation, ((0.1, 0.1),), about_middle(turn, h, w)
    zoom = np.diag([0.7, 1.5])
    yield layers.RandomZoom, ((0.5, 0.5), (-0.3, -0.3)), about_middle(zoom, h, w)
    yield layers.RandomZoom, ((0.5, 0.5),), about_middle(np.eye(2) * 1.5, h, w)
    moved = np.array([[1, 0, -0.21 * w], [0, 1, 0.34 * h]])
    yield layers.RandomTranslation, ((-0.34, -0.34), (0.21, 0.21)), moved


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("fill", list(PAD))
def test_resampling(size, interpolation, fill):
    x = images(2, *size)
    for layer, factors, matrix in matrices(*size[:2]):
        how = {"fill_mode": fill, "interpolation": interpolation, "fill_value": 0.5}
        made = layer(*factors, **how)
        y = Pipeline([made])(x)
        for actual, image in zip(y, x, strict=True):
            expected = numpy_sample(image, matrix, fill, interpolation, 0.5)
            np.testing.assert_allclose(actual, expected, rtol=0, atol=3e-5)


@pytest.mark.parametrize("size", SIZES)
def test_shear_has_the_sign_of_a_coin(size):
    x = images(12, *size)
    y = Pipeline([layers.RandomShear((0.3, 0.3), (0.2, 0.2))])(x)
    signs = set()
    for actual, image in zip(y, x, strict=True):
        for sign in (-1, 1):
            matrix = [[1, 0.3 * sign, 0], [0.2 * sign, 1, 0]]
            expected = numpy_sample(image, matrix, "reflect", "bilinear", 0)
            if np.allclose(actual, expected, rtol=0, atol=3e-5):
                signs.add(sign)
                break
        else:
            raise AssertionError("neither sign fits")
    assert len(signs) == 2 or min(size[:2]) == 1


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("size", SIZES)
def test_flips_are_exact(size, dtype):
    x = images(64, *size, dtype=dtype)
    for mode, kinds in (("horizontal", [0, 2]), ("vertical", [0, 1]),
                        ("horizontal_and_vertical", [0, 1, 2, 3])):  # fmt: skip
        y = Pipeline([layers.RandomFlip(mode)])(x)
        assert y.dtype == x.dtype
        seen = dict.fromkeys(kinds, 0)
        for actual, image in zip(y, x, strict=True):
            flipped = [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]
            fitting = [k for k in kinds if np.array_equal(flipped[k], actual)]
            assert fitting
            seen[fitting[0]] += 1
        if min(size[:2]) > 1:  # binomial: within five standard deviations
            share = 64 / len(kinds)
            assert all(abs(n - share) < 5 * share**0.5 for n in seen.values())


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("fill", list(PAD))
@pytest.mark.parametrize(("size", "crop", "padding"), [
    ((6, 5, 3), (6, 5), 2), ((6, 5, 1), (3, 4), 0), ((1, 1, 4), (3, 3), 1),
    ((4, 7, 2), (6, 9), 4), ((5, 5, 3), (1, 1), 0),
])  # fmt: skip
def test_crops_are_windows(size, crop, padding, fill, dtype):
    x = images(40, *size, dtype=dtype)
    made = layers.RandomCrop(
        *crop,
        padding=padding,
        fill_mode=fill,
        fill_value=7.0 if dtype == "uint8" else 0.5,
    )
    y = Pipeline([made])(x)
    assert y.shape == (40, *crop, size[2])
    args = {"constant_values": made.fill_value} if fill == "constant" else {}
    starts = [range(n + 2 * padding - k + 1) for n, k in zip(size, crop, strict=False)]
    seen = set()
    for actual, image in zip(y, x, strict=True):
        border = ((padding, padding), (padding, padding), (0, 0))
        wide = np.pad(image, border, PAD[fill], **args)
        fitting = [
            (i, j) for i in starts[0] for j in starts[1]
            if np.array_equal(wide[i : i + crop[0], j : j + crop[1]], actual)
        ]  # fmt: skip
        assert fitting
        seen.add(fitting[0])
    if len(starts[0]) * len(starts[1]) > 4 and size != (1, 1, 4):
        assert len(seen) > 4


def test_steps_that_move_pixels_are_one_resampling():
    """There and back is the identity, also for what was outside in between."""
    x = images(3, 8, 9, 2)
    there, back = layers.RandomZoom((-0.5, -0.5)), layers.RandomZoom((1, 1))
    np.testing.assert_array_equal(Pipeline([there, back])(x), x)
    x = images(3, 8, 8, 2, dtype="uint8")
    fields = {"fill": AugmentFill.constant}
    out = drawn("translate", (0, 0), (0.5, 0.5), **fields)
    home = drawn("translate", (0, 0), (-0.5, -0.5), **fields)
    np.testing.assert_array_equal(Pipeline([Step(out, home)])(x), x)


def test_steps_with_other_ideas_of_outside_follow_each_other():
    x = images(2, 6, 8, 1)
    move = layers.RandomTranslation(0, (0.25, 0.25), "constant", fill_value=5.0)
    back = layers.RandomTranslation(0, (-0.5, -0.5), "nearest")
    moved = np.pad(x, ((0, 0), (0, 0), (2, 0), (0, 0)), constant_values=5.0)[:, :, :8]
    expected = np.pad(moved, ((0, 0), (0, 0), (0, 4), (0, 0)), "edge")[:, :, 4:]
    np.testing.assert_array_equal(Pipeline([move, back])(x), expected)


def test_flip_then_crop_then_scale_of_bytes():
    """The fused path against its parts, pixel by pixel."""
    x = images(50, 32, 32, 3, dtype="uint8")
    scale, offset = np.array([0.5, 0.25, 2.0]), np.array([1.0, -3.0, 0.0])
    moves = [layers.RandomCrop(32, 32, padding=4), layers.RandomFlip("horizontal")]
    plain = Pipeline(moves)(x, epoch=3)
    fused = Pipeline([*moves, layers.Rescaling(scale, offset)])(x, epoch=3)
    assert fused.dtype == np.float32
    np.testing.assert_allclose(fused, plain * scale + offset, rtol=1e-6)
    assert plain.dtype == np.uint8
    assert not np.array_equal(plain, x)


def test_scaling_before_a_step_is_done_there():
    x = images(4, 5, 5, 3, dtype="uint8")
    steps = [
        layers.Rescaling([1.0, 2.0, 4.0], 1),
        layers.RandomBrightness((0.1, 0.1), (0, 9e9)),
    ]
    y = Pipeline(steps)(x)
    np.testing.assert_allclose(y, x * np.array([1.0, 2, 4]) + 1 + 9e8, rtol=1e-6)


def test_bytes_are_rounded_to_the_nearest():
    x = images(3, 9, 9, 3, dtype="uint8")
    steps = [layers.RandomRotation((0.07, 0.07))]
    exact = Pipeline(steps)(x.astype(np.float32))
    np.testing.assert_array_equal(Pipeline(steps)(x), np.rint(exact).astype(np.uint8))


def test_whole_turns_and_moves_are_copies():
    x = images(3, 8, 8, 3, dtype="uint8")
    steps = Step(drawn("rotate", (1e-300, 1e-300)), native("identity"))
    np.testing.assert_array_equal(Pipeline([steps])(x), x)


def test_bad_arguments():
    with pytest.raises(ArgumentError, match=r"RandomRotation.*\[-1, 1\].*received 2"):
        layers.RandomRotation(2)
    with pytest.raises(ArgumentError, match="above -1"):
        layers.RandomZoom((-1, 0))
    with pytest.raises(UnknownNameError, match="fill_mode"):
        layers.RandomZoom(0.1, fill_mode="mirror")
    with pytest.raises(UnknownNameError, match="interpolation"):
        layers.RandomShear(0.1, interpolation="cubic")
    with pytest.raises(UnknownNameError, match="mode"):
        layers.RandomFlip("diagonal")
    with pytest.raises(ArgumentError, match=r"height.*integer >= 1"):
        layers.RandomCrop(0, 4)
    with pytest.raises(ArgumentError, match="pair of numbers"):
        layers.RandomTranslation((0, 1, 2), 0.1)
    with pytest.raises(ArgumentError, match="expected layers that change images"):
        Pipeline([layers.Dense(3)])


def test_bad_images():
    flip = Pipeline([layers.RandomFlip()])
    with pytest.raises(ShapeError, match=r"\(N, H, W, C\)"):
        flip(np.zeros((3, 4, 4)))
    with pytest.raises(ShapeError, match="one pixel or more"):
        flip(np.zeros((3, 0, 4, 1)))
    with pytest.raises(DtypeError, match="int64"):
        flip(np.zeros((3, 4, 4, 1), np.int64))
    with pytest.raises(ShapeError, match=r"at least \(5, 5\).*more padding"):
        Pipeline([layers.RandomCrop(5, 5)])(np.zeros((1, 4, 4, 1)))
    with pytest.raises(ShapeError, match="scale of one number or 1"):
        Pipeline([layers.Rescaling([1.0, 2.0])])(np.zeros((1, 4, 4, 1)))
    with pytest.raises(ShapeError, match="a number for each of 1 images"):
        flip(np.zeros((1, 4, 4, 1)), samples=[1, 2])


def test_no_images():
    y = Pipeline([layers.RandomCrop(2, 2), layers.Rescaling(0.5)])(
        np.zeros((0, 4, 4, 3), np.uint8)
    )
    assert y.shape == (0, 2, 2, 3)
    assert y.dtype == np.float32


def test_strided_images():
    x = images(4, 8, 8, 3)[::2, ::2]
    steps = [layers.RandomRotation(0.1)]
    np.testing.assert_array_equal(Pipeline(steps)(x), Pipeline(steps)(x.copy()))


def test_random_crop_takes_the_middle_at_inference():
    x = images(2, 9, 8, 3)
    np.testing.assert_array_equal(
        layers.RandomCrop(5, 4)(x, training=False), x[:, 2:7, 2:6]
    )
    data = fc.data.augment(x, [layers.RandomCrop(5, 4, padding=3)], training=False)
    [(y, _, _)] = data.batches()
    np.testing.assert_array_equal(y, x[:, 2:7, 2:6])
