"""Decoded images: how often files are read, the mapped file, damaged images, tar."""

from __future__ import annotations

import io
import logging
import os
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fastconv.data import decoded, folder, image_dataset_from_directory
from fastconv.data.images import decode_image
from fastconv.errors import ArgumentError, DataError, FormatError

SIZE = (6, 5)


def picture(i: int) -> np.ndarray:
    pixels = np.zeros((*SIZE, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = 10 * i, np.arange(SIZE[1])
    return pixels


@pytest.fixture
def images(tmp_path):
    """Nine files in cat/, six in dog/."""
    pillow = pytest.importorskip("PIL.Image", reason="needs the extra 'image'")
    root = tmp_path / "images"
    for name, n in (("cat", 9), ("dog", 6)):
        (root / name).mkdir(parents=True)
        for i in range(n):
            pillow.fromarray(picture(i)).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def reads(monkeypatch):
    """The files that were decoded, in order."""
    found = []

    def decode(source, *arguments):
        found.append(str(source)[:200])
        return decode_image(source, *arguments)

    monkeypatch.setattr(folder, "decode_image", decode)
    return found


def dataset(root, **arguments):
    return image_dataset_from_directory(
        root, **{"image_size": SIZE, "batch_size": 4, "seed": 5, **arguments}
    )


def epoch(data, number=0, **arguments):
    return [
        (x.tobytes(), None if y is None else y.tolist())
        for x, y, _ in data.batches(number, **arguments)
    ]


@pytest.mark.parametrize("workers", [1, 3])
def test_each_file_is_decoded_once(images, reads, workers):
    data = dataset(images, workers=workers)
    first = [epoch(data, number) for number in (0, 1)]
    assert len(reads) == len(set(reads)) == 15
    assert data.images.complete
    plain = dataset(images, cache=False)
    assert [epoch(plain, number) for number in (0, 1)] == first
    assert len(reads) == 15 + 30
    assert not plain.images.complete


def test_batches_passed_over_are_not_decoded(images, reads):
    data = dataset(images, shuffle=False)
    assert epoch(data, start=3) == epoch(dataset(images, shuffle=False))[3:]
    assert len(reads) == 3 + 15


def test_too_many_images_are_not_kept(images, monkeypatch, caplog):
    monkeypatch.setattr(decoded, "available_bytes", lambda: 4 * 1400)
    with caplog.at_level(logging.WARNING, "fastconv"):
        data = dataset(images)
    assert "cache=FOLDER" in caplog.text
    epoch(data)
    assert not data.images.complete


# The file


def test_a_file_serves_later_runs(images, tmp_path, reads):
    cache = tmp_path / "cache"
    data = dataset(images, cache=cache)
    first = epoch(data)
    (file,) = cache.iterdir()
    assert (file.suffix, len(reads)) == (".npy", 15)
    records = np.load(file)
    assert records["image"].shape == (15, *SIZE, 3)
    again = dataset(images, cache=cache)
    assert epoch(again) == first
    assert epoch(again, 1) == epoch(data, 1)
    assert len(reads) == 15
    assert list(cache.iterdir()) == [file]


def test_half_a_file_is_none(images, tmp_path):
    data = dataset(images, cache=tmp_path / "cache")
    next(data.batches())
    assert not list((tmp_path / "cache").glob("[!.]*"))
    del data
    assert not list((tmp_path / "cache").iterdir())


def test_what_has_changed_is_decoded_again(images, tmp_path, reads):
    def files():
        return len(list((tmp_path / "cache").iterdir()))

    for n, arguments in enumerate(
        [{}, {"image_size": (3, 3)}, {"color_mode": "grayscale"}], 1
    ):
        epoch(dataset(images, cache=tmp_path / "cache", **arguments))
        assert (files(), len(reads)) == (n, 15 * n)
    (images / "cat" / "0.png").write_bytes((images / "dog" / "5.png").read_bytes())
    epoch(dataset(images, cache=tmp_path / "cache"))
    assert (files(), len(reads)) == (4, 60)


@pytest.mark.parametrize("change", [{"seed": 6}, {"shuffle": False}])
def test_one_file_serves_every_order(images, tmp_path, reads, change):
    cache = tmp_path / "cache"
    epoch(dataset(images, cache=cache))
    assert epoch(dataset(images, cache=cache, **change)) == epoch(
        dataset(images, cache=False, **change)
    )
    assert (len(list(cache.iterdir())), len(reads)) == (1, 30)


@pytest.mark.parametrize("in_file", [True, False])
def test_several_threads_at_once(images, tmp_path, reads, in_file):
    """As in fit with the same folder for training and validation."""
    expected = epoch(dataset(images))
    reads.clear()
    data = dataset(images, cache=tmp_path / "cache" if in_file else True)
    with ThreadPoolExecutor(6) as pool:
        runs = list(pool.map(lambda _: epoch(data), range(6)))
    assert runs == [expected] * 6
    assert len(reads) == 15
    assert data.images.complete


def test_a_fork_while_a_thread_decodes(images):
    data = dataset(images)
    expected = epoch(dataset(images))
    with data.images._lock:  # a thread of the parent holds it for ever
        child = os.fork()
        if child == 0:
            os._exit(0 if epoch(data) == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("at", [-1, -700, 200])
def test_a_damaged_file_is_refused(images, tmp_path, at):
    epoch(dataset(images, cache=tmp_path / "cache"))
    (file,) = (tmp_path / "cache").iterdir()
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)
    if at > 0:  # in the shape, or in what follows it
        file.write_bytes(bytes(content[:-5]))
    with pytest.raises(FormatError, match=r"\.npy"):
        epoch(dataset(images, cache=tmp_path / "cache"))


def test_bad_arguments(images):
    with pytest.raises(ArgumentError, match="cache: expected True"):
        dataset(images, cache=3)
    with pytest.raises(ArgumentError, match="workers: expected 1"):
        dataset(images, workers=0)
    with pytest.raises(ArgumentError, match="damaged: expected 'raise'"):
        dataset(images, damaged="ignore")


# Damaged images


@pytest.mark.parametrize("cache", [True, False, "folder"])
def test_damaged_images(images, tmp_path, cache, caplog):
    (images / "cat" / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n no more")
    cache = tmp_path / "cache" if cache == "folder" else cache
    with pytest.raises(FormatError, match=r"cat/3\.png"):
        epoch(dataset(images, cache=cache))
    for _ in range(2):
        data = dataset(images, cache=cache, damaged="skip", shuffle=False)
        with caplog.at_level(logging.WARNING, "fastconv"):
            sizes = [len(x) for x, _, _ in data.batches()]
        assert sizes == [3, 4, 4, 3]
        assert data.skipped == [str(images / "cat" / "3.png")]
        assert "3.png" in caplog.text
        assert next(data.batches())[1].tolist() == [0, 0, 0]


def test_a_batch_of_damaged_images(images):
    for i in range(4):
        (images / "cat" / f"{i}.png").write_bytes(b"no image")
    with pytest.raises(DataError, match="batch 0: all"):
        epoch(dataset(images, damaged="skip", shuffle=False))


# Sources and labels


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_file_is_as_good_as_its_folder(images, tmp_path, mode):
    archive = tmp_path / "images.tar"
    with tarfile.open(archive, mode) as tar:
        tar.add(images, "images")
    data, plain = dataset(archive), dataset(images)
    assert data.class_names == ("cat", "dog")
    assert epoch(data) == epoch(plain)


def test_given_labels(images):
    numbers = list(range(15))
    data = dataset(images, labels=numbers, shuffle=False)
    assert [y for _, ys in epoch(data) for y in ys] == numbers
    pairs = {
        label: name
        for (_, name, _), label in zip(data.images.files, numbers)  # noqa: B905
    }
    mixed = dataset(images, labels=numbers, label_mode="categorical")
    found = np.concatenate([y for _, y, _ in mixed.batches()]).argmax(1)
    reds = np.concatenate([x[:, 0, 0, 0] for x, _, _ in mixed.batches()])
    assert [int(pairs[int(i)][0]) * 10 for i in found] == reds.tolist()


def test_no_labels_need_no_classes(images):
    (images / "beside.png").write_bytes((images / "cat" / "8.png").read_bytes())
    data = dataset(images, labels=None, shuffle=False)
    assert (data.num_samples, next(iter(data)).shape) == (16, (4, *SIZE, 3))
    assert dataset(images).num_samples == 15


@pytest.mark.parametrize("labels", [[1, 2], [0.5] * 15, "given", [-1] * 15])
def test_bad_labels(images, labels):
    with pytest.raises(ArgumentError, match="labels: expected"):
        dataset(images, labels=labels)


# Decoding


@pytest.mark.parametrize("color_mode", [None, "grayscale", "rgb", "rgba"])
@pytest.mark.parametrize("sampling", ["L", 0, 1, 2])
def test_jpeg_decoders_agree(color_mode, sampling, monkeypatch):
    pillow = pytest.importorskip("PIL.Image")
    pytest.importorskip("simplejpeg")
    pixels = np.random.default_rng(0).integers(0, 256, (17, 22, 3)).astype(np.uint8)
    image, file = pillow.fromarray(pixels), io.BytesIO()
    if sampling == "L":
        image.convert("L").save(file, "JPEG")
    else:
        image.save(file, "JPEG", subsampling=sampling)
    for size in (None, (9, 30)):
        fast = decode_image(file.getvalue(), color_mode, size)
        with monkeypatch.context() as without:
            without.setitem(sys.modules, "simplejpeg", None)
            slow = decode_image(file.getvalue(), color_mode, size)
        np.testing.assert_array_equal(fast, slow)
    with pytest.raises(FormatError, match="cannot be read"):
        decode_image(file.getvalue()[:-200], color_mode)


def test_crop_to_aspect_ratio():
    pillow = pytest.importorskip("PIL.Image")
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (10, 30, 3)).astype(np.uint8)
    pillow.fromarray(pixels).save(file, "PNG")
    content = file.getvalue()
    cut = decode_image(content, size=(10, 10), crop=True)
    np.testing.assert_array_equal(cut, pixels[:, 10:20])
    assert decode_image(content, size=(5, 10), crop=True).shape == (5, 10, 3)
