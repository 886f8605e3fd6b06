"""CIFAR-10 in its binary, Python and folder forms; hostile pickles."""

import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import cifar10
from fastconv.data.restricted_pickle import restricted_loads
from fastconv.errors import DataError, FormatError

RECORDS = 20
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]


@pytest.fixture(autouse=True)
def small_batches(monkeypatch):
    monkeypatch.setattr(cifar10, "_RECORDS", RECORDS)


def planes(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, (RECORDS, 3072), dtype=np.uint8)
    return data, rng.integers(0, 10, RECORDS)


def write_binary(folder: Path) -> None:
    for i, name in enumerate(BATCHES):
        data, labels = planes(i)
        records = np.hstack([labels[:, None].astype(np.uint8), data])
        (folder / f"{name}.bin").write_bytes(records.tobytes())


def write_python(folder: Path, protocol: int = 2) -> None:
    for i, name in enumerate(BATCHES):
        data, labels = planes(i)
        batch = {b"data": data, b"labels": labels.tolist(), b"filenames": [b"a.png"]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol))


def check(split: cifar10.Split) -> None:
    (x_train, y_train), (x_test, y_test) = split
    assert x_train.shape == (5 * RECORDS, 32, 32, 3)
    assert y_train.shape == (5 * RECORDS, 1)
    data, labels = planes(5)
    assert y_test[:, 0].tolist() == labels.tolist()
    # plane c, row h, column w of record 7
    assert x_test[7, 3, 9, 2] == data[7, 2 * 1024 + 3 * 32 + 9]
    assert x_train[RECORDS, 0, 1, 0] == planes(1)[0][0, 1]


@pytest.mark.parametrize("write", [write_binary, write_python])
@pytest.mark.parametrize("inside", [".", "cifar-10-batches-bin"])
def test_folders(tmp_path, write, inside):
    (tmp_path / inside).mkdir(exist_ok=True)
    write(tmp_path / inside)
    check(cifar10.load_data(tmp_path))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_every_pickle_protocol_of_old_arrays(tmp_path, protocol):
    write_python(tmp_path, protocol)
    check(cifar10.load_data(tmp_path))


@pytest.mark.parametrize("write", [write_binary, write_python])
def test_archives(tmp_path, write):
    source = tmp_path / "source"
    source.mkdir()
    write(source)
    path = tmp_path / "cifar-10-binary.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        archive.add(source, "cifar-10-batches")
    check(cifar10.load_data(path))
    check(cifar10.load_data(tmp_path))
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(FormatError, match="truncated"):
        cifar10.load_data(path)


def test_python_2_pickle():
    """As the original files were written: text where there are bytes."""
    old = (
        b"\x80\x02}q\x01(U\x04dataq\x02cnumpy.core.multiarray\n_reconstruct\n"
        b"cnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x01K\x02\x86cnumpy\ndtype\n"
        b"U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ"
        b"\xff\xff\xff\xffK\x00tb"
        b"\x89U\x02ABtbU\x06labels]K\x05au."
    )
    batch = restricted_loads(old, "old")
    assert batch["data"].tolist() == [[65, 66]]
    assert batch["labels"] == [5]


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


HOSTILE = {
    "os.system": pickle.dumps({"data": Evil()}),
    "builtins.eval": b"\x80\x02}U\x04datacbuiltins\neval\nU\x011\x85Rs.",
    "getattr": b"\x80\x02}U\x04datac__builtin__\ngetattr\n)Rs.",
    "dotted": pickle.dumps({"data": np.linalg.norm}, 4),
    "numpy object": pickle.dumps({"data": np.array([{}], dtype=object)}, 2),
    "other dtype": pickle.dumps({"data": np.zeros(2, "M8[s]")}, 2),
    "structured": pickle.dumps({"data": np.zeros(2, "i4,f4")}, 2),
    "instance": b"\x80\x02}U\x04data(inumpy\nndarray\ns.",
    "newobj": b"\x80\x02}U\x04datacnumpy\nndarray\n)\x81s.",
    "persistent": b"\x80\x02}U\x04dataU\x01aQs.",
    "extension": b"\x80\x02}U\x04data\x82\x01s.",
    "state on a class": b"\x80\x02}U\x04datacnumpy\nndarray\nN}U\x01xK\x01s\x86bs.",
    "state on encode": b"\x80\x02}U\x04datac_codecs\nencode\nN}U\x01xK\x01s\x86bs.",
    "shape beyond data": pickle.dumps({"data": np.zeros(3, "u1")}, 2).replace(
        b"K\x03\x85", b"K\x7f\x85"
    ),
    "huge memo": b"\x80\x02}r\xff\xff\xff\x7f.",
    "huge bytes": b"\x80\x04}\x8e\xff\xff\xff\xff\xff\xff\xff\x7fab.",
    "no dict": pickle.dumps([1, 2]),
    "no pickle": b"hello",
    "empty": b"",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FormatError, match="refused as a pickle"):
        restricted_loads(HOSTILE[name], "file")
    assert list(tmp_path.iterdir()) == []


