"""Pictures by their bytes: whole ones are accepted, anything else is refused with a reason."""

from __future__ import annotations

import struct
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aperture_dagster.enrichment.pictures import NotAPicture, PictureFacts, check_picture
from aperture_dagster.simulator.opinions import jpeg, png, svg

PNG, JPEG = png("a", 30, 20), jpeg("a", 32, 24)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(width: int, height: int, pixels: bytes, *more: bytes) -> bytes:
    """A PNG in shades of grey."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def reason(content: bytes) -> str:
    with pytest.raises(NotAPicture) as refused:
        check_picture(content)
    return str(refused.value)


def is_accepted(content: bytes) -> bool:
    try:
        check_picture(content)
    except NotAPicture:
        return False
    return True


def test_a_picture_is_recognised_by_its_content_with_its_size():
    assert check_picture(PNG) == PictureFacts("png", 30, 20)
    assert check_picture(JPEG) == PictureFacts("jpeg", 32, 24)
    assert check_picture(png_of(3, 2, b"\0abc\0def", chunk(b"tEXt", b"Title\0Logo"))) == PictureFacts("png", 3, 2)


@pytest.mark.parametrize("whole", [PNG, JPEG], ids=["png", "jpeg"])
def test_a_picture_cut_off_anywhere_is_refused(whole: bytes):
    assert not any(is_accepted(whole[:length]) for length in range(len(whole)))


@given(st.binary(max_size=400))
def test_arbitrary_bytes_never_raise_anything_else(content: bytes):
    for start in (b"", PNG[:8], PNG[:40], JPEG[:2], JPEG[:60], b"<svg"):
        is_accepted(start + content)


@given(st.sampled_from([PNG, JPEG]), st.data())
def test_a_changed_byte_never_raises_anything_else_and_a_png_with_one_is_refused(whole: bytes, data: st.DataObject):
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = data.draw(st.integers(0, 255).filter(lambda value: value != whole[at]))
    accepted = is_accepted(whole[:at] + bytes([changed]) + whole[at + 1 :])
    assert not (accepted and whole == PNG)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "it is empty"),
        (b"   <!DOCTYPE HTML><html>", "it is a page"),
        (svg("a"), "HTML or XML"),
        (b"GIF89a" + bytes(50), "neither PNG nor JPEG"),
        (PNG + b"more", "something follows its end"),
        (JPEG + b"<script>", "something follows its end"),
        (PNG[:-4] + bytes(4), "cut off"),
        (png_of(3, 2, b"\0abc\0d"), "damaged"),
        (png_of(5, 2**31 - 1, b"\0"), "by 2147483647|too large"),
    ],
)
def test_anything_but_a_whole_picture_is_refused_with_a_reason(content: bytes, words: str):
    assert any(word in reason(content) for word in words.split("|"))


@pytest.mark.parametrize(
    # Made by the test: packing takes long, and every worker collects every test.
    ("make", "words"),
    [
        (lambda: png_of(5001, 5000, bytes(5002 * 5000)), "its size is 5001 by 5000"),
        (lambda: png_of(1, 1, b"\0a", chunk(b"zTXt", b"Title\0\0" + zlib.compress(bytes(50_000_000)))), "damaged"),
    ],
    ids=["pixels", "text"],
)
def test_a_decompression_bomb_is_refused_without_being_unpacked(make: Callable[[], bytes], words: str):
    bomb = make()
    assert len(bomb) < 200_000
    tracemalloc.start()
    try:
        assert words in reason(bomb)
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()
