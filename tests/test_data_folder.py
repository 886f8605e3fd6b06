"""Folders of images."""

import io
import sys

import numpy as np
import pytest

from fastconv.data import as_batches, image_dataset_from_directory
from fastconv.data.image_tree import list_images, read_image_tree
from fastconv.data.images import decode_image
from fastconv.errors import ArgumentError, DataError, FormatError, MissingExtraError


@pytest.fixture
def folder(tmp_path):
    """Ten files in cat/, five in dog/ (one deeper): red is 10 * number in the class."""
    image = pytest.importorskip("PIL.Image", reason="needs the extra 'image'")
    for name, n in (("cat", 10), ("dog", 5)):
        for i in range(n):
            below = tmp_path / name / ("deep" if (name, i) == ("dog", 4) else "")
            below.mkdir(parents=True, exist_ok=True)
            pixels = np.zeros((6, 4, 3), np.uint8)
            pixels[..., 0] = 10 * i
            image.fromarray(pixels).save(below / f"{i}.png")
        (tmp_path / name / "notes.txt").write_text("no image")
    return tmp_path


def test_batches(folder):
    data = image_dataset_from_directory(
        folder, image_size=(8, 5), batch_size=4, shuffle=False
    )
    assert data.class_names == ("cat", "dog")
    assert (len(data), data.num_samples, len(data.file_paths)) == (4, 15, 15)
    batches = list(data)
    assert [x.shape for x, _ in batches] == [(4, 8, 5, 3)] * 3 + [(3, 8, 5, 3)]
    x = np.concatenate([x for x, _ in batches])
    y = np.concatenate([y for _, y in batches])
    assert x.dtype == np.float32
    assert y.tolist() == [0] * 10 + [1] * 5
    assert x[:, 0, 0, 0].tolist() == [10 * i for i in (*range(10), *range(5))]


def test_shuffling(folder):
    def order(seed, epochs=1):
        data = image_dataset_from_directory(folder, image_size=(2, 2), seed=seed)
        return [next(iter(data))[0][:, 0, 0, 0].tolist() for _ in range(epochs)]

    assert order(1, 2) == order(1, 2)
    assert order(1) != order(2)
    first, second = order(1, 2)
    assert first != second
    assert sorted(first) == sorted(second)


def test_subsets_share_out_the_files(folder):
    def paths(subset):
        return image_dataset_from_directory(
            folder, validation_split=0.2, subset=subset, seed=3
        )

    train, validation = paths("training"), paths("validation")
    assert (train.num_samples, validation.num_samples) == (12, 3)
    assert not set(train.file_paths) & set(validation.file_paths)
    both = paths("both")
    assert both[0].file_paths == train.file_paths
    assert both[1].file_paths == validation.file_paths


@pytest.mark.parametrize(
    ("label_mode", "shape"),
    [("int", (15,)), ("categorical", (15, 2)), ("binary", (15, 1))],
)
def test_label_modes(folder, label_mode, shape):
    data = image_dataset_from_directory(
        folder, label_mode=label_mode, image_size=(2, 2)
    )
    assert next(iter(data))[1].shape == shape


def test_without_labels(folder):
    data = image_dataset_from_directory(folder, label_mode=None, image_size=(2, 2))
    assert next(iter(data)).shape == (15, 2, 2, 3)


@pytest.mark.parametrize(("mode", "channels"), [("grayscale", 1), ("rgba", 4)])
def test_color_modes(folder, mode, channels):
    data = image_dataset_from_directory(folder, color_mode=mode, image_size=(2, 2))
    assert next(iter(data))[0].shape == (15, 2, 2, channels)


def test_class_names_choose_and_order(folder):
    data = image_dataset_from_directory(folder, class_names=["dog"], image_size=(2, 2))
    assert data.num_samples == 5
    data = image_dataset_from_directory(
        folder, class_names=["dog", "cat"], shuffle=False, image_size=(2, 2)
    )
    assert next(iter(data))[1].tolist() == [1] * 10 + [0] * 5


