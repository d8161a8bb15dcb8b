"""Posters of published titles: always JPEG of the same size, with the rank if wanted."""

from __future__ import annotations

import functools
import unicodedata
from io import BytesIO

from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

SIZE = WIDTH, HEIGHT = 600, 900
# Known from the header, before anything is decoded.
LARGEST_PIXELS = 50_000_000
# Pictures of other proportions are shown whole, in front of a blurred background.
MOST_CROPPED = 0.2
_DARK, _LIGHT, _GOLD, _GREY = (20, 24, 34), (58, 68, 94), (245, 197, 66), (150, 160, 184)
_WHITE = (255, 255, 255)
# Letters that do not consist of a plain one and an accent.
_PLAIN = {
    "ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D",
    "ð": "d", "Ð": "D", "þ": "th", "Þ": "Th", "\u0131": "i",
    # Quotation marks, dashes, middle dot.
    **dict.fromkeys("\u2018\u2019\u02bc", "'"), **dict.fromkeys("\u201c\u201d\u201e\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u00b7", "-"),
}  # fmt: skip
_LARGEST_FONT, _SMALLEST_FONT, _LINES = 76, 34, 6


def draw_poster(picture: bytes | None, *, title: str, rank: int | None) -> bytes:
    """Return a poster as JPEG, 600 by 900 pixels.

    Args:
        picture: A picture of any size and format. If there is none, or it is damaged or too large, a card with the
            title is drawn instead.
        title: The title for the card.
        rank: The rank for the badge in the corner; None: no badge.
    """
    poster = _fit(picture) if picture else None
    if poster is None:
        poster = _draw_card(title)
    if rank is not None:
        _draw_badge(poster, str(rank))
    written = BytesIO()
    # Few clients show fine colour detail, and a household has thousands of posters.
    poster.save(written, "JPEG", quality=88, subsampling="4:2:0")
    return written.getvalue()


def _fit(picture: bytes) -> Image.Image | None:
    """Return a picture in the size of a poster, or None if it cannot be read."""
    try:
        with Image.open(BytesIO(picture)) as opened:
            if opened.width * opened.height > LARGEST_PIXELS:
                return None
            # A JPEG is decoded in the smallest size that is large enough.
            opened.draft("RGB", (WIDTH * 2, HEIGHT * 2))
            image = _flatten(ImageOps.exif_transpose(opened))
        return _crop(image)
    except Exception:
        # Pillow passes on the errors of its parsers in damaged files, such as IndexError or zlib.error.
        return None


def _flatten(image: Image.Image) -> Image.Image:
    """Return an RGB picture, with transparent parts on a dark ground."""
    if image.mode.startswith(("I", "F")):
        # 16 bits per channel.
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    ground = Image.new("RGBA", image.size, (*_DARK, 255))
    return Image.alpha_composite(ground, image).convert("RGB")


