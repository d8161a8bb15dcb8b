"""Small valid pictures, made from nothing: one plain colour a name."""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

from aperture_dagster.simulator.catalogue import stable_number

_QUANTIZER = 8
# Code lengths and symbols of the two tiny Huffman tables that plain colours need.
_DC_SYMBOLS = bytes(range(12))
_DC_COUNTS = bytes([0, 0, 0, 12]) + bytes(12)
_AC_COUNTS = bytes([1]) + bytes(15)


def colour_of(name: str) -> tuple[int, int, int]:
    """A muted colour that follows from a name, as red, green, blue (0-255)."""
    number = stable_number(name)
    return 48 + number % 128, 48 + (number >> 8) % 128, 48 + (number >> 16) % 128


@lru_cache(maxsize=256)
def png(name: str, width: int = 100, height: int = 150) -> bytes:
    """A PNG of one colour."""
    row = b"\0" + bytes(colour_of(name)) * width
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(row * height, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


@lru_cache(maxsize=256)
def jpeg(name: str, width: int = 104, height: int = 152) -> bytes:
    """A baseline JPEG of one colour: in every block only the mean, and that only once."""
    red, green, blue = colour_of(name)
    levels = (
        0.299 * red + 0.587 * green + 0.114 * blue - 128,
        -0.1687 * red - 0.3313 * green + 0.5 * blue,
        0.5 * red - 0.4187 * green - 0.0813 * blue,
    )
    first = "".join(_dc_bits(round(level * 8 / _QUANTIZER)) + "0" for level in levels)
    blocks = ((width + 7) // 8) * ((height + 7) // 8)
    bits = first + (_dc_bits(0) + "0") * 3 * (blocks - 1)
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\x00")
    frame = struct.pack(">BHHB", 8, height, width, 3) + b"".join(bytes([part, 0x11, 0]) for part in (1, 2, 3))
    return b"".join(
        (
            b"\xff\xd8",
            _segment(0xE0, b"JFIF\0\x01\x01\0\0\x01\0\x01\0\0"),
            _segment(0xDB, b"\0" + bytes([_QUANTIZER]) * 64),
            _segment(0xC0, frame),
            _segment(0xC4, b"\x00" + _DC_COUNTS + _DC_SYMBOLS),
            _segment(0xC4, b"\x10" + _AC_COUNTS + b"\0"),
            _segment(0xDA, bytes([3, 1, 0, 2, 0, 3, 0, 0, 63, 0])),
            scan,
            b"\xff\xd9",
        )
    )


def svg(name: str) -> bytes:
    """An SVG of one colour, as some logos are."""
    red, green, blue = colour_of(name)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="100" height="40">'
        f'<rect width="100" height="40" fill="#{red:02x}{green:02x}{blue:02x}"/></svg>'
    ).encode()


def _segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def _dc_bits(difference: int) -> str:
    size = abs(difference).bit_length()
    code = f"{size:04b}"
    if size == 0:
        return code
    value = difference if difference > 0 else difference + (1 << size) - 1
    return code + f"{value:0{size}b}"
