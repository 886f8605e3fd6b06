"""Reads pickles of plain data without running anything that a file names.

Two fences: only opcodes that build plain data pass a first scan, and every name in the
file must be one of a table. The names of the arrays of CIFAR-10 stand for the small
classes below and not for NumPy; those of PyTorch for classes in `fastconv.weights.pth`.
"""

import io
import math
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastconv.errors import FormatError

__all__ = ["restricted_loads", "restricted_object"]

_OPCODES = """
    PROTO FRAME STOP MARK POP POP_MARK DUP NONE NEWTRUE NEWFALSE INT BININT BININT1
    BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING
    BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    EMPTY_LIST LIST APPEND
    APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS
    GLOBAL STACK_GLOBAL REDUCE BUILD PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET
    LONG_BINGET
"""
_TUPLES = 30_000  # at most; nested ones are hashed by recursion, which takes stack
_DTYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8", "b1")


class _Refusing:
    """Its subclasses take no state, neither as objects nor as classes."""

    def __setstate__(self, state: Any) -> None:
        raise FormatError("state where none belongs")


class _Bytes(_Refusing):
    """Stands for ``_codecs.encode``: how Python 3 writes bytes in protocol 2."""

    def __new__(cls, text: str, encoding: str) -> bytes:  # type: ignore[misc]
        if encoding != "latin1":
            raise FormatError(f"encoding {encoding!r}")
        return text.encode("latin1")


class _Dtype:
    """Stands for ``numpy.dtype``."""

    def __init__(self, code: Any, *_flags: Any) -> None:
        self.code = code.decode("latin1") if isinstance(code, bytes) else str(code)
        self.order = "|"

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        self.order = order.decode("latin1") if isinstance(order, bytes) else str(order)

    def to_numpy(self) -> np.dtype:
        """The dtype, if it is one of plain numbers."""
        if self.code not in _DTYPES or self.order not in ("|", "<", ">", "="):
            raise FormatError(f"an array of dtype {self.code!r}")
        return np.dtype(self.order + self.code)


class _Array:
    """Stands for ``numpy.ndarray`` and ``_reconstruct``."""

    def __init__(self, *_arguments: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def to_numpy(self) -> np.ndarray:
        """The array, if its bytes are as many as its shape says."""
        _version, shape, dtype, fortran, data = self.state
        if not isinstance(dtype, _Dtype) or not isinstance(data, bytes):
            raise FormatError("an array that is not made of bytes")
        kind = dtype.to_numpy()
        expected = math.prod(shape) * kind.itemsize
        if min(shape, default=0) < 0 or expected != len(data):
            raise FormatError(
                f"an array of shape {shape}: expected {expected} bytes, got {len(data)}"
            )
        order: Any = "F" if fortran else "C"
        return np.frombuffer(data, dtype=kind).reshape(shape, order=order)


_NAMES: dict[tuple[str, str], Any] = {
    ("_codecs", "encode"): _Bytes,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _Array,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
}


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, data: bytes, names: Mapping[tuple[str, str], Any], load: Any, text: str
    ) -> None:
        super().__init__(io.BytesIO(data), encoding=text)
        self._names, self._load = names, load

    def find_class(self, module: str, name: str) -> Any:
        """A stand-in of the table, never an import."""
        if (module, name) not in self._names:
            raise FormatError(f"it wants {module}.{name}")
        return self._names[module, name]

    def persistent_load(self, pid: Any) -> Any:
        """What stands outside the pickle."""
        return self._load(pid)


def _scan(data: bytes, allowed: frozenset[str]) -> None:
    """Refuse opcodes that build other things, and memo indices that take memory."""
    import pickletools

    tuples = 0
    for opcode, argument, position in pickletools.genops(data):
        if opcode.name not in allowed:
            raise FormatError(f"opcode {opcode.name} at byte {position}")
        if "PUT" in opcode.name and not 0 <= int(argument or 0) <= len(data):
            raise FormatError(f"memo index {argument} at byte {position}")
        tuples += "TUPLE" in opcode.name
    if tuples > _TUPLES:
        raise FormatError(f"{tuples} tuples, more than {_TUPLES}")


def restricted_object(
    data: bytes,
    names: Mapping[tuple[str, str], Any],
    load: Callable[[Any], Any] | None = None,
    encoding: str = "utf-8",
) -> Any:
    """The object pickled in ``data``, made of plain data and of stand-ins.

    Args:
        data: the pickle.
        names: (module, name) -> what stands for it; all others are refused.
        load: gives what a persistent id stands for; None refuses them.
        encoding: of the strings of Python 2.

    Raises:
        FormatError: a name or an opcode that is not allowed; other errors of pickle
            for what is truncated or senseless.

    >>> restricted_object(pickle.dumps([1, "a"], 2), {})
    [1, 'a']
    """
    more = ["BINPERSID"] if load else []
    _scan(data, frozenset([*_OPCODES.split(), *more]))
    return _Unpickler(data, names, load, encoding).load()


def restricted_loads(data: bytes, where: str) -> dict[str, Any]:
    """The dictionary pickled in ``data``: arrays, bytes, text, numbers, lists, dicts.

    Keys become text. Nothing that the file names is imported or called: not even
    NumPy, whose arrays are rebuilt here from bytes, shape and type.

    Args:
        data: the whole file.
        where: its name, for messages.

    Raises:
        FormatError: the file wants anything else, is truncated, or is no pickle.

    >>> restricted_loads(pickle.dumps({"labels": [1, 2]}, 2), "batch")
    {'labels': [1, 2]}
    """
    try:
        loaded = restricted_object(data, _NAMES, encoding="bytes")
        return {_text(key): _plain(value) for key, value in loaded.items()}
    except Exception as error:
        raise FormatError(
            f"{where}: refused as a pickle of plain arrays: {error}"
        ) from error


def _text(key: Any) -> str:
    return key.decode("latin1") if isinstance(key, bytes) else str(key)


def _plain(value: Any) -> Any:
    return value.to_numpy() if isinstance(value, _Array | _Dtype) else value
