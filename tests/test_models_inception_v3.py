"""Inception v3: its sizes, its maps, weights from files, and what it refuses."""

import os

import numpy as np
import pytest
from fastconv.applications.inception_v3 import InceptionV3, preprocess_input

import fastconv as fc
from fastconv import errors


@pytest.fixture(scope="module")
def base():
    return InceptionV3(include_top=False, weights=None)


@pytest.fixture(scope="module")
def full():
    return InceptionV3(weights=None)


def test_published_sizes(full, base):
    assert full.count_params() == 23_851_784
    assert base.count_params() == 21_802_784
    moving = sum(w.size for w in full.non_trainable_weights)
    assert moving == 34_432  # a mean and a variance for each of 17,216 maps
    assert len([v for v in full.layers if type(v).__name__ == "Conv2D"]) == 94
    assert full.get_layer("predictions").activation is fc.ops.softmax


def test_maps_of_the_papers_table(full):
    expected = {
        "mixed0": (35, 256), "mixed1": (35, 288), "mixed2": (35, 288),
        "mixed3": (17, 768), "mixed7": (17, 768), "mixed8": (8, 1280),
        "mixed9": (8, 2048), "mixed10": (8, 2048),
    }  # fmt: skip
    for name, (side, maps) in expected.items():
        assert full.get_layer(name).output.shape == (None, side, side, maps), name


def test_any_size(base):
    assert base.output_shape == (None, None, None, 2048)
    for side, expected in ((75, 1), (107, 2)):
        x = np.zeros((1, side, side + 32, 3), np.float32)
        found = base.predict(x, verbose=0)
        assert found.shape == (1, expected, expected + 1, 2048)


def test_weights_from_files(base, tmp_path, monkeypatch):
    path = tmp_path / "weights" / "inception_v3_notop.safetensors"
    path.parent.mkdir()
    base.save_weights(path)
    monkeypatch.setitem(os.environ, "FASTCONV_CACHE", str(tmp_path))
    for weights in ("imagenet", path, str(path)):
        model = InceptionV3(include_top=False, weights=weights)
        ours, theirs = model.weights[-1].numpy(), base.weights[-1].numpy()
        np.testing.assert_array_equal(ours, theirs)
        first = [w.numpy() for w in (model.weights[0], base.weights[0])]
        np.testing.assert_array_equal(*first)


def test_absent_weights_say_where_they_belong(tmp_path, monkeypatch):
    monkeypatch.setitem(os.environ, "FASTCONV_CACHE", str(tmp_path))
    with pytest.raises(errors.ArgumentError, match="weights=None") as seen:
        InceptionV3()
    assert str(tmp_path / "weights" / "inception_v3.safetensors") in str(seen.value)
    with pytest.raises(errors.ArgumentError, match="no file"):
        InceptionV3(weights=tmp_path / "absent")


@pytest.mark.parametrize(
    ("given", "error", "text"),
    [
        ({"input_shape": (74, 80, 3)}, errors.ShapeError, "75"),
        ({"input_shape": (80, 80, None)}, errors.ShapeError, "channels"),
        ({"input_shape": (80, 80)}, errors.ShapeError, "height, width, channels"),
        ({"input_shape": (None, None, 3)}, errors.ShapeError, "include_top=False"),
        ({"pooling": "median"}, errors.UnknownNameError, "pooling"),
        ({"weights": "imagenet", "classes": 5}, errors.ArgumentError, "1000"),
    ],
)
def test_bad_arguments(given, error, text):
    with pytest.raises(error, match=text):
        InceptionV3(**{"weights": None, **given})


def test_a_top_of_ones_own_and_pooling():
    model = InceptionV3(
        weights=None, classes=7, input_shape=(80, 75, 3), classifier_activation=None
    )
    assert model.output_shape == (None, 7)
    x = fc.Input((75, 75, 3), name="mine")
    model = InceptionV3(
        include_top=False, weights=None, input_tensor=x * 2.0, pooling="max"
    )
    assert model.inputs == [x]
    assert model.output_shape == (None, 2048)


def test_depth_first():
    fc.config.set_image_data_format("channels_first")
    try:
        model = InceptionV3(include_top=False, weights=None, input_shape=(3, 75, 76))
    finally:
        fc.config.set_image_data_format("channels_last")
    assert model.output_shape == (None, 2048, 1, 1)


def test_preprocessing():
    np.testing.assert_allclose(preprocess_input(np.array([0, 51, 255])), [-1, -0.6, 1])
