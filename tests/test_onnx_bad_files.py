"""Damaged and malicious ONNX files: refused, clearly, in bounded time and memory."""

import resource
import time

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import FormatError
from fastconv.weights.onnx import proto
from fastconv.weights.onnx.tensors import from_array
from fastconv.weights.onnx.wire import decode, encode
from onnx_files import message, node, value, write

KERNEL = np.ones((4, 3, 3, 3), "f4")
CONV = [node("Conv", "x w", "y")]
HUGE = 1 << 40


def good():
    return encode(message(CONV, arrays={"w": KERNEL}))


def tensor(**changes):
    made = from_array(KERNEL, "w")
    for name, given in changes.items():
        setattr(made, name, given)
    return made


def outside(location, **more):
    said = {"location": location, **more}
    entries = [proto.Entry(key=k, value=str(v)) for k, v in said.items()]
    return tensor(raw_data=b"", data_location=1, external_data=entries)


def with_tensor(**changes):
    return lambda p: write(p, CONV, arrays={"w": tensor(**changes)})


def with_outside(location, **more):
    return lambda p: write(p, CONV, arrays={"w": outside(location, **more)})


def graph(*nodes, arrays=(), **kwargs):
    return lambda p: write(p, list(nodes), arrays=dict(arrays), **kwargs)


def raw(change):
    return lambda p: p.write_bytes(change(good()))


def link(path):
    secret = path.parent.parent / "secret.bin"
    secret.write_bytes(KERNEL.tobytes())
    (path.parent / "link.bin").symlink_to(secret)
    write(path, CONV, arrays={"w": outside("link.bin")})


def no_outputs(path):
    made = message(CONV, arrays={"w": KERNEL})
    made.graph.output = []
    path.write_bytes(encode(made))


def nested(path):
    """Messages in messages, deeper than any file has them."""
    data = b""
    for _ in range(3000):
        data = b"\x0a" + _length(len(data)) + data
    path.write_bytes(b"\x08\x08" + b"\x3a" + _length(len(data)) + data)


def _length(n):
    found = b""
    while n > 127:
        found, n = found + bytes([n & 127 | 128]), n >> 7
    return found + bytes([n])


def doubling(path):
    """Constants that double: 2^40 numbers of a few bytes."""
    steps = [node("Concat", f"a{i} a{i}", f"a{i + 1}", axis=0) for i in range(40)]
    last = node("Add", "x a40", "y")
    write(path, [*steps, last], arrays={"a0": np.ones((8,), np.int64)})


def long(size):
    return np.array([size] * 2, np.int64)


def subgraph(path):
    made = node("Relu", "x", "y")
    made.attribute = [proto.Attribute(name="body", type=5)]
    write(path, [made])


def scalar_input(path):
    made = message([node("Relu", "x", "y")])
    made.graph.input = [value("x", ())]
    path.write_bytes(encode(made))


