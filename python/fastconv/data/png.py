"""PNG, PGM and PPM files to arrays, and arrays to PNG, with the standard library alone.

For machines without Pillow, for what ``fastconv predict`` is given most (grey and RGB
images), and for the images inside figures. PNG: ISO/IEC 15948
(https://www.w3.org/TR/png-3), neither interlaced nor with a palette.
"""

import re
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from fastconv.errors import FormatError, ShapeError

__all__ = ["decode_png", "decode_pnm", "encode_png", "is_png", "is_pnm"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by colour type: grey, RGB, grey + alpha, RGBA
_MAX_PIXELS = 1 << 28
_PNM_HEADER = re.compile(
    rb"P([56])(?:\s+#[^\n]*)*\s+(\d+)(?:\s+#[^\n]*)*\s+(\d+)\s+(\d+)\s"
)


def is_png(content: bytes) -> bool:
    """Whether a file's content is a PNG image that :func:`decode_png` can read."""
    if not content.startswith(_SIGNATURE) or len(content) < 29:
        return False
    depth, colour, _, _, interlace = content[24:29]
    return depth in (8, 16) and colour in _CHANNELS and interlace == 0


def is_pnm(content: bytes) -> bool:
    """Whether a file's content is a binary PGM or PPM image.

    >>> is_pnm(b"P5 2 1 255 ab")
    True
    """
    return content[:2] in (b"P5", b"P6")


def decode_pnm(content: bytes, where: str = "image") -> np.ndarray:
    """A binary PGM or PPM image as (H, W, 1 or 3), uint8.

    Raises
    ------
    FormatError: a damaged header, more than 255 levels, or too few bytes.

    >>> decode_pnm(b"P5 2 1 255 ab")[..., 0].tolist()
    [[97, 98]]
    """
    header = _PNM_HEADER.match(content)
    if header is None:
        raise FormatError(f"{where}: expected the header of a PGM or PPM image")
    kind, width, height, levels = (int(field) for field in header.groups())
    size = height * width * (1 if kind == 5 else 3)
    pixels = content[header.end() :]
    if not 1 <= levels <= 255:
        raise FormatError(f"{where}: expected 1 to 255 levels, got {levels}")
    if not 0 < size <= len(pixels):
        raise FormatError(
            f"{where}: expected {size} bytes of pixels ({height}x{width}), "
            f"got {len(pixels)}"
        )
    image = np.frombuffer(pixels, np.uint8, size).reshape(height, width, -1)
    return image if levels == 255 else np.rint(image * (255 / levels)).astype(np.uint8)


def decode_png(content: bytes, where: str = "image") -> np.ndarray:
    """A PNG image as (H, W, 1 or 3), uint8; alpha is dropped, 16 bits become 8.

    Raises
    ------
    FormatError: a truncated or damaged file (checksums are looked at).
    """
    width, height, depth, colour = struct.unpack(">IIBB", content[16:26])
    stride = _CHANNELS[colour] * depth // 8  # bytes a pixel
    if not 0 < width * height <= _MAX_PIXELS:
        raise FormatError(f"{where}: expected 1 to 2^28 pixels, got {height}x{width}")
    packed = b"".join(data for kind, data in _chunks(content, where) if kind == b"IDAT")
    expected = height * (1 + width * stride)
    try:
        raw = zlib.decompressobj().decompress(packed, expected)
    except zlib.error as error:
        raise FormatError(f"{where}: damaged PNG image: {error}") from error
    if len(raw) != expected:
        raise FormatError(f"{where}: expected {expected} bytes, got {len(raw)}")
    rows = np.frombuffer(raw, np.uint8).reshape(height, -1)
    flat = _unfilter(rows[:, 0], rows[:, 1:], stride, where)
    image = flat.reshape(height, width, -1, depth // 8)[..., 0]  # the high byte first
    return np.ascontiguousarray(image[..., : 1 if colour in (0, 4) else 3])


def encode_png(image: np.ndarray) -> bytes:
    """An image (H, W, 1 or 3), uint8, as a PNG file: 8 bits, without prediction.

    Raises
    ------
    ShapeError: another shape, or no pixels.

    >>> image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    >>> bool((decode_png(encode_png(image)) == image).all())
    True
    """
    if image.ndim != 3 or image.shape[2] not in (1, 3) or not image.size:
        raise ShapeError(f"expected an image (H, W, 1 or 3), received {image.shape}")
    height, width, channels = image.shape
    header = struct.pack(
        ">IIBBBBB", width, height, 8, 0 if channels == 1 else 2, 0, 0, 0
    )
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # the filter's 0 first
    rows[:, 1:] = image.reshape(height, -1)
    body = zlib.compress(rows.tobytes(), 9)
    parts = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def _chunks(content: bytes, where: str) -> Iterator[tuple[bytes, bytes]]:
    position = len(_SIGNATURE)
    while position + 12 <= len(content):
        (length,) = struct.unpack(">I", content[position : position + 4])
        body = content[position + 4 : position + 8 + length]
        check = content[position + 8 + length : position + 12 + length]
        if check != struct.pack(">I", zlib.crc32(body)):
            break
        yield body[:4], body[4:]
        if body[:4] == b"IEND":
            return
        position += 12 + length
    raise FormatError(f"{where}: truncated or damaged PNG image at byte {position}")


def _unfilter(
    filters: np.ndarray, rows: np.ndarray, stride: int, where: str
) -> np.ndarray:
    """Undoes PNG's prediction from the pixel before and the row above (section 9)."""
    out = np.zeros((len(rows) + 1, rows.shape[1] + stride), np.int64)  # with a border
    for i, (kind, row) in enumerate(zip(filters, rows, strict=True), 1):
        if kind > 4:
            raise FormatError(f"{where}: expected a filter of 0 to 4, got {kind}")
        line, above = out[i], out[i - 1]
        line[stride:] = row
        if kind == 2:
            line[stride:] = (line[stride:] + above[stride:]) & 255
        elif kind:
            _unfilter_row(int(kind), line, above, stride)
    return out[1:, stride:].astype(np.uint8)


def _unfilter_row(kind: int, line: np.ndarray, above: np.ndarray, stride: int) -> None:
    done, up = line.tolist(), above.tolist()
    for x in range(stride, len(done)):
        before, over, corner = done[x - stride], up[x], up[x - stride]
        if kind == 1:
            guess = before
        elif kind == 3:
            guess = (before + over) // 2
        else:
            guess = _paeth(before, over, corner)
        done[x] = (done[x] + guess) & 255
    line[:] = done


def _paeth(before: int, over: int, corner: int) -> int:
    """The neighbour nearest to ``before + over - corner``; ties in this order."""
    to_before, to_over = abs(over - corner), abs(before - corner)
    to_corner = abs(before + over - 2 * corner)
    if to_before <= to_over and to_before <= to_corner:
        return before
    return over if to_over <= to_corner else corner
