"""What stand-ins show of a title, the same whichever it is: ratings on every site, and small pictures."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from aperture_dagster.simulator.catalogue import stable_number
from aperture_dagster.simulator.world import WorldTitle


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


SCALES = {
    "imdb": 10, "metacritic": 100, "trakt": 100, "tomatoes": 100, "popcorn": 100, "tmdb": 100, "letterboxd": 5,
}  # fmt: skip
"""The best rating on every site, in MDBList's order."""
# Share of films and of series that a site knows.
_KNOWN = {
    "imdb": (0.97, 0.97), "metacritic": (0.7, 0.4), "trakt": (0.95, 0.95), "tomatoes": (0.85, 0.4),
    "popcorn": (0.8, 0.5), "tmdb": (1.0, 1.0), "letterboxd": (0.9, 0.0),
}  # fmt: skip
# How far ratings deviate, as a share of the scale.
_DEVIATIONS = {"imdb": 0.04, "tmdb": 0.0, "trakt": 0.04, "tomatoes": 0.16, "metacritic": 0.12}
_USUAL_DEVIATION = 0.08
# Decimal places of sites whose ratings are not whole numbers.
_DECIMALS = {"imdb": 1, "letterboxd": 1}


@dataclass(frozen=True, slots=True)
class Opinion:
    """A site's rating on its own scale, and the number of votes."""

    value: float
    votes: int


def share(key: str, use: str) -> float:
    """Hash a title's key and a purpose to a number from 0 to below 1."""
    return stable_number(f"{key}|{use}") / 2.0**64


def opinions(title: WorldTitle) -> dict[str, Opinion]:
    """Return ratings by site, without the sites that do not know the title."""
    rating = title.vote_average
    if not rating:
        # Half of the titles without votes on TMDb have none elsewhere either.
        if share(title.key, "unmarked") < 0.5:
            return {}
        rating = 4.5 + 4.0 * share(title.key, "mark")
    found: dict[str, Opinion] = {}
    for site, scale in SCALES.items():
        known = _KNOWN[site][0 if title.media_type == "movie" else 1]
        if share(title.key, f"{site}|known") >= known or (site == "tmdb" and not title.vote_average):
            continue
        deviation = (share(title.key, f"{site}|stray") * 2 - 1) * _DEVIATIONS.get(site, _USUAL_DEVIATION)
        value = min(0.99, max(0.05, rating / 10 + deviation)) * scale
        found[site] = Opinion(round(value, _DECIMALS.get(site, 0)), _votes(site, title))
    return found


def _votes(site: str, title: WorldTitle) -> int:
    counted = int(title.vote_count or 0) or 20
    if site == "tmdb":
        return counted
    spread = 0.5 + share(title.key, f"{site}|votes")
    if site in ("tomatoes", "metacritic"):
        return 5 + int(spread * counted**0.5)
    return max(5, int(spread * counted * (40 if site == "imdb" else 3)))


_AT_MOST = 40
_SHRINKAGE = 5.0


def neighbours(likes: Iterable[Iterable[str]]) -> dict[str, tuple[str, ...]]:
    """Return the titles that are liked together with each title: at most 40, the nearest first.

    ``likes`` are the keys of the titles that each person likes. Nearness is the cosine of two titles' people, shrunk
    where only few like both. A title that nobody likes together with another is left out.
    """
    people = [sorted(set(keys)) for keys in likes]
    keys = sorted({key for liked in people for key in liked})
    place = {key: index for index, key in enumerate(keys)}
    matrix = np.zeros((len(people), len(keys)), dtype=np.float32)
    for row, liked in enumerate(people):
        matrix[row, [place[key] for key in liked]] = 1.0
    together = matrix.T @ matrix
    norm = np.sqrt(np.diag(together))
    nearness = together / np.outer(norm, norm) * together / (together + _SHRINKAGE)
    np.fill_diagonal(nearness, 0.0)
    found: dict[str, tuple[str, ...]] = {}
    for index, key in enumerate(keys):
        liked_too = np.flatnonzero(nearness[index])
        order = liked_too[np.argsort(-nearness[index, liked_too], kind="stable")][:_AT_MOST]
        if order.size:
            found[key] = tuple(keys[int(other)] for other in order)
    return found
