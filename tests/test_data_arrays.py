"""Array files: no pickles, no sizes that the file does not back."""

import struct
import zipfile

import numpy as np
import pytest

from fastconv.data import load_arrays
from fastconv.errors import DataError, FormatError


def npy_header(shape: str, descr: str = "<f8") -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    save(
        tmp_path / "a.npz", x=np.arange(6.0).reshape(2, 3), y=np.arange(2), z=np.ones(1)
    )
    arrays = load_arrays(tmp_path / "a.npz")
    assert list(arrays) == ["x", "y"]
    assert arrays["x"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_npy_is_mapped(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6.0))
    x = load_arrays(tmp_path / "a.npy")["x"]
    assert isinstance(x, np.memmap)
    assert x.sum() == 15


def test_empty_npy(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((0, 3)))
    assert load_arrays(tmp_path / "a.npy")["x"].shape == (0, 3)


def test_pickles_are_refused(tmp_path):
    objects = np.array([{}, []], dtype=object)
    np.savez(tmp_path / "a.npz", x=objects)
    np.save(tmp_path / "a.npy", objects)
    for name in ("a.npz", "a.npy"):
        with pytest.raises(FormatError, match="objects"):
            load_arrays(tmp_path / name)


def test_other_names(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.ones(1))
    with pytest.raises(FormatError, match=r"x_train.*got images"):
        load_arrays(tmp_path / "a.npz")


def test_no_file(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        load_arrays(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
def test_truncation_at_every_byte(tmp_path, name):
    path = tmp_path / name
    if name.endswith("y"):
        np.save(path, np.arange(4, dtype="u1"))
    else:
        np.savez(path, x=np.arange(4, dtype="u1"))
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        with pytest.raises(FormatError):
            load_arrays(path)


@pytest.mark.parametrize("shape", ["(9999999999999,)", "(-4,)", "(2, -1)", "(3,)"])
def test_a_header_that_lies(tmp_path, shape):
    content = npy_header(shape) + bytes(16)
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", content)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(FormatError):
            load_arrays(tmp_path / name)


def test_a_table_of_contents_that_lies(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", npy_header("(500000000,)") + bytes(16))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    entry = content.rindex(b"PK\x01\x02")
    struct.pack_into("<I", content, entry + 24, 4_000_000_080)
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(FormatError, match="table of contents"):
        load_arrays(tmp_path / "a.npz")
