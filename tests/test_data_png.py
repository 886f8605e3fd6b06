"""PNG, PGM and PPM without Pillow: exact, and safe on damaged files."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv.data.png import decode_png, decode_pnm, is_png, is_pnm
from fastconv.errors import FormatError

COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def encode_png(pixels: np.ndarray, filters: list[int] | None = None) -> bytes:
    """A PNG file of (H, W, C), uint8 or uint16, with a filter a row."""
    height, width, channels = pixels.shape
    rows = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
    raw = np.frombuffer(rows, np.uint8).reshape(height, -1).astype(int)
    stride = channels * pixels.dtype.itemsize
    lines = []
    for i in range(height):
        kind = (filters or [0])[i % len(filters or [0])]
        above = raw[i - 1] if i else np.zeros_like(raw[0])
        before, corner = (np.r_[[0] * stride, row[:-stride]] for row in (raw[i], above))
        guess = (above + before - corner)[None]
        near = np.abs(np.stack([before, above, corner]) - guess).argmin(0)
        paeth = np.choose(near, [before, above, corner])
        guesses = [0, before, above, (before + above) // 2, paeth]
        lines.append(
            bytes([kind]) + ((raw[i] - guesses[kind]) % 256).astype("u1").tobytes()
        )
    depth = 8 * pixels.dtype.itemsize
    header = struct.pack(">IIBBBBB", width, height, depth, COLOURS[channels], 0, 0, 0)
    packed = zlib.compress(b"".join(lines))
    half = len(packed) // 2
    return b"\x89PNG\r\n\x1a\n" + b"".join([
        chunk(b"IHDR", header), chunk(b"tEXt", b"Comment\0x"),
        chunk(b"IDAT", packed[:half]), chunk(b"IDAT", packed[half:]),
        chunk(b"IEND", b""),
    ])  # fmt: skip


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_all_filters_and_kinds(channels, dtype):
    rng = np.random.default_rng(0)
    image = rng.integers(0, np.iinfo(dtype).max, (11, 7, channels)).astype(dtype)
    content = encode_png(image, [0, 1, 2, 3, 4])
    assert is_png(content)
    expected = image if dtype == np.uint8 else (image >> 8).astype(np.uint8)
    kept = expected[..., : 1 if channels < 3 else 3]
    np.testing.assert_array_equal(decode_png(content), kept)


def test_pillow_agrees():
    image_module = pytest.importorskip("PIL.Image")
    import io

    image = np.random.default_rng(1).integers(0, 99, (20, 30, 3)).astype(np.uint8)
    image = image.cumsum(1).astype(np.uint8)
    file = io.BytesIO()
    image_module.fromarray(image).save(file, "PNG", optimize=True)
    np.testing.assert_array_equal(decode_png(file.getvalue()), image)


GOOD = encode_png(np.arange(60, dtype=np.uint8).reshape(4, 5, 3), [4])


@given(st.integers(8, len(GOOD) - 1))
def test_a_truncated_file_is_an_error(length):
    content = GOOD[:length]
    if is_png(content):
        with pytest.raises(FormatError, match="truncated"):
            decode_png(content, "cut.png")


@given(st.integers(16, len(GOOD) - 1), st.integers(1, 255))
def test_a_changed_byte_is_an_error(position, change):
    content = bytearray(GOOD)
    content[position] ^= change
    if is_png(bytes(content)):
        with pytest.raises(FormatError):
            decode_png(bytes(content), "bad.png")


def test_a_promise_of_more_pixels_than_there_are():
    header = struct.pack(">IIBBBBB", 9, 9, 8, 0, 0, 0, 0)
    content = GOOD[:8] + chunk(b"IHDR", header) + GOOD[33:]
    with pytest.raises(FormatError, match="expected 90 bytes, got 64"):
        decode_png(content)


def test_pnm():
    assert is_pnm(b"P6\n1 1 255\nabc")
    image = decode_pnm(b"P6\n# by hand\n2 1\n255\nabcdef")
    assert image.tolist() == [[[97, 98, 99], [100, 101, 102]]]
    assert decode_pnm(b"P5 1 1 15 \x0f").tolist() == [[[255]]]


@pytest.mark.parametrize(
    "content", [b"P5", b"P5 2 2 255 ab", b"P6 1 1 65535 abcdef", b"P5 0 4 255 "]
)
def test_damaged_pnm(content):
    with pytest.raises(FormatError, match=r"bad\.pgm"):
        decode_pnm(content, "bad.pgm")