def test_fit_takes_it_as_it_is(folder):
    data = image_dataset_from_directory(folder, image_size=(2, 2))
    assert as_batches(data) is data
    x, y, w = next(data.batches(0, shuffle=False))
    assert len(x) == len(y) == 15
    assert w is None


def test_files_are_read_when_needed(folder):
    data = image_dataset_from_directory(folder, batch_size=1, shuffle=False)
    (folder / "cat" / "1.png").write_bytes(b"broken")
    batches = iter(data)
    next(batches)
    with pytest.raises(FormatError, match=r"1\.png: cannot be read"):
        next(batches)


@pytest.mark.parametrize(
    "arguments",
    [
        {"label_mode": "text"},
        {"color_mode": "cmyk"},
        {"batch_size": 0},
        {"image_size": (0, 5)},
        {"image_size": (5,)},
        {"interpolation": "best"},
        {"validation_split": 0.2},
        {"subset": "training"},
        {"validation_split": 1.2, "subset": "training"},
        {"validation_split": 0.2, "subset": "test"},
        {"class_names": ["cat", "cow"]},
        {"class_names": ["cat"], "label_mode": "binary"},
    ],
)
def test_bad_arguments(folder, arguments):
    with pytest.raises(ArgumentError):
        image_dataset_from_directory(folder, **arguments)


def test_empty_subset(folder):
    with pytest.raises(DataError, match="leaves 15 for training and 0"):
        image_dataset_from_directory(folder, validation_split=0.01, subset="both")


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="no such folder"):
        image_dataset_from_directory(tmp_path / "none")
    with pytest.raises(DataError, match="found no images"):
        image_dataset_from_directory(tmp_path)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_links_that_lead_out(tmp_path, kind):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(b"secret")
    inside = tmp_path / "data" / "cat"
    inside.mkdir(parents=True)
    target = outside / "secret.png" if kind == "file" else outside
    (inside / "link.png").symlink_to(target)
    with pytest.raises(FormatError, match="leads out"):
        list_images(tmp_path / "data")


def test_links_inside_are_allowed(folder):
    (folder / "cat" / "again.png").symlink_to(folder / "cat" / "0.png")
    assert len(list_images(folder)) == 16


def test_read_at_once(folder):
    x, y, names = read_image_tree(folder)
    assert x.shape == (15, 6, 4, 3)
    assert x.dtype == np.uint8
    assert names == ("cat", "dog")
    assert np.bincount(y).tolist() == [10, 5]


def test_read_at_once_needs_one_size(folder):
    image = pytest.importorskip("PIL.Image")
    image.new("L", (3, 3)).save(folder / "dog" / "9.png")
    with pytest.raises(FormatError, match=r"9\.png: expected the shape .* image_size"):
        read_image_tree(folder)
    assert read_image_tree(folder, image_size=(4, 4))[0].shape == (16, 4, 4, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP"])
def test_truncated_images(kind):
    image = pytest.importorskip("PIL.Image", reason="needs the extra 'image'")
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    file = io.BytesIO()
    image.fromarray(noise).save(file, kind)
    whole = file.getvalue()
    assert decode_image(whole).shape == (40, 30, 3)
    for end in range(0, len(whole) * 9 // 10, 37):
        with pytest.raises(FormatError, match="photo: cannot be read"):
            decode_image(whole[:end], where="photo")


def test_other_formats_are_refused():
    image = pytest.importorskip("PIL.Image", reason="needs the extra 'image'")
    file = io.BytesIO()
    image.new("RGB", (4, 4)).save(file, "TIFF")
    with pytest.raises(FormatError, match="cannot be read"):
        decode_image(file.getvalue())


def test_without_pillow(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"pip install fastconv\[image\]"):
        decode_image(b"")


@pytest.mark.parametrize("start", [0, 2, 4])
def test_an_epoch_goes_on_at_a_batch(folder, start):
    data = image_dataset_from_directory(folder, image_size=(2, 2), batch_size=4)
    whole = [x.tobytes() for x, _, _ in data.batches(3)]
    assert [x.tobytes() for x, _, _ in data.batches(3, start=start)] == whole[start:]
