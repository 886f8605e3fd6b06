"""Files of weights, good and bad, written by hand: PyTorch and Keras are not needed."""

import io
import json
import os
import pickle
import struct
import zipfile

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C


class Kind:
    """Is pickled as a class of torch, such as torch.FloatStorage."""

    def __init__(self, name):
        self.name = name


class Tensor:
    """Is pickled as torch pickles a tensor: a view of a storage."""

    def __init__(self, array, key, kind="FloatStorage", **changes):
        array = np.asarray(array)
        strides = tuple(s // array.itemsize for s in array.strides)
        self.view = {
            "offset": 0, "size": array.shape, "stride": strides,
            "count": array.size, "kind": kind, "key": key, **changes,
        }  # fmt: skip


class Pickler(pickle._Pickler):
    """Writes names of a library that is not there."""

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Kind):
            self.write(b"c" + obj.name.rpartition(".")[0].encode() + b"\n")
            self.write(obj.name.rpartition(".")[2].encode() + b"\n")
        elif isinstance(obj, Tensor):
            v = obj.view
            self.save(Kind("torch._utils._rebuild_tensor_v2"))
            self.write(b"(")
            kind = Kind(f"torch.{v['kind']}")
            pid = ("storage", kind, v["key"], "cpu", v["count"])
            self.save((*pid, None) if self.legacy else pid)
            self.write(b"Q")
            for part in (v["offset"], v["size"], v["stride"], False, {}):
                self.save(part)
            self.write(b"tR")
        else:
            super().save(obj, save_persistent_id)


def pickled(obj, legacy=False):
    file = io.BytesIO()
    pickler = Pickler(file, 2)
    pickler.legacy = legacy
    pickler.dump(obj)
    return file.getvalue()


def zipped(path, entries, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return path


def pth(path, state, storages, pkl=None):
    """A file as torch.save writes it since 1.6."""
    entries = {"archive/data.pkl": pickled(state) if pkl is None else pkl}
    for key, values in storages.items():
        entries[f"archive/data/{key}"] = np.asarray(values).tobytes()
    return zipped(path, entries)


def legacy(path, state, storages, keys=None):
    """A file as torch.save wrote it before."""
    parts = [pickled(x, True) for x in (MAGIC, 1001, {}, state, keys or [*storages])]
    for values in storages.values():
        parts += [struct.pack("<q", values.size), values.tobytes()]
    path.write_bytes(b"".join(parts))
    return path


def safetensors(path, header, body=b""):
    """A file with any header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return path


def entry(shape, start, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def npy(shape, data, descr="<f4"):
    """An array of NumPy's with any header."""
    text = str({"descr": descr, "fortran_order": False, "shape": shape}) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + data


class Runs:
    """A pickle that calls os.system."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)
