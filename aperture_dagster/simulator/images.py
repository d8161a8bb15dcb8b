"""Small pictures of one plain colour, which follows from a name; posters have their title on it."""

from __future__ import annotations

import io
import textwrap
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

from aperture_dagster.simulator.catalogue import stable_number


def colour_of(name: str) -> tuple[int, int, int]:
    """Return a muted colour as red, green, blue (0-255)."""
    number = stable_number(name)
    return 48 + number % 128, 48 + (number >> 8) % 128, 48 + (number >> 16) % 128


def png(name: str, width: int = 100, height: int = 150) -> bytes:
    """Return a PNG."""
    return _encoded("PNG", name, width, height)


@lru_cache(maxsize=256)
def poster(name: str, title: str) -> bytes:
    """Return a PNG of 100 by 150 pixels with a title on it."""
    picture, content = Image.new("RGB", (100, 150), colour_of(name)), io.BytesIO()
    lines = "\n".join(textwrap.wrap(title, 11)[:6])
    draw = ImageDraw.Draw(picture)
    draw.rectangle((4, 4, 95, 145), outline="white")
    draw.multiline_text((50, 75), lines, "white", ImageFont.load_default(14), "mm", align="center")
    picture.save(content, "PNG")
    return content.getvalue()


def jpeg(name: str, width: int = 104, height: int = 152) -> bytes:
    """Return a JPEG."""
    return _encoded("JPEG", name, width, height)


@lru_cache(maxsize=256)
def _encoded(form: str, name: str, width: int, height: int) -> bytes:
    picture = io.BytesIO()
    Image.new("RGB", (width, height), colour_of(name)).save(picture, form)
    return picture.getvalue()


def convert(content: bytes, form: str) -> bytes:
    """Return a picture in another format: JPEG, PNG or WEBP. Raises OSError when it is not a picture."""
    with Image.open(io.BytesIO(content)) as picture:
        converted = io.BytesIO()
        picture.convert("RGB").save(converted, form)
    return converted.getvalue()


def svg(name: str) -> bytes:
    """Return an SVG, as some logos are."""
    red, green, blue = colour_of(name)
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="100" height="40">'
        f'<rect width="100" height="40" fill="#{red:02x}{green:02x}{blue:02x}"/></svg>'
    ).encode()
