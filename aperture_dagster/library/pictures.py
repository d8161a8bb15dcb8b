"""What a picture is by its bytes, whatever its name or its content type says: PNG, JPEG or SVG, whole and harmless.

An SVG is a document that a browser may run. Where a media server shows studios' pictures, it would run among the
sessions of the household; so one that holds anything but drawing is refused, not cleaned: a logo is not worth it.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Literal, NoReturn
from xml.parsers import expat

PictureKind = Literal["png", "jpeg", "svg"]
MEDIA_TYPES: dict[PictureKind, str] = {"png": "image/png", "jpeg": "image/jpeg", "svg": "image/svg+xml"}
# A decoder would take four bytes for each of its square.
LONGEST_SIDE = 10_000
LARGEST_SVG_BYTES = 2_000_000
DEEPEST_SVG = 200

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# The bits of a sample that go with each type of colour.
PNG_DEPTHS = {0: {1, 2, 4, 8, 16}, 2: {8, 16}, 3: {1, 2, 4, 8}, 4: {8, 16}, 6: {8, 16}}
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
SVG_NAMESPACE, HTML_NAMESPACE = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"

# Code, other documents, and what could bring them in.
_ACTIVE = frozenset(
    {"script", "handler", "listener", "foreignobject", "iframe", "object", "embed", "audio", "video", "canvas"}
)
_INSIDE = re.compile(r"#[^\s]*|data:image/(?:png|jpeg|jpg|gif|webp);base64,[A-Za-z0-9+/=\s]*", re.IGNORECASE)
_CSS_ADDRESS = re.compile(r"url\(\s*(['\"]?)(.*?)\1\s*\)", re.IGNORECASE | re.DOTALL)
_CSS_OTHER = re.compile(r"\\|@import|image-set\(|src\(|expression\(|-moz-binding|javascript:", re.IGNORECASE)
_LENGTH = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)(?:px)?\s*")


class NotAPicture(Exception):
    """Why bytes are no picture that is taken, as the end of a sentence: "it is cut off"."""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What a picture says of itself; ``width`` and ``height`` in pixels, None for an SVG that has no size."""

    kind: PictureKind
    width: int | None
    height: int | None

    @property
    def media_type(self) -> str:
        """As for a Content-Type."""
        return MEDIA_TYPES[self.kind]


def recognise(content: bytes) -> PictureFacts | None:
    """What a picture is, or None where :func:`examine` refuses it."""
    try:
        return examine(content)
    except NotAPicture:
        return None


def examine(content: bytes) -> PictureFacts:
    """What a picture is, from all its bytes; pixels are not decoded.

    Raises:
        NotAPicture: it is another thing, cut off, damaged, too large, or an SVG that holds more than a drawing.
    """
    if not content:
        raise NotAPicture("it is empty")
    if content.startswith(PNG_SIGNATURE):
        return _png(content)
    if content.startswith(b"\xff\xd8"):
        return _jpeg(content)
    beginning = content[:1000].lstrip(b"\xef\xbb\xbf\t\r\n ").lower()
    if beginning.startswith((b"<!doctype html", b"<html")):
        raise NotAPicture("it is a page (HTML)")
    # UTF-16 begins with its own mark.
    if beginning.startswith((b"<", b"\xff\xfe", b"\xfe\xff")):
        return _svg(content)
    raise NotAPicture("it is neither PNG, JPEG nor SVG")


def _sized(kind: PictureKind, width: int, height: int) -> PictureFacts:
    if not 0 < width <= LONGEST_SIDE or not 0 < height <= LONGEST_SIDE:
        raise NotAPicture(f"its size is {width} by {height}")
    return PictureFacts(kind, width, height)


def _png(content: bytes) -> PictureFacts:
    facts = None
    has_pixels = False
    at = len(PNG_SIGNATURE)
    while at + 12 <= len(content):
        (length,) = struct.unpack_from(">I", content, at)
        name, end = content[at + 4 : at + 8], at + 12 + length
        if end > len(content):
            break
        if zlib.crc32(content[at + 4 : end - 4]) != struct.unpack_from(">I", content, end - 4)[0]:
            raise NotAPicture("it is damaged")
        if facts is None:
            if name != b"IHDR" or length != 13:
                raise NotAPicture("its header is not a PNG's")
            width, height, depth, colour, packing, filtering, interlace = struct.unpack_from(
                ">IIBBBBB", content, at + 8
            )
            if depth not in PNG_DEPTHS.get(colour, ()) or packing or filtering or interlace > 1:
                raise NotAPicture("its header is not a PNG's")
            facts = _sized("png", width, height)
        has_pixels |= name == b"IDAT" and length > 0
        at = end
        if name == b"IEND":
            if not has_pixels:
                raise NotAPicture("it has no pixels")
            if at != len(content):
                raise NotAPicture("something follows its end")
            return facts
    raise NotAPicture("it is cut off")