CASES = {
    "empty": lambda p: p.write_bytes(b""),
    "text": lambda p: p.write_text("hello, this is no model" * 9),
    "truncated": raw(lambda d: d[:200]),
    "truncated by a byte": raw(lambda d: d[:-1]),
    "a length beyond the file": raw(lambda d: b"\x08\x08\x3a\xff\xff\xff\xff\x7f" + d),
    "a length of 2^63": raw(lambda d: b"\x3a" + b"\xff" * 9 + b"\x01"),
    "an endless number": raw(lambda d: b"\x08" + b"\xff" * 40),
    "a wire type that is none": raw(lambda d: d + b"\x0f"),
    "a field of another type": raw(lambda d: b"\x3d\x00\x00\x00\x00" + d[4:]),
    "nested": nested,
    "no graph": lambda p: p.write_bytes(encode(proto.Model(ir_version=8))),
    "no operators' version": raw(
        lambda d: encode(proto.Model(graph=decode(proto.Model, memoryview(d)).graph))
    ),
    "operators of version 99": graph(*CONV, arrays={"w": KERNEL}, opset=99),
    "no outputs": no_outputs,
    # the graph
    "a cycle": graph(node("Add", "x b", "a"), node("Relu", "a", "b"),
                     node("Relu", "b", "y")),
    "a node that reads itself": graph(node("Add", "x y", "y")),
    "not sorted": graph(node("Relu", "a", "y"), node("Relu", "x", "a")),
    "a name that nothing makes": graph(node("Add", "x b", "y")),
    "a name made twice": graph(node("Relu", "x", "y"), node("Abs", "x", "y")),
    "an output that nothing makes": graph(node("Relu", "x", "z")),
    "a subgraph": subgraph,
    "an input without a batch": scalar_input,
    # arrays
    "a huge shape": with_tensor(dims=[HUGE, HUGE]),
    "a negative size": with_tensor(dims=[-1, 3, 3, 3]),
    "more sizes than numbers": with_tensor(dims=[5, 3, 3, 3]),
    "twelve axes": with_tensor(dims=[1] * 11 + [108]),
    "an element type that is none": with_tensor(data_type=77),
    "numbers one by one, too few": with_tensor(raw_data=b"", float_data=[1.0]),
    # paths
    "a path upwards": with_outside("../secret.bin"),
    "an absolute path": with_outside("/etc/passwd"),
    "a path with a turn": with_outside("data/../../secret.bin"),
    "a link out of the folder": link,
    "a path with a zero": with_outside("a\0b"),
    "no path": with_outside(""),
    "a device": with_outside("/dev/zero", length=KERNEL.nbytes),
    "a file that is missing": with_outside("other.bin"),
    "an offset beyond the file": with_outside("a.onnx", offset=HUGE),
    "a negative offset": with_outside("a.onnx", offset=-8),
    "an offset that is no number": with_outside("a.onnx", offset="0x"),
    "a length of another shape": with_outside("a.onnx", length=7),
    # shapes and attributes
    "channels that differ": graph(*CONV, arrays={"w": np.ones((4, 5, 3, 3), "f4")}),
    "a kernel of two axes": graph(*CONV, arrays={"w": np.ones((4, 3), "f4")}),
    "a window that does not fit": graph(
        *CONV, arrays={"w": np.ones((1, 3, 99, 9), "f4")}),
    "a stride of zero": graph(node("Conv", "x w", "y", strides=[0, 0]),
                              arrays={"w": KERNEL}),
    "pads for another rank": graph(node("Conv", "x w", "y", pads=[1]),
                                   arrays={"w": KERNEL}),
    "a pool without a kernel": graph(node("MaxPool", "x", "y")),
    "a matrix of other sizes": graph(
        node("Flatten", "x", "a"), node("Gemm", "a w", "y"),
        arrays={"w": np.ones((7, 2), "f4")}),
    "statistics of other sizes": graph(
        node("BatchNormalization", "x s s s s", "y"), arrays={"s": np.ones(5, "f4")}),
    "an axis that is not there": graph(node("Concat", "x x", "y", axis=9)),
    "a reshape that does not fit": graph(node("Reshape", "x s", "y"),
                                         arrays={"s": np.array([0, 5, 7])}),
    "a missing input": graph(node("Add", "x", "y")),
    "a huge constant": graph(node("ConstantOfShape", "s", "c"), node("Add", "x c", "y"),
                             arrays={"s": long(HUGE)}),
    "a huge expansion": graph(node("Expand", "a s", "c"), node("Add", "x c", "y"),
                              arrays={"a": np.ones(1, "f4"), "s": long(1 << 30)}),
    "a huge range": graph(
        node("Range", "a b c", "r"), node("Add", "x r", "y"),
        arrays={"a": np.int64(0), "b": np.int64(HUGE), "c": np.int64(1)}),
    "a huge tile": graph(node("Tile", "a s", "c"), node("Add", "x c", "y"),
                         arrays={"a": np.ones((1, 1), "f4"), "s": long(1 << 30)}),
    "constants that double": doubling,
    "a constant of the batch alone": graph(node("Shape", "x", "y")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_refused(case, tmp_path):
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(KERNEL.tobytes())
    path = folder / "a.onnx"
    CASES[case](path)
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(FormatError, match=r"a\.onnx: refused: .{10,}"):
        fc.onnx.load(path)
    assert time.monotonic() - start < 10
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 2 << 20  # KiB


@pytest.mark.parametrize("case", ["truncated", "a cycle", "a path upwards", "a device"])
def test_refused_as_weights(case, tmp_path):
    path = tmp_path / "a.onnx"
    CASES[case](path)
    model = fc.Sequential([fc.Input((8, 8, 3)), fc.layers.Conv2D(4, 3, name="w")])
    with pytest.raises(FormatError, match=r"a\.onnx"):
        model.load_weights(path)


def test_every_truncation_is_refused(tmp_path):
    """No prefix of a file is taken for a whole one."""
    data = encode(message(CONV, arrays={"w": np.ones((1, 3, 1, 1), "f4")}))
    path = tmp_path / "a.onnx"
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(FormatError):
            fc.onnx.load(path)


def test_every_changed_byte_is_refused_or_read(tmp_path):
    """Whatever a byte is changed to, an error is a FormatError."""
    data = bytearray(encode(message(CONV, arrays={"w": np.ones((1, 3, 1, 1), "f4")})))
    path = tmp_path / "a.onnx"
    for at in range(len(data)):
        for change in (0x01, 0x80, 0xFF):
            changed = data.copy()
            changed[at] ^= change
            path.write_bytes(changed)
            try:
                fc.onnx.load(path)
            except FormatError:
                continue
