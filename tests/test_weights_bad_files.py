"""Damaged and malicious files of weights: refused, clearly, without running a thing."""

import contextlib
import pickle
import resource
import struct
import time
import zipfile

import numpy as np
import pytest

import fastconv as fc
import weight_files as w
from fastconv.errors import FormatError
from fastconv.weights import files

VALUES = np.arange(6, dtype="f4")
GOOD = VALUES.reshape(2, 3)
HUGE = 1 << 40


def code(text):
    """A pickle of a state dict whose only value is made by these opcodes."""
    return b"\x80\x02}X\x01\x00\x00\x00a" + text + b"s."


def tensor(path, **changes):
    return w.pth(path, {"a": w.Tensor(GOOD, **{"key": "0", **changes})}, {"0": VALUES})


def both(path, first, second):
    """Two entries of one name."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("a/data.pkl", first)
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("a/data.pkl", second)


def overlapping(path):
    """Many entries of the directory that are the same bytes."""
    w.zipped(path, {f"{i:03}.npy": w.npy((999,), bytes(3996)) for i in range(2)})
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as file:
        start = file.start_dir
        end = data.rindex(b"PK\x05\x06")
    first = data[start : start + (end - start) // 2]
    copies = [bytes(first).replace(b"000.npy", b"%03d.npy" % i) for i in range(500)]
    tail = bytearray(data[end:])
    struct.pack_into("<HHL", tail, 8, 500, 500, 500 * len(first))
    path.write_bytes(data[:start] + b"".join(copies) + tail)


def deep(path):
    """Tuples in tuples, as a key: hashing them would take all stack."""
    nested = b")" + b"\x85" * 200_000
    w.pth(path, None, {}, b"\x80\x02}" + nested + b"K\x01s.")


def bomb(path):
    entries = {"a.npy": w.npy((1 << 26,), bytes(1 << 28))}
    w.zipped(path, entries, zipfile.ZIP_DEFLATED)


CASES = {
    "empty": lambda p: p.write_bytes(b""),
    "text": lambda p: p.write_text("hello, these are no weights" * 9),
    # pickles that want to run something
    "plain pickle": lambda p: p.write_bytes(pickle.dumps(w.Runs(p.parent / "run"))),
    "pth os.system": lambda p: w.pth(
        p, None, {}, pickle.dumps({"a": w.Runs(p.parent / "run")}, 2)
    ),
    "legacy os.system": lambda p: w.legacy(p, {"a": w.Runs(p.parent / "run")}, {}),
    "protocol 4": lambda p: w.pth(
        p, None, {}, pickle.dumps({"a": w.Runs(p.parent / "run")}, 4)
    ),
    "builtins.eval": lambda p: w.pth(
        p, None, {}, code(b"cbuiltins\neval\nX\x01\x00\x00\x001\x85R")
    ),
    "a submodule": lambda p: w.pth(
        p, None, {}, code(b"ctorch._utils\n_rebuild_tensor_v2.__globals__\n")
    ),
    "opcode INST": lambda p: w.pth(p, None, {}, code(b"(ios\nsystem\n")),
    "opcode EXT": lambda p: w.pth(p, None, {}, code(b"\x82\x01")),
    "state of a class": lambda p: w.pth(
        p, None, {}, code(b"ccollections\nOrderedDict\n}b")
    ),
    "huge memo": lambda p: w.pth(p, None, {}, code(b"K\x01r\xff\xff\xff\x7f")),
    "nested tuples": deep,
    "huge string": lambda p: w.pth(
        p, None, {}, code(b"\x8d" + struct.pack("<Q", HUGE) + b"x")
    ),
    # PyTorch
    "path of a storage": lambda p: tensor(p, key="../../../../etc/passwd"),
    "shape too large": lambda p: tensor(p, size=(HUGE, 3)),
    "repeated element": lambda p: tensor(p, size=(HUGE, 3), stride=(0, 0)),
    "negative stride": lambda p: tensor(p, stride=(-3, 1)),
    "negative offset": lambda p: tensor(p, offset=-1),
    "offset behind the end": lambda p: tensor(p, offset=1),
    "storage too long": lambda p: tensor(p, count=HUGE),
    "rank 40": lambda p: tensor(p, size=(1,) * 40, stride=(1,) * 40),
    "kind of storage": lambda p: tensor(p, kind="StringStorage"),
    "no tensor": lambda p: w.pth(p, {"epoch": 3}, {}),
    "two pickles": lambda p: both(p, w.pickled({}), w.pickled({})),
    "legacy truncated": lambda p: p.write_bytes(
        w.legacy(p, {"a": w.Tensor(GOOD, "0")}, {"0": VALUES}).read_bytes()[:-4]
    ),
    "legacy keys": lambda p: w.legacy(
        p, {"a": w.Tensor(GOOD, "0")}, {"0": VALUES}, ["1"]
    ),
    "zip truncated": lambda p: p.write_bytes(tensor(p).read_bytes()[:-9]),
    "zip damaged": lambda p: p.write_bytes(
        tensor(p).read_bytes().replace(VALUES.tobytes(), bytes(24))
    ),
    "another zip": lambda p: w.zipped(p, {"../../x.txt": b"x"}),
    # NumPy
    "npz object": lambda p: w.zipped(
        p, {"a.npy": w.npy((1,), pickle.dumps([w.Runs(p.parent / "run")]), "|O")}
    ),
    "npz huge": lambda p: w.zipped(p, {"a.npy": w.npy((HUGE,), b"1234")}),
    "npz negative": lambda p: w.zipped(p, {"a.npy": w.npy((-1,), b"1234")}),
    "npz text": lambda p: w.zipped(p, {"a.npy": w.npy((1,), b"1234", "|S4")}),
    "npz bomb": bomb,
    "npz overlapping": overlapping,
    # safetensors
    "header too long": lambda p: p.write_bytes(struct.pack("<Q", HUGE) + b"{" * 50),
    "no header": lambda p: w.safetensors(p, b"{]"),
    "nested header": lambda p: w.safetensors(p, b'{"a":' * 100_000),
    "a name twice": lambda p: w.safetensors(p, b'{"a": 1, "a": 2}'),
    "huge shape": lambda p: w.safetensors(p, {"a": w.entry([HUGE], 0, 4)}, b"1234"),
    "behind the end": lambda p: w.safetensors(p, {"a": w.entry([9], 0, 36)}, b"1234"),
    "negative size": lambda p: w.safetensors(p, {"a": w.entry([-1], 4, 0)}, b"1234"),
    "overlap": lambda p: w.safetensors(
        p, {"a": w.entry([2], 0, 8), "b": w.entry([2], 4, 12)}, bytes(12)
    ),
    "hole": lambda p: w.safetensors(p, {"a": w.entry([1], 0, 4)}, bytes(12)),
    "dtype": lambda p: w.safetensors(p, {"a": w.entry([4], 0, 4, "F8_E4M3")}, b"1234"),
}  # fmt: skip


@pytest.fixture
def model():
    return fc.Sequential([fc.Input((3,)), fc.layers.Dense(2, use_bias=False, name="a")])


@pytest.mark.parametrize("name", CASES)
def test_refused(name, tmp_path, model):
    path = tmp_path / "weights.bin"
    CASES[name](path)
    before = model.get_weights()
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    for read in (model.load_weights, fc.load):
        with pytest.raises(FormatError, match=r"weights\.bin"):
            read(path)
    assert time.perf_counter() - start < 20
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size
    assert grown < 400 * 1024  # KiB; the file of the bomb is made here, too
    assert not (tmp_path / "run").exists(), "a file has run something"
    np.testing.assert_array_equal(model.get_weights(), before)


def test_damaged_bytes(tmp_path):
    """Whatever a byte is changed to, a file is read or refused."""
    rng = np.random.default_rng(0)
    path = tmp_path / "x.npz"
    np.savez(path, a=VALUES)
    sources = [path.read_bytes()]
    for write in (w.pth, w.legacy):
        written = write(path, {"a": w.Tensor(GOOD, "0")}, {"0": VALUES})
        sources.append(written.read_bytes())
    for round_ in range(600):
        data = bytearray(sources[round_ % 3])
        for place in rng.integers(len(data), size=rng.integers(1, 6)):
            data[place] = rng.integers(256)
        path.write_bytes(data if rng.random() < 0.8 else data[: rng.integers(99)])
        with contextlib.suppress(FormatError):
            assert files.read(path).arrays.keys() <= {"a"}


def test_shapes_that_differ_are_listed(tmp_path, model):
    path = w.pth(tmp_path / "x.pth", {"a.weight": w.Tensor(GOOD.T, "0")}, {"0": VALUES})
    with pytest.raises(
        FormatError, match=r"expected shape \(2, 3\), received \(3, 2\)"
    ):
        model.load_weights(path)


# HDF5


def keras_file(path, change):
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "a"
        change(h5py, group)
    return path


def external(h5py, group):
    group["0"] = h5py.ExternalLink("/etc/passwd", "/x")


def outside(h5py, group):
    group.create_dataset("0", (3, 2), "f4", external=[("/etc/passwd", 0, 24)])


def huge(h5py, group):
    group.create_dataset("0", (HUGE,), "f4", chunks=(1024,))


def virtual(h5py, group):
    layout = h5py.VirtualLayout((3, 2), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "x", (3, 2))
    group.create_virtual_dataset("0", layout)


def aliases(h5py, group):
    group["0"] = GOOD.T
    group["1"] = group["0"]


def cycle(h5py, group):
    group.parent["vars/0"] = group.parent


def text(h5py, group):
    group["0"] = "some text"


HDF5 = [external, outside, huge, virtual, aliases, cycle, text]


@pytest.mark.parametrize("change", HDF5, ids=lambda change: change.__name__)
def test_hdf5_is_refused(change, tmp_path, model):
    path = keras_file(tmp_path / "x.h5", change)
    with pytest.raises(FormatError, match=r"x\.h5"):
        model.load_weights(path)


def test_hdf5_that_is_damaged(tmp_path, model):
    path = keras_file(tmp_path / "x.h5", lambda _, group: group.update({"0": GOOD.T}))
    model.load_weights(path)
    np.testing.assert_array_equal(model.get_weights()[0], GOOD.T)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError, match="truncated"):
        model.load_weights(path)


def test_a_crash_of_hdf5_is_an_error(tmp_path, model, monkeypatch):
    from fastconv.weights import hdf5

    path = tmp_path / "x.h5"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    monkeypatch.setattr(hdf5, "_CHILD", "import os; os.abort()")
    with pytest.raises(FormatError, match="ended with -6"):
        model.load_weights(path)
    monkeypatch.setattr(hdf5, "_CHILD", "import time; time.sleep(60)")
    with pytest.raises(FormatError, match="did not read it"):
        hdf5.read(path, limit_s=0.5)