def _jpeg(content: bytes) -> PictureFacts:
    facts = None
    at = 2
    while at + 4 <= len(content):
        if content[at] != 0xFF:
            raise NotAPicture("it is damaged")
        marker = content[at + 1]
        if marker == 0xFF:
            # Filling before a marker.
            at += 1
            continue
        if marker in JPEG_BARE_MARKERS:
            at += 2
            continue
        (length,) = struct.unpack_from(">H", content, at + 2)
        if length < 2 or marker in (0x00, 0xD9):
            raise NotAPicture("it is damaged")
        if at + 2 + length > len(content):
            break
        if marker in JPEG_FRAMES:
            if length < 8:
                raise NotAPicture("it is damaged")
            height, width = struct.unpack_from(">HH", content, at + 5)
            facts = _sized("jpeg", width, height)
        at += 2 + length
        if marker == 0xDA:
            if facts is None:
                raise NotAPicture("it has no size")
            # Pixels follow, and perhaps more scans; what matters is that the end is there.
            if content.endswith(b"\xff\xd9") and len(content) > at + 2:
                return facts
            break
    raise NotAPicture("it is cut off")


def _svg(content: bytes) -> PictureFacts:
    if len(content) > LARGEST_SVG_BYTES:
        raise NotAPicture(f"an SVG of more than {LARGEST_SVG_BYTES / 1e6:g} MB is not taken")
    reader = _SvgReader()
    try:
        return reader.read(content)
    except expat.ExpatError as error:
        raise NotAPicture(f"it is not well-formed ({expat.errors.messages.get(error.code, 'XML')})") from None
    except (LookupError, ValueError):
        raise NotAPicture("its encoding is not known") from None


class _SvgReader:
    """Reads an SVG once from beginning to end and builds nothing; what is not a drawing ends it."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self._style: list[str] = []
        self._facts: PictureFacts | None = None
        # Names come as "namespace}name".
        parser = expat.ParserCreate(namespace_separator="}")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._doctype
        parser.EntityDeclHandler = self._entity
        parser.SkippedEntityHandler = self._entity
        parser.ProcessingInstructionHandler = self._instruction
        self._parser = parser

    def read(self, content: bytes) -> PictureFacts:
        self._parser.Parse(content, True)
        if self._facts is None:
            raise NotAPicture("it holds nothing")
        return self._facts

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, tag = name.rpartition("}")
        if not self._path:
            if (namespace, tag) != (SVG_NAMESPACE, "svg"):
                raise NotAPicture(f"it is no SVG but <{tag[:40]}>")
            self._facts = PictureFacts("svg", *_svg_size(attributes))
        tag = tag.lower()
        self._path.append(tag)
        if len(self._path) > DEEPEST_SVG:
            raise NotAPicture("it is nested too deeply")
        if tag in _ACTIVE or namespace == HTML_NAMESPACE:
            raise NotAPicture(f"it holds <{tag}>, which is more than a drawing")
        for attribute, value in attributes.items():
            self._check_attribute(tag, attribute, value)

    def _check_attribute(self, tag: str, attribute: str, value: str) -> None:
        namespace, _, name = attribute.rpartition("}")
        name = name.lower()
        if name.startswith("on"):
            raise NotAPicture(f"it holds {name}, which is more than a drawing")
        if name in ("href", "src") and not _INSIDE.fullmatch(value.strip()):
            raise NotAPicture(f"<{tag}> refers to something outside of it")
        if name == "base" and namespace:
            raise NotAPicture("it refers to something outside of it")
        if name == "attributename" and (value.strip().lower().rpartition(":")[2].startswith(("href", "on"))):
            raise NotAPicture("it changes its own links")
        if not namespace:
            # Of other attributes those that a style may also set are read like one: fill, mask, cursor.
            _check_css(value, is_style=name == "style" or "(" in value)

    def _end(self, _: str) -> None:
        if self._path.pop() == "style":
            _check_css("".join(self._style), is_style=True)
            self._style.clear()

    def _text(self, text: str) -> None:
        if self._path and self._path[-1] == "style":
            self._style.append(text)

    def _doctype(self, _: str, __: str | None, ___: str | None, has_own_declarations: int) -> None:
        # The plain one of old drawing programs is fetched by nobody.
        if has_own_declarations:
            raise NotAPicture("it declares entities")

    def _entity(self, *_: Any) -> NoReturn:
        raise NotAPicture("it uses entities")

    def _instruction(self, target: str, _: str) -> None:
        raise NotAPicture(f"it holds an instruction <?{target[:40]}>, which is more than a drawing")


def _check_css(css: str, *, is_style: bool) -> None:
    if is_style and _CSS_OTHER.search(css):
        raise NotAPicture("its style is more than a style")
    rest = _CSS_ADDRESS.sub("", css)
    addresses = [match[2].strip() for match in _CSS_ADDRESS.finditer(css)]
    if "url(" in rest.lower() or not all(_INSIDE.fullmatch(address) for address in addresses):
        raise NotAPicture("its style refers to something outside of it")


def _svg_size(attributes: dict[str, str]) -> tuple[int | None, int | None]:
    """Width and height in pixels, or those of its view box, or None: a share of the page is no size."""
    sides = [attributes.get("width", ""), attributes.get("height", "")]
    box = re.split(r"[\s,]+", attributes.get("viewBox", "").strip())
    for pair in (sides, box[2:] if len(box) == 4 else []):
        found = [round(float(match[1])) for side in pair if (match := _LENGTH.fullmatch(side))]
        if len(found) == 2 and all(0 < side <= LONGEST_SIDE for side in found):
            return found[0], found[1]
    return None, None
