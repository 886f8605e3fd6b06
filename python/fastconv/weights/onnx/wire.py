"""Protocol Buffers' wire format: messages of known fields from bytes, and to bytes.

A length that a file gives is compared with what is left of the file before anything is
taken; nothing is copied, and unknown fields are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastconv.errors import FormatError

__all__ = ["Field", "Message", "decode", "encode"]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DEPTH = 32  # messages in messages
_DTYPES = {"float": "<f4", "double": "<f8"}
_WIDTHS = {_FIXED64: 8, _FIXED32: 4}


class Field(NamedTuple):
    """One field of a message.

    kind: "int", "float", "double", "text", "bytes", or the class of a message.
    """

    name: str
    kind: Any
    many: bool = False


class Message:
    """A message, with an attribute for each field: 0, "", None or [] if it has none.

    Subclasses give ``fields``, by their number in the format.
    """

    fields: ClassVar[dict[int, Field]] = {}

    def __init__(self, **values: Any) -> None:
        for field in self.fields.values():
            value = [] if field.many else _DEFAULTS.get(field.kind)
            setattr(self, field.name, values.pop(field.name, value))
        assert not values, values

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"{type(self).__name__} has no field {name!r}")


_DEFAULTS: dict[Any, Any] = {"int": 0, "float": 0.0, "double": 0.0, "text": "",
                             "bytes": b""}  # fmt: skip


# Reading ------------------------------------------------------------------------------


def decode(kind: type[Message], data: memoryview, depth: int = 0) -> Any:
    """The message in ``data``.

    Raises
    ------
    FormatError if lengths reach beyond the data, messages are nested too deeply, or a
    field is of another type than its number says.

    >>> class Point(Message):
    ...     fields = {1: Field("x", "int"), 2: Field("name", "text")}
    >>> decode(Point, memoryview(bytes([8, 150, 1]))).x
    150
    """
    if depth > _DEPTH:
        raise FormatError(f"messages that are nested more than {_DEPTH} deep")
    message = kind()
    for number, wire, value in _parts(data):
        field = kind.fields.get(number)
        if field is None:
            continue
        if field.many:
            getattr(message, field.name).extend(_several(field, wire, value, depth))
        else:
            setattr(message, field.name, _single(field, wire, value, depth))
    return message


def _parts(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """Number, wire type and value of each field: an int, or a view of its bytes."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        wire = key & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield key >> 3, wire, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in _WIDTHS:
            size = _WIDTHS[wire]
        else:
            raise FormatError(f"wire type {wire}, which is none of this format")
        if size > end - at:
            raise FormatError(f"a field of {size} bytes where {end - at} are left")
        yield key >> 3, wire, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 127) << shift
        at += 1
        if byte < 128:
            return value, at
        shift += 7
    raise FormatError("truncated, or a number of more than 64 bits")


def _single(field: Field, wire: int, value: Any, depth: int) -> Any:
    kind = field.kind
    if kind == "int" and wire == _VARINT:
        return _signed(value)
    if kind in _DTYPES and wire == (_FIXED32 if kind == "float" else _FIXED64):
        return np.frombuffer(value, _DTYPES[kind])[0].item()
    if wire == _BYTES and kind == "bytes":
        return value
    if wire == _BYTES and kind == "text":
        return str(value, "utf-8", "replace")
    if wire == _BYTES and isinstance(kind, type):
        return decode(kind, value, depth + 1)
    raise FormatError(f"field {field.name!r} of wire type {wire}; expected {kind}")


def _several(field: Field, wire: int, value: Any, depth: int) -> list[Any]:
    """The values of a repeated field: one, or numbers packed into one stretch."""
    if wire != _BYTES or field.kind not in ("int", *_DTYPES):
        return [_single(field, wire, value, depth)]
    if field.kind in _DTYPES:
        if len(value) % np.dtype(_DTYPES[field.kind]).itemsize:
            raise FormatError(f"field {field.name!r}: {len(value)} bytes of numbers")
        return np.frombuffer(value, _DTYPES[field.kind]).tolist()
    numbers, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        numbers.append(_signed(number))
    return numbers


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >> 63 else value


# Writing ------------------------------------------------------------------------------


def encode(message: Message) -> bytes:
    r"""The bytes of a message; fields that are as when it was made are left out.

    >>> class Point(Message):
    ...     fields = {1: Field("x", "int"), 2: Field("name", "text")}
    >>> encode(Point(x=150))
    b'\x08\x96\x01'
    """
    return b"".join(_pieces(message))


def _pieces(message: Message) -> Iterator[Any]:
    for number, field in message.fields.items():
        value = getattr(message, field.name)
        if field.many and field.kind == "int" and value:
            packed = b"".join(map(_number, value))
            yield from (_key(number, _BYTES), _number(len(packed)), packed)
            continue
        for item in value if field.many else [value]:
            if field.many or item != _DEFAULTS.get(field.kind):
                yield from _piece(number, field.kind, item)


def _piece(number: int, kind: Any, value: Any) -> Iterator[Any]:
    if kind == "int":
        yield from (_key(number, _VARINT), _number(value))
    elif kind == "float":
        yield from (_key(number, _FIXED32), struct.pack("<f", value))
    elif kind == "double":
        yield from (_key(number, _FIXED64), struct.pack("<d", value))
    else:
        value = value.encode() if kind == "text" else value
        body = list(_pieces(value)) if isinstance(value, Message) else [value]
        yield from (_key(number, _BYTES), _number(sum(map(len, body))), *body)


def _key(number: int, wire: int) -> bytes:
    return _number(number << 3 | wire)


def _number(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    found.append(value)
    return bytes(found)
