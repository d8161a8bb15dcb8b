"""Pictures by their bytes: whole ones are known, and nothing else gets through or raises."""

from __future__ import annotations

import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aperture_dagster.library.pictures import LARGEST_SVG_BYTES, NotAPicture, PictureFacts, examine, recognise
from aperture_dagster.simulator.images import jpeg, png

# No database of examples: a test leaves no folder behind, and fails for everybody or nobody.
many = settings(max_examples=200, derandomize=True, deadline=None)

PNG, JPEG = png("a", 30, 20), jpeg("a", 32, 24)
SVG_OPEN = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="30" height="20">'


def svg(inside: str = "<path d='M0 0h5'/>", opening: str = SVG_OPEN, before: str = "") -> bytes:
    return f"{before}{opening}{inside}</svg>".encode()


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_of(*chunks: bytes) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


HEAD = struct.pack(">IIBBBBB", 30, 20, 8, 2, 0, 0, 0)
PIXELS, END = chunk(b"IDAT", b"x"), chunk(b"IEND", b"")


def why_not(content: bytes) -> str:
    assert recognise(content) is None
    with pytest.raises(NotAPicture) as told:
        examine(content)
    return str(told.value)


def test_each_kind_is_known_by_its_content_with_its_size():
    assert recognise(PNG) == PictureFacts("png", 30, 20)
    assert recognise(JPEG) == PictureFacts("jpeg", 32, 24)
    assert recognise(svg()) == PictureFacts("svg", 30, 20)
    assert [examine(one).media_type for one in (PNG, JPEG, svg())] == ["image/png", "image/jpeg", "image/svg+xml"]


@pytest.mark.parametrize("whole", [PNG, JPEG, svg()], ids=["png", "jpeg", "svg"])
def test_a_picture_that_is_cut_off_anywhere_is_none(whole: bytes):
    for length in range(len(whole)):
        assert recognise(whole[:length]) is None, length


@many
@given(st.binary(max_size=400))
def test_any_bytes_at_all_are_a_picture_or_none(content: bytes):
    for start in (b"", PNG[:8], PNG[:40], JPEG[:2], JPEG[:60], b"<svg", SVG_OPEN.encode(), b"\xff\xfe<\0"):
        found = recognise(start + content)
        assert found is None or found.kind in ("png", "jpeg", "svg")


@many
@given(st.sampled_from([PNG, JPEG, svg()]), st.data())
def test_a_picture_with_any_byte_changed_never_raises_and_a_png_is_then_none(whole: bytes, data: st.DataObject):
    at = data.draw(st.integers(0, len(whole) - 1))
    changed = data.draw(st.integers(0, 255).filter(lambda value: value != whole[at]))
    spoiled = whole[:at] + bytes([changed]) + whole[at + 1 :]
    found = recognise(spoiled)
    if whole == PNG:
        assert found is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"   <!DOCTYPE HTML><html>", "page"),
        (b"\xef\xbb\xbf<html></html>", "page"),
        (b'{"success": false}', "neither"),
        (b"GIF89a" + bytes(50), "neither"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "neither"),
        (bytes(100), "neither"),
        (PNG + b"more", "something follows"),
        (PNG[:-4] + b"\0\0\0\0", "damaged"),
        (png_of(chunk(b"IHDR", HEAD), END), "no pixels"),
        (png_of(PIXELS, END), "header"),
        (png_of(chunk(b"IHDR", HEAD[:-1]), PIXELS, END), "header"),
        (png_of(chunk(b"IHDR", struct.pack(">IIBBBBB", 30, 20, 3, 2, 0, 0, 0)), PIXELS, END), "header"),
        (png_of(chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 20, 8, 2, 0, 0, 0)), PIXELS, END), "size is 0 by 20"),
        (png_of(chunk(b"IHDR", struct.pack(">IIBBBBB", 5, 2**31, 8, 2, 0, 0, 0)), PIXELS, END), "size is 5 by 2147"),
        (JPEG[:-2], "cut off"),
        (JPEG + b"<script>", "cut off"),
        (b"\xff\xd8\xff\xd9", "cut off"),
        (b"\xff\xd8\xff\xe0\x00\x01\xff\xd9", "damaged"),
        (b"\xff\xd8\xff\xc0\x00\x0b\x08\x00\x00\x00\x05\x01\x01\x11\x00\xff\xd9", "size is 5 by 0"),
        (b"\xff\xd8\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00\x00\xff\xd9", "no size"),
    ],
)
def test_what_is_no_picture_is_told_why(content: bytes, words: str):
    assert words in why_not(content)


def test_a_header_may_be_preceded_by_filling_and_other_parts():
    filled = JPEG[:2] + b"\xff\xff\xfe\x00\x06note" + JPEG[2:]
    assert recognise(filled) == recognise(JPEG)
    noted = PNG[:33] + chunk(b"tEXt", b"Title\0Logo") + PNG[33:]
    assert recognise(noted) == recognise(PNG)


# Drawings