def _crop(image: Image.Image) -> Image.Image:
    shape, wanted = image.width / image.height, WIDTH / HEIGHT
    covering = ImageOps.fit(image, SIZE, Image.Resampling.LANCZOS)
    if 1 - min(shape, wanted) / max(shape, wanted) <= MOST_CROPPED:
        return covering
    poster = ImageEnhance.Brightness(covering.filter(ImageFilter.GaussianBlur(24))).enhance(0.45)
    whole = ImageOps.contain(image, SIZE, Image.Resampling.LANCZOS)
    poster.paste(whole, ((WIDTH - whole.width) // 2, (HEIGHT - whole.height) // 2))
    return poster


def _draw_card(title: str) -> Image.Image:
    shade = Image.linear_gradient("L").resize(SIZE)
    card = Image.composite(Image.new("RGB", SIZE, _DARK), Image.new("RGB", SIZE, _LIGHT), shade)
    draw = ImageDraw.Draw(card)
    draw.rectangle((28, 28, WIDTH - 29, HEIGHT - 29), outline=_GREY, width=3)
    text, font = _layout(_printable(title))
    if not text:
        # A play sign, for titles in scripts that the font lacks.
        draw.ellipse((180, 330, 420, 570), outline=_GREY, width=6)
        draw.polygon([(268, 388), (268, 512), (372, 450)], fill=_GREY)
        return card
    left, top, right, bottom = draw.multiline_textbbox((0, 0), text, font=font, spacing=14, align="center")
    at = ((WIDTH - right - left) / 2, (HEIGHT - bottom - top) / 2)
    draw.multiline_text(at, text, font=font, fill=_WHITE, spacing=14, align="center")
    below = (HEIGHT + bottom - top) / 2 + 40
    draw.rectangle((WIDTH / 2 - 50, below, WIDTH / 2 + 50, below + 5), fill=_GOLD)
    return card


def _layout(text: str) -> tuple[str, ImageFont.FreeTypeFont]:
    """Break a text into lines, in the largest font in which it fits; what does not fit ends with an ellipsis."""
    widest = WIDTH - 120
    font = _font(_SMALLEST_FONT)
    for size in range(_LARGEST_FONT, _SMALLEST_FONT - 1, -6):
        font = _font(size)
        lines = _wrap(text.split(), font, widest)
        if len(lines) <= _LINES and all(font.getlength(line) <= widest for line in lines):
            return "\n".join(lines), font
    lines = _wrap(text.split(), font, widest)
    shown = [_shorten(line, font, widest) for line in lines[:_LINES]]
    if len(lines) > _LINES:
        shown[-1] = _shorten(f"{lines[_LINES - 1]} {lines[_LINES]}", font, widest)
    return "\n".join(shown), font


def _wrap(words: list[str], font: ImageFont.FreeTypeFont, widest: int) -> list[str]:
    lines: list[str] = []
    for word in words:
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= widest:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _shorten(line: str, font: ImageFont.FreeTypeFont, widest: int) -> str:
    if font.getlength(line) <= widest:
        return line
    while line and font.getlength(f"{line}…") > widest:
        line = line[:-1].rstrip()
    return f"{line}…"


def _draw_badge(poster: Image.Image, text: str) -> None:
    """Draw a rank on a dark plate in the upper left corner."""
    scale, left, top, height = 4, 24, 24, 112
    font = _font(68)
    width = max(height, round(font.getlength(text)) + 56)
    # Drawn larger, for smooth edges.
    plate = Image.new("RGBA", (width * scale, height * scale), (*_GOLD, 0))
    box = (0, 0, width * scale - 1, height * scale - 1)
    ImageDraw.Draw(plate).rounded_rectangle(box, 28 * scale, fill=_DARK, outline=_GOLD, width=5 * scale)
    plate = plate.resize((width, height), Image.Resampling.LANCZOS)
    poster.paste(plate, (left, top), plate)
    at = (left + width / 2, top + height / 2)
    ImageDraw.Draw(poster).text(at, text, font=font, fill=_WHITE, anchor="mm")


def _printable(title: str) -> str:
    """Return a title in characters of the font, or nothing if that leaves little of it."""
    composed = unicodedata.normalize("NFC", title)
    kept = "".join(_replace_char(char) for char in composed)
    visible, all_visible = (sum(char.isalnum() for char in text) for text in (kept, composed))
    return " ".join(kept.split()) if visible * 2 > all_visible else ""


def _replace_char(char: str) -> str:
    if _has_glyph(char):
        return char
    # Without accents, if the font has no others.
    plain = _PLAIN.get(char) or "".join(one for one in unicodedata.normalize("NFKD", char) if _has_glyph(one))
    return plain or " "


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Pillow brings its own font, so that posters are the same on every machine.
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


@functools.lru_cache(4096)
def _has_glyph(char: str) -> bool:
    return char.isspace() or (char.isprintable() and _glyph(char) != _glyph("\uffff"))


def _glyph(char: str) -> bytes:
    drawn = Image.new("L", (64, 64))
    ImageDraw.Draw(drawn).text((8, 8), char, font=_font(_SMALLEST_FONT), fill=255)
    return drawn.tobytes()
