"""Files of weights of any kind, told apart by their first bytes."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

from fastconv.errors import FastconvError, FormatError, MissingExtraError
from fastconv.weights import hdf5, npz, pth, safetensors_file
from fastconv.weights.archive import Archive
from fastconv.weights.onnx import reading
from fastconv.weights.stored import Stored

__all__ = ["read"]

_HDF5 = b"\x89HDF\r\n\x1a\n"
_CONFIG = 16 << 20  # bytes


def read(filepath: str | os.PathLike[str]) -> Stored:
    """The arrays of a file: safetensors, PyTorch's, Keras's, NumPy's or ONNX's.

    A file is data: sizes in it are compared with its length before memory is taken,
    and nothing in it runs.

    Raises
    ------
    FormatError for a file that is damaged, truncated, of another format, or wants to
    run something; OSError if it cannot be read; MissingExtraError for HDF5 without
    h5py.

    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastconv.weights.files import read
    >>> path = os.path.join(tempfile.mkdtemp(), "weights.npz")
    >>> np.savez(path, bias=np.zeros(3))
    >>> read(path).arrays["bias"].shape
    (3,)
    """
    path = Path(filepath)
    source = os.fspath(filepath)
    with path.open("rb") as file:
        try:
            return _read(file, path, source)
        except MissingExtraError:
            raise
        except FastconvError as error:
            if str(error).startswith(source):
                raise
            raise FormatError(f"{source}: refused: {error}") from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno != errno.EINVAL:
                raise  # EINVAL: a place in the file that cannot be
            raise FormatError(
                f"{source}: damaged, truncated, or of another format: "
                f"{type(error).__name__}: {str(error)[:200]}"
            ) from error


def _read(file: Any, path: Path, source: str) -> Stored:
    head = file.read(16)
    file.seek(0)
    if head.startswith(b"PK\x03\x04"):
        return _zip(Archive(file), source)
    if head.startswith(_HDF5):
        return Stored(source, *_keras(path))
    if head.startswith(pth.LEGACY):
        return Stored(source, pth.read_legacy(file))
    if reading.is_onnx(path, head):
        contents = reading.parse(memoryview(file.read()), source, path.parent)
        floats = {k: v for k, v in contents.arrays.items() if v.dtype.kind == "f"}
        return Stored(source, floats, metadata=contents.facts)
    if head[8:9] == b"{":
        return safetensors_file.read(file.read(), source)
    if head.startswith(b"\x80"):
        raise FormatError("a plain pickle; expected a state dict that torch.save wrote")
    raise FormatError(
        f"expected safetensors, PyTorch's .pth, Keras's .h5 or .keras, .npz or .onnx, "
        f"and a file of {path.stat().st_size} bytes is none of them, or truncated"
    )


def _zip(archive: Archive, source: str) -> Stored:
    names = archive.names()
    if "model.weights.h5" in names:
        return _keras_archive(archive, source)
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return Stored(source, pth.read_zip(archive))
    if names and all(name.endswith(".npy") for name in names):
        return Stored(source, npz.read(archive))
    raise FormatError("a zip file that is neither PyTorch's, nor Keras's, nor NumPy's")


def _keras_archive(archive: Archive, source: str) -> Stored:
    """A .keras file: its weights go to a file beside, for the process that reads."""
    import tempfile

    with tempfile.NamedTemporaryFile(suffix=".h5") as file:
        file.write(archive.read("model.weights.h5"))
        file.flush()
        return Stored(source, *_keras(Path(file.name)), metadata=_facts(archive))


def _keras(path: Path) -> tuple[Any, bool, list[str], dict[str, str]]:
    arrays, classes = hdf5.read(path)
    return arrays, False, [], classes


def _facts(archive: Archive) -> dict[str, Any]:
    """What a .keras file tells of its network: its name."""
    config = json.loads(archive.read("config.json", _CONFIG))
    name = config["config"].get("name")
    return {"network": name} if isinstance(name, str) else {}