@pytest.mark.parametrize(
    "drawing",
    [
        svg(before='<?xml version="1.0" encoding="UTF-8" standalone="no"?>\n<!-- Generator: a drawing program -->'),
        svg(
            before='<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">'
        ),
        svg("<defs><linearGradient id='a'/></defs><path fill='url(#a)' style='fill:url( \"#a\" )'/>"),
        svg("<use href='#a' transform='scale(2)'/><a href='#a'/>"),
        svg("<use xlink:href=' #a '/><title>One &amp; two: on the go</title><metadata>http://example.org</metadata>"),
        svg("<style>.a{fill:#fff;font-family:'Open Sans'} .b{fill:url(#a)}</style><g class='a'/>"),
        svg("<style><![CDATA[.a>.b{fill:red}]]></style><image href='data:image/png;base64,iVBORw0KGgo='/>"),
        svg("<animate attributeName='opacity' values='0;1'/>"),
        b"\xef\xbb\xbf" + svg(),
        svg().decode().encode("utf-16"),
        ('<?xml version="1.0" encoding="iso-8859-1"?>' + svg("<title>Société</title>").decode()).encode("latin-1"),
    ],
)
def test_a_drawing_as_programs_make_it_is_taken(drawing: bytes):
    assert recognise(drawing) == PictureFacts("svg", 30, 20)


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        ("<script>alert(1)</script>", "<script>"),
        ("<g><SCRIPT/></g>", "<script>"),
        ("<x:script xmlns:x='http://www.w3.org/1999/xhtml'/>", "<script>"),
        ("<foreignObject/>", "<foreignobject>"),
        ("<iframe xmlns='http://www.w3.org/1999/xhtml'/>", "<iframe>"),
        ("<path onload='x()'/>", "onload"),
        ("<path onClick='x()'/>", "onclick"),
        ("<a href='javascript:x()'/>", "outside"),
        ("<a href='java&#115;cript:x()'/>", "outside"),
        ("<a xlink:href='https://example.org/'/>", "outside"),
        ("<use href='other.svg#a'/>", "outside"),
        ("<image href='http://example.org/a.png'/>", "outside"),
        ("<image href='data:image/svg+xml;base64,PHN2Zz4='/>", "outside"),
        ("<image href='data:text/html;base64,PHN2Zz4='/>", "outside"),
        ("<feImage xlink:href='//example.org/a.png'/>", "outside"),
        ("<g xml:base='http://example.org/'/>", "outside"),
        ("<set attributeName='href' to='javascript:x()'/>", "links"),
        ("<animate attributeName='xlink:href' values='javascript:x()'/>", "links"),
        ("<set attributeName='onload' to='x()'/>", "links"),
        ("<path fill='url(http://example.org/a)'/>", "outside"),
        ("<path style='fill:URL( \"http://example.org/a\" )'/>", "outside"),
        ("<path style='fill:url(&quot;#a&quot;), url(http://example.org/a'/>", "outside"),
        ("<path style='fill:u\\72l(http://example.org/a)'/>", "more than a style"),
        ("<path fill='u\\72l(http://example.org/a)'/>", "more than a style"),
        ("<path mask='image-set(&quot;http://example.org/a&quot; 1x)'/>", "more than a style"),
        ("<meta xmlns='http://www.w3.org/1999/xhtml' http-equiv='refresh' content='0;x'/>", "<meta>"),
        ("<style>@import 'http://example.org/a.css';</style>", "more than a style"),
        ("<style>.a{background:ur<![CDATA[l(http://example.org/a)]]>}</style>", "outside"),
        ("<style>.a{fill:u/**/rl(x)} .b{background:image-set('http://x' 1x)}</style>", "more than a style"),
        ("<?xml-stylesheet href='a.css'?>", "instruction"),
        ("<g>" * 300 + "</g>" * 300, "deeply"),
        ("&nbsp;", "well-formed"),
        ("<g></svg><g>", "well-formed"),
    ],
)
def test_a_drawing_that_holds_more_than_a_drawing_is_refused(inside: str, words: str):
    assert words in why_not(svg(inside))


@pytest.mark.parametrize(
    ("drawing", "words"),
    [
        (svg("&a;", before="<!DOCTYPE svg [<!ENTITY a 'aaaa'>]>"), "entities"),
        (svg("&a;", before="<!DOCTYPE svg [<!ENTITY a SYSTEM 'file:///etc/hostname'>]>"), "entities"),
        (svg("&a;", before="<!DOCTYPE svg SYSTEM 'http://example.org/a.dtd'>"), "entities"),
        (svg(before="<!DOCTYPE svg [<!ATTLIST svg onload CDATA 'x()'>]>"), "entities"),
        (svg(before="<?xml-stylesheet href='a.xsl' type='text/xsl'?>"), "instruction"),
        (svg(opening="<svg>"), "no SVG but <svg>"),
        (svg(opening="<svg xmlns='http://www.w3.org/1999/xhtml'>"), "no SVG"),
        (b"<rss/>", "no SVG but <rss>"),
        (svg(opening=SVG_OPEN.replace("<svg ", "<svg onload='x()' ")), "onload"),
        (svg() + svg(), "well-formed"),
        (b'<?xml version="1.0" encoding="no-such"?>' + svg(), "encoding|well-formed"),
        (b'<?xml version="1.0" encoding="utf-7"?>' + svg(), "encoding|well-formed"),
        (svg("<path d='" + "M0 0" * (LARGEST_SVG_BYTES // 4) + "'/>"), "more than 2 MB"),
    ],
)
def test_a_document_that_is_no_plain_drawing_is_refused(drawing: bytes, words: str):
    assert any(word in why_not(drawing) for word in words.split("|"))


@pytest.mark.parametrize(
    ("sides", "size"),
    [
        ("width='30px' height='20.4px'", (30, 20)),
        ("viewBox='0 0 300 200'", (300, 200)),
        ("width='100%' height='100%' viewBox='0,0,300,200'", (300, 200)),
        ("width='10em' height='5em'", (None, None)),
        ("viewBox='0 0 nan inf' width='-5' height='0'", (None, None)),
        ("width='99999999' height='5'", (None, None)),
        ("", (None, None)),
    ],
)
def test_a_drawings_size_is_in_pixels_or_unknown(sides: str, size: tuple[int | None, int | None]):
    facts = examine(svg(opening=f"<svg xmlns='http://www.w3.org/2000/svg' {sides}>"))
    assert (facts.width, facts.height) == size
