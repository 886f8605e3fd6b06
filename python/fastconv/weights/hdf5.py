"""Keras's HDF5 files, read by a process of its own.

The C library of HDF5 may crash on a damaged file, loop, or take all memory. The process
that reads has limits of time and memory, and gives the arrays back as safetensors; if
it dies, that is an error here. Links to other files are never followed.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.errors import FormatError, MissingExtraError
from fastconv.weights.stored import GROWTH, checked, grows_too_much

__all__ = ["read"]

_CHILD = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from fastconv.weights import hdf5; hdf5.serve(sys.argv[2])"
)
_DEPTH = 32
_ATTRIBUTE = 16 << 20  # bytes of names


def read(path: Path, limit_s: float = 60.0) -> tuple[dict[str, np.ndarray], Any]:
    """The arrays of Keras's layers, ``LAYER/0``, ``LAYER/1`` ..., and their classes.

    Raises
    ------
    MissingExtraError without h5py; FormatError for what is no file of Keras, damaged,
    or too large for its size.
    """
    from safetensors.numpy import load

    limit_s += path.stat().st_size / 10e6
    command = [sys.executable, "-c", _CHILD, json.dumps(sys.path), str(path)]
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=limit_s, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise FormatError(f"HDF5 did not read it in {limit_s:.0f} s") from error
    if done.returncode == 3:
        raise MissingExtraError(
            f"{path}: h5py is needed for Keras's files: pip install 'fastconv[keras]'"
        )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = lines[-1][:400] if lines else f"it ended with {done.returncode}"
        raise FormatError(f"HDF5 cannot read it: {reason}")
    arrays = load(done.stdout)
    classes = json.loads(arrays.pop("@classes").tobytes())
    order = json.loads(arrays.pop("@order").tobytes())
    return {name: arrays[name] for name in order}, classes


def serve(path: str) -> None:
    """What the other process does: arrays to standard output, or a status above 0."""
    _limit(Path(path).stat().st_size)
    try:
        import h5py
    except ImportError:
        sys.exit(3)
    from safetensors.numpy import save

    try:
        with h5py.File(path, "r") as file:
            reader = _Reader(h5py, GROWTH * Path(path).stat().st_size)
            found, classes = reader.layers(file)
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
    extra = {"@order": list(found), "@classes": classes}
    texts = {k: np.frombuffer(json.dumps(v).encode(), "u1") for k, v in extra.items()}
    sys.stdout.buffer.write(save({**found, **texts}))


def _limit(size: int) -> None:
    """At most 8 GiB of address space and the file ten times; no core files."""
    import resource

    space = (8 << 30) + 10 * size
    resource.setrlimit(resource.RLIMIT_AS, (space, space))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class _Reader:
    """Walks through a file; each data set is read once, and their sizes are checked."""

    def __init__(self, h5py: Any, limit: int) -> None:
        self._h5py, self._left = h5py, limit
        self._seen: set[Any] = set()

    def layers(self, file: Any) -> tuple[dict[str, np.ndarray], dict[str, str]]:
        """Arrays by layer and number, and the layers' names by class."""
        root = self._inside(file, "model_weights") or file
        if "layer_names" in root.attrs or "layer_names0" in root.attrs:
            return self._older(root), {}
        layers = self._inside(file, "layers") or self._inside(file, "_layer_checkpoint")
        if layers is None:
            raise FormatError("no layers: expected weights that Keras wrote")
        found: dict[str, np.ndarray] = {}
        classes = {}
        for key in layers:
            group = self._inside(layers, key)
            values = group and self._inside(group, "vars")
            if values is None:
                continue
            if self._inside(group, "layers") is not None:
                raise FormatError(
                    f"layer {key!r} is a model with layers of its own; save it as .h5"
                )
            name = str(values.attrs.get("name", key))
            classes[name] = key
            for number in sorted(values, key=int):
                found[f"{name}/{number}"] = self._array(values, number)
        return found, classes

    def _older(self, root: Any) -> dict[str, np.ndarray]:
        """Files of ``model.save("x.h5")``: lists of names in attributes."""
        found = {}
        for layer in self._texts(root, "layer_names"):
            group = self._inside(root, layer)
            if group is None:
                raise FormatError(f"layer {layer!r} is not there")
            for number, name in enumerate(self._texts(group, "weight_names")):
                found[f"{layer}/{number}"] = self._array(group, name)
        return found

    def _texts(self, group: Any, name: str) -> Iterator[str]:
        """A list of names; long ones are cut into name0, name1, ..."""
        parts = [name] if name in group.attrs else []
        while not parts or parts[-1] != name:
            if f"{name}{len(parts)}" not in group.attrs:
                break
            parts.append(f"{name}{len(parts)}")
        for part in parts:
            held = group.attrs.get_id(part)
            size = math.prod(held.shape) * held.dtype.itemsize
            if size > _ATTRIBUTE:
                raise FormatError(f"{part}: {size} bytes of names")
            for text in group.attrs[part]:
                yield text.decode() if isinstance(text, bytes) else str(text)

    def _inside(self, group: Any, name: str) -> Any:
        """What lies in a group below ``name``; links out of it are refused."""
        parts = [part for part in name.split("/") if part]
        if len(parts) > _DEPTH or ".." in parts:
            raise FormatError(f"{name!r:.80}: too deep, or outside")
        for part in parts:
            if part not in group:
                return None
            link = group.get(part, getlink=True)
            if not isinstance(link, self._h5py.HardLink):
                raise FormatError(f"{part!r:.80} is a link, which is not followed")
            group = group[part]
        return group

    def _array(self, group: Any, name: str) -> np.ndarray:
        data = self._inside(group, name)
        if not isinstance(data, self._h5py.Dataset):
            raise FormatError(f"{name!r:.80}: expected an array")
        shape = checked(tuple(map(int, data.shape or ())), name)
        if data.is_virtual or data.external:
            raise FormatError(f"{name!r:.80} lies in another file")
        if data.dtype.kind not in "biuf" or "dtype" in data.attrs:
            raise FormatError(f"{name!r:.80}: dtype {data.dtype} is not supported")
        place = self._h5py.h5o.get_info(data.id).addr
        if place in self._seen:
            raise FormatError(f"{name!r:.80} stands twice, under two names")
        self._seen.add(place)
        kept = data.id.get_storage_size()
        self._left -= data.nbytes
        if self._left < 0 or grows_too_much(data.nbytes, kept):
            raise FormatError(
                f"{name!r:.80}: {kept} bytes claim to be {data.nbytes}, {shape}; "
                f"expected at most {GROWTH} times as many"
            )
        return np.ascontiguousarray(data[()])
