"""NFO files of published titles.

Left out on purpose: tags that make the server download pictures, that write into someone's history, that create
collections, and, on Jellyfin, the lock, after which it never reads the file again.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

LARGEST_CAST = 15
# Providers whose ids have tags of their own.
_OWN_TAGS = ("tmdb", "imdb", "tvdb")
_SPECIAL = re.compile('[&<>"\r\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]')
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)
_MARKER = re.compile(
    r"""<uniqueid\b[^>]*?\btype\s*=\s*["']aperture["'][^>]*>\s*([^<\s][^<]*?)\s*(?:<|$)""", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class TitleFacts:
    """Facts about a film or a series. ``marker`` identifies the entry; ``cast`` holds names and roles."""

    title: str
    date_added: datetime
    marker: str
    original_title: str | None = None
    sort_title: str | None = None
    overview: str | None = None
    tagline: str | None = None
    year: int | None = None
    official_rating: str | None = None
    premiere_date: date | None = None
    community_rating: float | None = None
    critic_rating: float | None = None
    genres: tuple[str, ...] = ()
    studios: tuple[str, ...] = ()
    countries: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    cast: tuple[tuple[str, str | None], ...] = ()
    directors: tuple[str, ...] = ()
    writers: tuple[str, ...] = ()
    status: str | None = None
    provider_ids: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EpisodeFacts:
    """Facts about an episode. ``number_end`` is the last one of a file that holds several."""

    season: int
    number: int
    number_end: int | None
    title: str
    air_date: date | None


def film_nfo(facts: TitleFacts, *, lock: bool = False, premiered: bool = True) -> bytes:
    """Return the content of `movie.nfo`.

    Args:
        facts: What to write. Ids of providers are written only if they are given.
        lock: Whether to lock the item. For Emby only.
        premiered: Whether to write the date. On Emby, a copy with a date is listed as recently released.
    """
    return _document("movie", [*_title(facts, premiered), _tags(facts), _uniqueid("aperture", facts.marker)], lock)


def series_nfo(facts: TitleFacts, *, lock: bool = False, premiered: bool = True) -> bytes:
    """Return the content of `tvshow.nfo`; for the arguments see `film_nfo`."""
    parts = [*_title(facts, premiered), _element("status", facts.status), _tags(facts)]
    parts.append(_uniqueid("aperture", facts.marker))
    if not any(_is_id(value) for value in facts.provider_ids.values()):
        # By this id, Jellyfin keeps the series apart from the original. It would also keep their history apart, which
        # is shared on purpose when the ids of providers are written.
        parts.append(_uniqueid("custom", facts.marker))
    return _document("tvshow", parts, lock)


def episode_nfo(
    facts: EpisodeFacts, series: TitleFacts, *, added: datetime, lock: bool = False, premiered: bool = True
) -> bytes:
    """Return the content of an episode's NFO; for the other arguments see `film_nfo`.

    ``added`` is when the episode was added. Without a rating, the episode has that of its series.
    """
    several = facts.number_end is not None and facts.number_end > facts.number
    parts = [
        _element("title", facts.title),
        f"<season>{facts.season}</season>",
        f"<episode>{facts.number}</episode>",
        f"<episodenumberend>{facts.number_end}</episodenumberend>" if several else "",
        f"<aired>{facts.air_date.isoformat()[:10]}</aired>" if premiered and facts.air_date else "",
        _date_added(added),
        _uniqueid("aperture", series.marker),
    ]
    return _document("episodedetails", parts, lock)


def read_marker(content: bytes) -> str | None:
    """Return the marker of an NFO that was written here, or None. The rest of the file may be damaged."""
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8"
    found = _MARKER.search(_COMMENT.sub("", content.decode(encoding, "replace")))
    return html.unescape(found[1]) if found else None


def read_title(content: bytes) -> str | None:
    """Return the title of an NFO that was written here, or None."""
    found = _TITLE.search(content.decode("utf-8", "replace"))
    return html.unescape(found[1]) if found else None


def says_rating(content: bytes) -> bool:
    """Tell whether an NFO that was written here has an official rating."""
    return b"<mpaa>" in content


def _document(root: str, parts: Iterable[str], lock: bool) -> bytes:
    body = "\n  ".join(filter(None, parts))
    locked = "\n  <lockdata>true</lockdata>" if lock else ""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}>\n  {body}{locked}\n</{root}>\n'.encode()


def _title(facts: TitleFacts, premiered: bool) -> list[str]:
    return [
        _element("title", facts.title),
        _element("originaltitle", facts.original_title),
        _element("sorttitle", facts.sort_title),
        _element("plot", facts.overview),
        _element("tagline", facts.tagline),
        # The servers ignore earlier years.
        f"<year>{facts.year}</year>" if facts.year is not None and 1850 < facts.year <= 9999 else "",
        # Parental limits treat the copy as they treat the original, so one that is unrated stays so.
        _element("mpaa", facts.official_rating),
        f"<premiered>{facts.premiere_date.isoformat()[:10]}</premiered>" if premiered and facts.premiere_date else "",
        _date_added(facts.date_added),
        _number("rating", facts.community_rating),
        _number("criticrating", facts.critic_rating),
    ]


def _tags(facts: TitleFacts) -> str:
    parts = [
        *(_element("genre", genre) for genre in facts.genres),
        *(_element("studio", studio) for studio in facts.studios),
        *(_element("country", country) for country in facts.countries),
        *(_element("tag", tag) for tag in facts.tags),
        # The servers split names at commas unless there is a pipe: "Robert Downey, Jr.".
        *(_element("director", f"{director}|" if "," in director else director) for director in facts.directors),
        *(_element("credits", writer) for writer in facts.writers),
        *(_actor(name, role, order) for order, (name, role) in enumerate(facts.cast[:LARGEST_CAST])),
    ]
    for provider, value in sorted(facts.provider_ids.items(), key=lambda pair: pair[0].lower()):
        kind = provider.lower()
        if not _is_id(value) or "=" in kind or kind in ("aperture", "custom"):
            continue
        if kind in _OWN_TAGS:
            parts.append(_element(f"{kind}id", value))
        parts.append(_uniqueid(kind, value))
    return "\n  ".join(filter(None, parts))


def _is_id(value: str) -> bool:
    # An id such as 0 or tt0000000 would join unrelated titles.
    return bool(value.strip().strip("t0"))


def _actor(name: str, role: str | None, order: int) -> str:
    named = _element("name", name)
    return named and f"<actor>{named}{_element('role', role)}<order>{order}</order></actor>"


def _uniqueid(kind: str, value: str) -> str:
    return f'<uniqueid type="{_escape(kind)}">{_escape(value.strip())}</uniqueid>'


def _date_added(moment: datetime) -> str:
    if moment.tzinfo is None:
        raise ValueError("expected a date with a time zone")
    return f"<dateadded>{moment.astimezone(UTC).isoformat(' ')[:19]}</dateadded>"


def _number(tag: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return ""
    return f"<{tag}>{f'{value:.2f}'.rstrip('0').rstrip('.')}</{tag}>"


def _element(tag: str, text: str | None) -> str:
    text = _escape(text.strip()) if text else ""
    return f"<{tag}>{text}</{tag}>" if text else ""


def _escape(text: str) -> str:
    """Escape a text for XML 1.0, without the characters that it forbids."""
    if not _SPECIAL.search(text):
        return text
    text = _FORBIDDEN.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
