"""IDX files: every damage is an error, and no header takes memory."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from fastconv.data import mnist
from fastconv.data.idx import FILES, read_idx, read_idx_folder, read_idx_pair
from fastconv.errors import DataError, FormatError

CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx_bytes(array: np.ndarray) -> bytes:
    code = CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_set(folder: Path, suffix: str = "", train: int = 5, test: int = 3) -> None:
    for name, n in zip(FILES, (train, train, test, test), strict=True):
        shape = (n, 4, 3) if "images" in name else (n,)
        content = idx_bytes(np.arange(np.prod(shape), dtype="u1").reshape(shape))
        if suffix:
            content = gzip.compress(content)
        (folder / (name + suffix)).write_bytes(content)


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_round_trip_of_every_type(tmp_path, kind, compress):
    array = np.arange(24).reshape(2, 3, 4).astype(kind)
    (tmp_path / "a").write_bytes(compress(idx_bytes(array)))
    read = read_idx(tmp_path / "a")
    assert read.dtype == np.dtype(kind)
    assert read.dtype.isnative
    np.testing.assert_array_equal(read, array)


def test_truncation_at_every_byte(tmp_path):
    whole = idx_bytes(np.arange(12, dtype="i2").reshape(3, 4))
    path = tmp_path / "a"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(FormatError, match="expected"):
            read_idx(path)
        path.write_bytes(gzip.compress(whole[:end]))
        with pytest.raises(FormatError, match="expected"):
            read_idx(path)


def test_truncated_gzip_at_every_byte(tmp_path):
    whole = gzip.compress(idx_bytes(np.arange(12, dtype="u1")))
    path = tmp_path / "a.gz"
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(FormatError):
            read_idx(path)


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_a_byte_too_many(tmp_path, compress):
    (tmp_path / "a").write_bytes(compress(idx_bytes(np.zeros(5, "u1")) + b"x"))
    with pytest.raises(FormatError, match=r"expected 5 bytes after it, got (6|more)"):
        read_idx(tmp_path / "a")


def test_gzip_checksum_is_checked(tmp_path):
    content = bytearray(gzip.compress(idx_bytes(np.zeros(50, "u1"))))
    content[-6] ^= 1
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(FormatError, match="gzip"):
        read_idx(tmp_path / "a.gz")


@pytest.mark.parametrize(
    "magic", [b"\x01\0\x08\x01", b"\0\0\x07\x01", b"\0\0\x08\0", b"\0\0\x08\xff", b""]
)
def test_wrong_magic(tmp_path, magic):
    (tmp_path / "a").write_bytes(magic + bytes(40))
    with pytest.raises(FormatError, match="expected"):
        read_idx(tmp_path / "a")


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize(
    "sizes", [(2**32 - 1,) * 3, (2**31, 4, 1), (200_000_000, 1, 1)]
)
def test_a_large_header_takes_no_memory(tmp_path, compress, sizes):
    lie = struct.pack(">BBBBIII", 0, 0, 8, 3, *sizes) + bytes(1000)
    (tmp_path / "a").write_bytes(compress(lie))
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="the header says"):
            read_idx(tmp_path / "a")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_images_and_labels_must_agree(tmp_path):
    images, labels = tmp_path / "x", tmp_path / "y"
    images.write_bytes(idx_bytes(np.zeros((3, 2, 2), "u1")))
    labels.write_bytes(idx_bytes(np.zeros(4, "u1")))
    with pytest.raises(FormatError, match=r"3 images but .* 4 labels"):
        read_idx_pair(images, labels)
    with pytest.raises(FormatError, match="expected 3 dimension"):
        read_idx_pair(labels, labels)
    labels.write_bytes(idx_bytes(np.zeros(3, "f4")))
    with pytest.raises(FormatError, match="expected integers, got float32"):
        read_idx_pair(images, labels)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_folder(tmp_path, suffix):
    write_set(tmp_path, suffix)
    (x_train, y_train), (x_test, y_test) = mnist.load_data(tmp_path)
    assert x_train.shape == (5, 4, 3)
    assert x_test.shape == (3, 4, 3)
    assert y_train.dtype == y_test.dtype == np.int64
    assert y_train.tolist() == [0, 1, 2, 3, 4]


def test_folder_without_a_file(tmp_path):
    write_set(tmp_path)
    (tmp_path / FILES[3]).unlink()
    with pytest.raises(DataError, match=FILES[3]):
        read_idx_folder(tmp_path)


def test_mnist_npz(tmp_path):
    parts = {"x_train": np.zeros((4, 2, 2)), "y_train": np.zeros(4, int)}
    parts |= {"x_test": np.zeros((1, 2, 2)), "y_test": np.zeros(1, int)}
    np.savez(tmp_path / "m.npz", **parts)
    (x_train, _), (x_test, _) = mnist.load_data(tmp_path / "m.npz")
    assert len(x_train) == 4
    assert len(x_test) == 1
