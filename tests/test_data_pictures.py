"""Single images: files, Pillow images, arrays."""

from __future__ import annotations

import io

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import ArgumentError, FormatError, ShapeError
from fastconv.utils import array_to_img, img_to_array, load_img, save_img

pytest.importorskip("PIL.Image", reason="needs the extra 'image'")

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("data_format", [None, "channels_first"])
def test_what_is_saved_is_loaded(tmp_path, channels, data_format):
    x = RNG.integers(0, 256, (5, 7, channels)).astype(np.uint8)
    given = x.transpose(2, 0, 1) if data_format else x
    save_img(tmp_path / "x.png", given, data_format, scale=False)
    mode = {1: "grayscale", 3: "rgb", 4: "rgba"}[channels]
    again = img_to_array(load_img(tmp_path / "x.png", mode), data_format)
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again, given)
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]


def test_scaling_stretches_to_all_of_the_range():
    x = np.array([-1.0, 0.0, 1.0]).reshape(1, 3, 1)
    assert np.asarray(array_to_img(x)).tolist() == [[0, 127, 255]]
    assert np.asarray(array_to_img(np.full((1, 2, 1), 3.0))).tolist() == [[0, 0]]
    deep = array_to_img(np.full((1, 1, 1), 300.0), scale=False)
    assert (deep.mode, np.asarray(deep).tolist()) == ("I", [[300]])


def test_sizes(tmp_path):
    x = RNG.integers(0, 256, (4, 8, 3)).astype(np.uint8)
    save_img(tmp_path / "x.png", x, scale=False)
    plain = load_img(tmp_path / "x.png", target_size=(2, 2))
    assert plain.size == (2, 2)
    cut = load_img(tmp_path / "x.png", target_size=(4, 4), keep_aspect_ratio=True)
    np.testing.assert_array_equal(np.asarray(cut), x[:, 2:6])
    content = io.BytesIO((tmp_path / "x.png").read_bytes())
    np.testing.assert_array_equal(np.asarray(load_img(content)), x)


def test_jpeg_without_alpha(tmp_path):
    save_img(tmp_path / "x.jpg", np.zeros((3, 4, 4)))
    save_img(tmp_path / "x.any", np.zeros((3, 4, 3)), file_format="jpg")
    assert load_img(tmp_path / "x.any").size == (4, 3)


def test_errors(tmp_path):
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(FormatError, match=r"bad\.png"):
        load_img(tmp_path / "bad.png")
    with pytest.raises(FileNotFoundError):
        load_img(tmp_path / "none.png")
    with pytest.raises(ArgumentError, match="interpolation"):
        load_img(tmp_path / "bad.png", interpolation="area")
    with pytest.raises(ArgumentError, match="format that Pillow writes"):
        save_img(tmp_path / "x.nothing", np.zeros((2, 2, 3)))
    with pytest.raises(ArgumentError, match="data_format"):
        img_to_array(np.zeros((2, 2)), "first")
    for shape in [(2, 2), (2, 2, 2), (0, 2, 3)]:
        with pytest.raises(ShapeError, match="1, 3 or 4"):
            array_to_img(np.zeros(shape))
    with pytest.raises(ShapeError, match="2 or 3 axes"):
        img_to_array(np.zeros(3))


def test_keras_agrees(tmp_path):
    keras = pytest.importorskip("keras")
    x = RNG.random((9, 12, 3))
    save_img(tmp_path / "x.png", x)
    ours, theirs = (
        module.img_to_array(
            module.load_img(
                tmp_path / "x.png",
                target_size=(5, 4),
                interpolation="bilinear",
                keep_aspect_ratio=True,
            )
        )
        for module in (fc.utils, keras.utils)
    )
    np.testing.assert_array_equal(ours, theirs)
    pair = (np.asarray(m.array_to_img(x)) for m in (fc.utils, keras.utils))
    assert np.abs(np.subtract(*pair, dtype=int)).max() <= 1
