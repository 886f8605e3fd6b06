"""Data sets by name and by path."""

import os
from pathlib import Path

import numpy as np
import pytest

from fastconv import datasets
from fastconv.errors import DataError, FormatError, UnknownNameError

SHARED = Path(
    os.environ.get("FASTCONV_DATA")
    or Path(__file__).resolve().parents[2] / "shared" / "data"
)


@pytest.fixture
def image_folder(tmp_path):
    image = pytest.importorskip("PIL.Image", reason="needs the extra 'image'")

    def write(inside: str, n: int) -> Path:
        for label, name in enumerate(("a", "b")):
            folder = tmp_path / inside / name
            folder.mkdir(parents=True)
            for i in range(n):
                image.new("L", (5, 6), 50 * label + i).save(folder / f"{i}.png")
        return tmp_path

    return write


def test_digits():
    data = datasets.load("digits")
    assert data.x_train.shape == (1438, 32, 32, 1)
    assert data.x_test.shape == (359, 32, 32, 1)
    assert data.class_names == tuple("0123456789")


def test_names_near_by():
    with pytest.raises(UnknownNameError, match=r"'minst'. Did you mean 'mnist'"):
        datasets.load("minst")


@pytest.mark.parametrize("path", ["no/such/folder", "file.npz"])
def test_no_such_path(path):
    with pytest.raises(DataError, match="no such file"):
        datasets.load(path)


def test_known_name_without_files(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTCONV_CACHE", str(tmp_path))
    monkeypatch.delenv("FASTCONV_DATA", raising=False)
    with pytest.raises(DataError, match="fashion_mnist: not found"):
        datasets.load("fashion_mnist")


def test_folder_of_nothing_known(tmp_path):
    with pytest.raises(FormatError, match=r"looked for .*MNIST.*CIFAR-10.*CLASS/"):
        datasets.load(tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(FormatError, match="expected a folder"):
        datasets.load(tmp_path / "a.txt")


def test_npz_in_two_parts(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        x_train=np.zeros((6, 4, 4)),
        y_train=np.arange(6).reshape(6, 1),
        x_test=np.zeros((2, 4, 4)),
        y_test=np.array([7, 0], np.uint8),
    )
    data = datasets.load(tmp_path / "a.npz")
    assert data.x_train.shape == (6, 4, 4, 1)
    assert data.y_train.shape == (6,)
    assert data.y_test.dtype == np.int64
    assert data.class_names == tuple("01234567")


def test_npz_in_one_part(tmp_path):
    x = np.arange(50.0).reshape(50, 1, 1, 1)
    np.savez(tmp_path / "a.npz", x=x, y=np.arange(50) % 5)
    data = datasets.load(str(tmp_path / "a.npz"))
    assert np.bincount(data.y_test).tolist() == [2] * 5
    assert (data.x_train[:, 0, 0, 0] % 5 == data.y_train).all()


@pytest.mark.parametrize(
    ("x", "y"),
    [((4, 2, 2), np.zeros(4)), ((4, 2, 2), np.zeros((4, 2), int)), ((4, 2), [0] * 4)],
)
def test_npz_of_other_shapes(tmp_path, x, y):
    np.savez(tmp_path / "a.npz", x_train=np.zeros(x), y_train=y, x_test=[], y_test=[])
    with pytest.raises(FormatError, match="expected"):
        datasets.load(tmp_path / "a.npz")


def test_npz_whose_parts_do_not_fit(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2, 2)), y=np.zeros(5, int))
    with pytest.raises(FormatError, match="as many labels"):
        datasets.load(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 2, 2)))
    with pytest.raises(FormatError, match="labels y"):
        datasets.load(tmp_path / "a.npz")


def test_image_folders(image_folder):
    data = datasets.load(image_folder(".", 10))
    assert data.x_train.shape == (16, 6, 5, 1)
    assert data.x_test.shape == (4, 6, 5, 1)
    assert data.class_names == ("a", "b")
    assert (data.x_test[:, 0, 0, 0] // 50 == data.y_test).all()


@pytest.mark.parametrize("part", ["test", "val"])
def test_image_folders_in_two_parts(image_folder, part):
    image_folder("train", 3)
    data = datasets.load(image_folder(part, 2), image_size=(8, 8))
    assert data.x_train.shape == (6, 8, 8, 1)
    assert data.x_test.shape == (4, 8, 8, 1)


def test_image_folders_with_train_alone(image_folder):
    assert datasets.load(image_folder("train", 10)).x_test.shape == (4, 6, 5, 1)


def test_shared_mnist():
    if not (SHARED / "mnist").is_dir():
        pytest.skip("no folder mnist in FASTCONV_DATA or ../shared/data")
    data = datasets.load(SHARED / "mnist")
    assert data.x_train.shape == (60_000, 28, 28, 1)
    assert data.x_test.shape == (10_000, 28, 28, 1)
    counts = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(data.y_test).tolist() == counts


def test_shared_cifar10():
    """The test archive alone: both take ten seconds."""
    pytest.importorskip("PIL.Image", reason="needs the extra 'image'")
    if not (SHARED / "cifar10").is_dir():
        pytest.skip("no folder cifar10 in FASTCONV_DATA or ../shared/data")
    assert datasets.cifar10.is_cifar10(SHARED / "cifar10")
    archive = SHARED / "cifar10" / "test.tar.gz"
    names = datasets.cifar10.CLASS_NAMES
    x, y, _ = datasets.read_image_tree(archive, names)
    assert x.shape == (10_000, 32, 32, 3)
    assert np.bincount(y).tolist() == [1000] * 10