def test_pickle_truncated_at_every_byte():
    data = {b"data": np.arange(6, dtype=np.uint8), b"labels": [1, 2]}
    whole = pickle.dumps(data, 2)
    for end in range(len(whole)):
        with pytest.raises(FormatError):
            restricted_loads(whole[:end], "file")


def test_binary_file_of_another_length(tmp_path):
    write_binary(tmp_path)
    path = tmp_path / "data_batch_3.bin"
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:-3073], whole + b"x", b""):
        path.write_bytes(content)
        with pytest.raises(FormatError, match=rf"expected {len(whole)} bytes"):
            cifar10.load_data(tmp_path)


def test_label_out_of_range(tmp_path):
    write_binary(tmp_path)
    path = tmp_path / "test_batch.bin"
    path.write_bytes(b"\x0a" + path.read_bytes()[1:])
    with pytest.raises(FormatError, match=r"expected labels 0 \.\. 9, got 10 at 0"):
        cifar10.load_data(tmp_path)


def test_missing_batch(tmp_path):
    write_binary(tmp_path)
    (tmp_path / "test_batch.bin").unlink()
    with pytest.raises(FormatError, match="lacks test_batch"):
        cifar10.load_data(tmp_path)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="looked for"):
        cifar10.load_data(tmp_path)


@pytest.mark.parametrize("batch", [{}, {"data": 1, "labels": []}])
def test_python_form_with_other_content(tmp_path, batch):
    write_python(tmp_path)
    (tmp_path / BATCHES[0]).write_bytes(pickle.dumps(batch, 2))
    with pytest.raises(FormatError, match="expected"):
        cifar10.load_data(tmp_path)


def write_images(folder: Path, side: int = 32) -> None:
    image = pytest.importorskip("PIL.Image")
    for part, n in (("train", 2), ("test", 1)):
        for label, name in enumerate(cifar10.CLASS_NAMES):
            (folder / part / name).mkdir(parents=True)
            pixels = np.full((side, side, 3), label * 20, np.uint8)
            for i in range(n):
                image.fromarray(pixels).save(folder / part / name / f"{i:04}.png")


def test_image_folders(tmp_path):
    write_images(tmp_path)
    (x_train, y_train), (x_test, y_test) = cifar10.load_data(tmp_path)
    assert x_train.shape == (20, 32, 32, 3)
    assert y_test[:, 0].tolist() == list(range(10))
    assert (x_train[:, 0, 0, 1] == y_train[:, 0] * 20).all()
    assert (x_test[:, 5, 5, 2] == y_test[:, 0] * 20).all()


def test_image_archives(tmp_path):
    write_images(tmp_path / "source")
    for part in ("train", "test"):
        with tarfile.open(tmp_path / f"{part}.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "source" / part, part)
    (x_train, y_train), _ = cifar10.load_data(tmp_path)
    assert (x_train[:, 0, 0, 1] == y_train[:, 0] * 20).all()


def test_image_folders_of_another_size(tmp_path):
    write_images(tmp_path, side=16)
    with pytest.raises(FormatError, match=r"\(32, 32, 3\), got \(16, 16, 3\)"):
        cifar10.load_data(tmp_path)


@pytest.mark.parametrize("name", ["../airplane/a.jpg", "/airplane/a.jpg"])
def test_archive_names_that_lead_out(tmp_path, name):
    for part in ("train", "test"):
        with tarfile.open(tmp_path / f"{part}.tar.gz", "w:gz") as archive:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    with pytest.raises(FormatError, match="leads out"):
        cifar10.load_data(tmp_path)
