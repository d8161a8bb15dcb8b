"""Posters of published titles: always JPEG of the same size, with the rank if wanted."""

from __future__ import annotations

import functools
import textwrap
import unicodedata
from io import BytesIO

from PIL import Image, ImageDraw, ImageFont, ImageOps

SIZE = WIDTH, HEIGHT = 600, 900
# What media servers send; Pillow knows forty formats, and each is a parser that a damaged file could mislead.
FORMATS = ("JPEG", "PNG", "WEBP")
# Known from the header, before anything is decoded.
LARGEST_PIXELS = 50_000_000
# Pictures of other proportions are shown whole, on a dark ground.
MOST_CROPPED = 0.2
_DARK, _GOLD, _WHITE = (20, 24, 34), (245, 197, 66), (255, 255, 255)
# The font has ASCII alone. Letters that do not consist of a plain one and an accent, quotation marks, and dashes.
_PLAIN = str.maketrans(
    {
        "ß": "ss", "æ": "ae", "Æ": "Ae", "œ": "oe", "Œ": "Oe", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "\u2019": "'",
        "\u2018": "'", "\u201c": '"', "\u201d": '"', "\u201e": '"', "\u2013": "-", "\u2014": "-", "\u00b7": "-",
    }
)  # fmt: skip


def draw_poster(picture: bytes | None, *, title: str, rank: int | None) -> bytes:
    """Return a poster as JPEG, 600 by 900 pixels.

    Args:
        picture: A JPEG, PNG or WebP of any size. If there is none, or it is damaged, too large or in another format, a
            card with the title is drawn instead.
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
        with Image.open(BytesIO(picture), formats=FORMATS) as opened:
            if opened.width * opened.height > LARGEST_PIXELS:
                return None
            # A JPEG is decoded in the smallest size that is large enough.
            opened.draft("RGB", (WIDTH * 2, HEIGHT * 2))
            image = ImageOps.exif_transpose(opened).convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (*_DARK, 255)), image).convert("RGB")
        shape, wanted = image.width / image.height, WIDTH / HEIGHT
        if 1 - min(shape, wanted) / max(shape, wanted) <= MOST_CROPPED:
            return ImageOps.fit(image, SIZE, Image.Resampling.LANCZOS)
        return ImageOps.pad(image, SIZE, Image.Resampling.LANCZOS, _DARK)
    except Exception:
        # Pillow passes on the errors of its parsers in damaged files, such as IndexError or zlib.error.
        return None


def _draw_card(title: str) -> Image.Image:
    card = Image.new("RGB", SIZE, _DARK)
    plain = unicodedata.normalize("NFKD", title.translate(_PLAIN)).encode("ascii", "ignore").decode()
    lines = textwrap.wrap(plain, 15, max_lines=8, placeholder="...")
    widest = max((_font(60).getlength(line) for line in lines), default=0)
    font = _font(int(min(60, 60 * (WIDTH - 60) / max(widest, 1))))
    # Of a title in another script, what is left would say nothing.
    if 2 * sum(map(str.isalnum, plain)) > sum(map(str.isalnum, title)):
        at = (WIDTH / 2, HEIGHT / 2)
        ImageDraw.Draw(card).multiline_text(at, "\n".join(lines), _WHITE, font, "mm", spacing=14, align="center")
    return card


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


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Pillow brings its own font, so that posters are the same on every machine.
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
