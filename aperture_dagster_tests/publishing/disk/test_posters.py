"""Every title gets a poster: its picture, or a card with its name; studios get the pictures that they lack."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageChops, ImageStat

from aperture_dagster.enrichment.studios import StoredLogo
from aperture_dagster.media_server.records import ServerStudio
from aperture_dagster.publishing.disk.posters import draw_poster
from aperture_dagster.publishing.server.studio_pictures import plan_pictures

RED = (200, 30, 30)


def picture(size: tuple[int, int], file_format: str = "PNG", mode: str = "RGB") -> bytes:
    written = BytesIO()
    Image.new("RGB", size, RED).convert(mode).save(written, file_format)
    return written.getvalue()


def decoded(poster: bytes) -> Image.Image:
    image = Image.open(BytesIO(poster))
    image.load()
    assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (600, 900))
    return image


def colour_at(poster: bytes, x: int, y: int) -> tuple[float, ...]:
    return tuple(ImageStat.Stat(decoded(poster).crop((x, y, x + 20, y + 20))).mean)


def bomb(width: int, height: int) -> bytes:
    """Return a PNG that claims a size and holds almost nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("size", "file_format", "mode"),
    [
        ((1000, 1500), "PNG", "RGB"), ((64, 96), "JPEG", "RGB"), ((300, 450), "WEBP", "RGB"), ((300, 450), "PNG", "P"),
        ((300, 450), "PNG", "RGBA"), ((300, 450), "JPEG", "CMYK"), ((2000, 3000), "JPEG", "RGB"),
    ],
    ids=["png", "small", "webp", "palette", "rgba", "cmyk", "large"],
)  # fmt: skip
def test_a_picture_fills_the_poster(size: tuple[int, int], file_format: str, mode: str):
    content = picture(size, file_format, mode)
    poster = draw_poster(content, title="x", rank=None)
    for x, y in ((0, 0), (290, 440), (580, 880)):
        assert colour_at(poster, x, y) == pytest.approx(RED, abs=12)


@pytest.mark.parametrize("size", [(1600, 900), (500, 500), (200, 2000)])
def test_a_picture_of_other_proportions_is_shown_whole_on_a_darker_ground(size: tuple[int, int]):
    poster = draw_poster(picture(size), title="x", rank=None)
    assert colour_at(poster, 290, 440)[0] > 150
    assert max(colour_at(poster, 0, 0)) < 110


UNUSABLE: dict[str, Callable[[], bytes | None]] = {
    "none": lambda: None,
    "empty": lambda: b"",
    "page": lambda: b"<html>",
    "cut png": lambda: picture((600, 900))[:60],
    "cut jpeg": lambda: picture((600, 900), "JPEG")[:900],
    "bomb": lambda: bomb(60000, 60000),
    "too large": lambda: bomb(8000, 8000),
    **{name: lambda name=name: picture((600, 900), name) for name in ("GIF", "BMP", "TIFF", "EPS", "PCX", "ICNS")},
}


@pytest.mark.parametrize("unusable", UNUSABLE)
def test_without_a_usable_picture_there_is_a_card_with_the_title(unusable: str):
    content = UNUSABLE[unusable]()
    card = draw_poster(content, title="Alien", rank=None)
    assert card == draw_poster(None, title="Alien", rank=None)
    assert card != draw_poster(None, title="Aliens", rank=None)
    # White letters on a dark ground.
    middle = decoded(card).convert("L").crop((100, 380, 500, 520))
    low, high = middle.getextrema()
    assert low < 70 and high > 230


def test_a_title_fits_on_its_card_in_letters_that_the_font_has():
    def card(title: str) -> bytes:
        return draw_poster(None, title=title, rank=None)

    edge = decoded(card("W" * 60 + " Mississippi")).convert("L").crop((580, 0, 600, 900))
    assert edge.getextrema()[1] < 110
    assert card("Amélie – “Œuvre”, Größe") == card('Amelie - "Oeuvre", Grosse')
    # Rather nothing than boxes.
    assert card("千と千尋の神隠し 2") == card("")


@settings(max_examples=10)
@given(st.binary(max_size=200) | st.tuples(st.integers(0, 400), st.integers(0, 255)), st.text(max_size=400))
def test_no_bytes_and_no_title_raise(damage: bytes | tuple[int, int], title: str):
    if isinstance(damage, bytes):
        content = damage
    else:
        content = bytearray(picture((60, 90), "JPEG"))
        content[damage[0] % len(content)] = damage[1]
    decoded(draw_poster(bytes(content), title=title, rank=None))


def test_the_rank_is_in_the_corner_and_nowhere_else():
    content = picture((600, 900))
    without, first, twelfth = (draw_poster(content, title="x", rank=rank) for rank in (None, 1, 12))
    assert len({without, first, twelfth, draw_poster(content, title="x", rank=2)}) == 4
    for poster in (first, twelfth):
        changed = (
            ImageChops.difference(decoded(poster), decoded(without))
            .convert("L")
            .point(lambda value: value > 30 and 255)
        )
        left, top, right, bottom = changed.getbbox() or (0, 0, 0, 0)
        assert left > 0 and top > 0 and right < 240 and bottom < 190


def test_equal_input_gives_equal_bytes_so_that_nothing_is_rewritten():
    content = picture((1600, 900), "WEBP")
    assert draw_poster(content, title="x", rank=3) == draw_poster(content, title="x", rank=3)


# Pictures of studios: the operator's stay


def logo(name: str, sha256: str = "new", shown: str | None = None, *, studio_id: int = 1) -> StoredLogo:
    return StoredLogo("company", studio_id, name, f"{name}.png", "png", sha256, shown)


@pytest.mark.parametrize(
    ("has_picture", "logos", "chosen"),
    [
        # The name counts in any case, and of two logos with one name the first.
        (False, [logo("Other"), logo("Acme", studio_id=7), logo("ACME", studio_id=8)], 7),
        # The operator chose the picture.
        (True, [logo("Acme")], None),
        (True, [logo("Acme", "new", shown="old")], 1),
        (True, [logo("Acme", "new", shown="new")], None),
        # The server lost it.
        (False, [logo("Acme", "new", shown="new")], 1),
    ],
)
def test_a_studio_gets_its_logo_unless_it_has_it_or_a_picture_of_the_operator(
    has_picture: bool, logos: list[StoredLogo], chosen: int | None
):
    studios = [ServerStudio("a", "ACME", has_picture), ServerStudio("b", "Nowhere", False)]
    planned = [(studio.server_item_id, one.studio_id) for studio, one in plan_pictures(studios, logos)]
    assert planned == ([("a", chosen)] if chosen is not None else [])
