"""What an ONNX file holds, checked: nodes in an order that can run, arrays, inputs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.errors import FormatError
from fastconv.weights.onnx import proto
from fastconv.weights.onnx.tensors import to_array
from fastconv.weights.onnx.wire import decode
from fastconv.weights.safetensors_file import parsed_facts

__all__ = ["Contents", "is_onnx", "parse", "read"]

OLDEST, NEWEST = 7, 28  # versions of the operators
_NODES = 50_000
_DOMAINS = ("", "ai.onnx")
_SECOND = (0x12, 0x1A, 0x22, 0x3A)  # the key of a field of bytes after the version


@dataclass(frozen=True)
class Contents:
    """A file.

    Attributes
    ----------
    source: its name, for messages.
    opset: version of the operators.
    graph: the message.
    arrays: the initializers by name, in the order of the file.
    facts: mean, deviation, class names, as in `Model.metadata`.
    """

    source: str
    opset: int
    graph: Any
    arrays: dict[str, np.ndarray]
    facts: dict[str, Any]

    @property
    def size(self) -> int:
        """How many numbers the arrays hold."""
        return sum(array.size for array in self.arrays.values())


def is_onnx(path: Path, head: bytes) -> bool:
    """Whether a file is ONNX, by its name or its first fields: the version, a text."""
    if path.suffix.lower() == ".onnx":
        return True
    return len(head) > 2 and head[0] == 8 and 0 < head[1] < 64 and head[2] in _SECOND


def read(filepath: str | os.PathLike[str]) -> Contents:
    """The contents of a file.

    Raises
    ------
    FormatError with the name of the file if it is damaged, or its graph cannot run;
    OSError if it cannot be read.
    """
    path = Path(filepath)
    data = path.read_bytes()
    try:
        return parse(memoryview(data), os.fspath(filepath), path.parent)
    except FormatError as error:
        raise FormatError(f"{os.fspath(filepath)}: refused: {error}") from error


def parse(data: memoryview, source: str, folder: Path | None) -> Contents:
    """The contents of a file's bytes; folder: where arrays outside of it may lie."""
    model = decode(proto.Model, data)
    if model.graph is None or not model.opset_import:
        raise FormatError("no ONNX model: it has no graph, or no version of operators")
    graph = model.graph
    if len(graph.node) > _NODES or graph.sparse_initializer:
        raise FormatError(
            f"{len(graph.node)} nodes of at most {_NODES}, "
            f"{len(graph.sparse_initializer)} sparse arrays"
        )
    arrays = {}
    for tensor in graph.initializer:
        if not tensor.name or tensor.name in arrays:
            raise FormatError(f"initializer {tensor.name!r:.80}: no name, or one twice")
        arrays[tensor.name] = _number(to_array(tensor, folder))
    _check_order(graph, arrays)
    facts = parsed_facts({entry.key: entry.value for entry in model.metadata_props})
    return Contents(source, _opset(model), graph, arrays, facts)


def _number(array: np.ndarray) -> np.ndarray:
    """Numbers of other precisions as float32."""
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _opset(model: Any) -> int:
    versions = [o.version for o in model.opset_import if o.domain in _DOMAINS]
    if not versions or not OLDEST <= versions[0] <= NEWEST:
        raise FormatError(
            f"expected ONNX's operators of version {OLDEST} to {NEWEST}, received "
            f"{versions}"
        )
    return int(versions[0])


def _check_order(graph: Any, arrays: Iterable[str]) -> None:
    """Each name is made once, and before it is read: no node waits for itself."""
    made = {*arrays, *(value.name for value in graph.input)}
    later = {name for node in graph.node for name in node.output}
    for number, node in enumerate(graph.node):
        for name in node.input:
            if name and name not in made:
                why = (
                    "which a later node makes: the graph has a cycle, or is not sorted"
                    if name in later else "which nothing makes"
                )  # fmt: skip
                where = described(node, number)
                raise FormatError(f"{where} reads {name!r:.80}, {why}")
        for name in filter(None, node.output):
            if name in made:
                raise FormatError(
                    f"{described(node, number)} makes {name!r:.80}, which is there"
                )
            made.add(name)
    missing = [value.name for value in graph.output if value.name not in made]
    if missing or not graph.output:
        raise FormatError(f"outputs {missing!r:.200} that nothing makes, or none")


def described(node: Any, number: int) -> str:
    """A node for messages."""
    return f"node {node.name or number!r} ({node.op_type})"
