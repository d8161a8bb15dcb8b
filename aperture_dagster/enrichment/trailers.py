"""Trailers of titles: which of them is kept for each language, and the addresses that pages link to.

Whatever a source sends, an address is made here from the name of a known site and a key of the form that this site
has, when the trailer is read from the source and again when it is shown. Nothing else becomes a link.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

Trailers = dict[str, dict[str, str]]
"""By language (ISO 639-1): the ``site`` and the ``key`` of the video there."""
# Sites, each with the form of its keys and the address of a video.
SITES = {
    "YouTube": (re.compile(r"[A-Za-z0-9_-]{11}"), "https://www.youtube.com/watch?v={}"),
    "Vimeo": (re.compile(r"[0-9]{1,12}"), "https://vimeo.com/{}"),
}
FALLBACK = "en"
"""The language to fall back to if there is no trailer in the language of the page."""
_LANGUAGE = re.compile(r"[a-z]{2}")
# The kinds of videos that are trailers, the better one first.
_TYPES = ("Trailer", "Teaser")


class Trailer(NamedTuple):
    """A trailer on another site, and the language that is spoken in it."""

    address: str
    site: str
    language: str


def best_trailers(videos: Iterable[Mapping[str, Any]]) -> Trailers | None:
    """Pick the best trailer in each language from TMDb's videos of a title; None if it has no trailer.

    A trailer is preferred to a teaser, then an official one, then the larger picture, then the earlier in the list.
    Videos on other sites, of other kinds, and those whose values have an unexpected form are left out.
    """
    best: Trailers = {}
    for video in sorted(videos, key=_quality):
        site, key, language = video.get("site"), video.get("key"), video.get("iso_639_1")
        if not isinstance(language, str) or not _LANGUAGE.fullmatch(language):
            continue
        if video.get("type") in _TYPES and _address(site, key):
            best.setdefault(language, {"site": str(site), "key": str(key)})
    return best or None


def trailer_in(trailers: Any, language: str) -> Trailer | None:
    """Return the trailer for a page in a language: in that language, else in English, else in any; None without one.

    Args:
        trailers: what is stored; anything that is not a trailer there is left out.
        language: of the page, such as ``de``.
    """
    known = trailers if isinstance(trailers, Mapping) else {}
    for code in dict.fromkeys((language, FALLBACK, *sorted(map(str, known)))):
        video = known.get(code)
        if isinstance(video, Mapping) and _LANGUAGE.fullmatch(code):
            site = video.get("site")
            address = _address(site, video.get("key"))
            if address:
                return Trailer(address, str(site), code)
    return None


def _quality(video: Mapping[str, Any]) -> tuple[int, bool, float]:
    kind, size = video.get("type"), video.get("size")
    place = _TYPES.index(kind) if kind in _TYPES else len(_TYPES)
    lines = size if isinstance(size, (int, float)) and not isinstance(size, bool) and size == size else 0
    return place, video.get("official") is not True, -lines


def _address(site: Any, key: Any) -> str:
    if not isinstance(site, str) or not isinstance(key, str) or site not in SITES:
        return ""
    form, address = SITES[site]
    return address.format(key) if form.fullmatch(key) else ""
