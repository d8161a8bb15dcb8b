"""NFO files, read as Jellyfin reads them (``MediaBrowser.XbmcMetadata/Parsers``, 10.9 to 12).

The name of the root element does not matter. Broken XML is no error: what was read up to there is kept.
"""

from __future__ import annotations

import re
import xml.parsers.expat
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

_TEXTS = {
    "title": "name", "originaltitle": "original_title", "plot": "overview", "tagline": "tagline",
    "mpaa": "official_rating", "customrating": "custom_rating", "sorttitle": "forced_sort_name",
}  # fmt: skip
_DATES = {"premiered": "premiere", "aired": "premiere", "enddate": "end_date"}
_NUMBERS = {"season": "season", "episode": "episode", "episodenumberend": "episode_end"}
_PROVIDERS = {"tmdbid": "Tmdb", "imdbid": "Imdb", "tvdbid": "Tvdb"}
_SPLIT = {"genre": "genres", "country": "countries"}


@dataclass(slots=True)
class Nfo:
    """What a file says. ``values`` has only what is in it; ``provider_ids`` by name as written."""

    values: dict[str, Any] = field(default_factory=dict)
    provider_ids: dict[str, str] = field(default_factory=dict)
    locked: bool | None = None
    unmodelled: set[str] = field(default_factory=set)


def read_nfo(content: bytes, kind: str) -> Nfo:
    """Read the file of a Movie, Series, Season or Episode."""
    nfo = Nfo()
    _Reader(nfo, kind).read(content)
    return nfo


class _Reader:
    """Collects the elements below the root, each with its attributes, text and children's texts."""

    def __init__(self, nfo: Nfo, kind: str) -> None:
        self._nfo = nfo
        self._kind = kind
        self._depth = 0
        self._attributes: dict[str, str] = {}
        self._text: list[str] = []
        self._children: dict[str, str] = {}

    def read(self, content: bytes) -> None:
        parser = xml.parsers.expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        with suppress(xml.parsers.expat.ExpatError):
            parser.Parse(content.removeprefix(b"\xef\xbb\xbf"), True)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth == 2:
            self._attributes, self._children = attributes, {}
        self._text = []

    def _characters(self, text: str) -> None:
        self._text.append(text)

    def _end(self, name: str) -> None:
        text = "".join(self._text).strip()
        if self._depth == 3:
            self._children[name] = text
        elif self._depth == 2:
            self._element(name, text)
        self._depth -= 1

    def _element(self, name: str, text: str) -> None:
        values = self._nfo.values
        if name in _TEXTS:
            values[_TEXTS[name]] = text
        elif name in _DATES:
            if re.fullmatch(r"\d{4}-\d\d-\d\d", text) and _is_date(text):
                values[_DATES[name]] = text
                if _DATES[name] == "premiere":
                    values.setdefault("year", int(text[:4]))
        elif name in _NUMBERS:
            if re.fullmatch(r"-?\d+", text):
                values[_NUMBERS[name]] = int(text)
        elif name in _SPLIT:
            parts = [part.strip() for part in text.split("/") if part.strip()]
            values[_SPLIT[name]] = [*values.get(_SPLIT[name], ()), *parts] if name == "genre" else parts
        elif name == "uniqueid":
            self._provider(self._attributes.get("type", ""), text)
        elif name.lower() in _PROVIDERS:
            self._provider(_PROVIDERS[name.lower()], text)
        else:
            self._other(name, text)

    def _other(self, name: str, text: str) -> None:
        nfo, values = self._nfo, self._nfo.values
        match name:
            case "year":
                if text.isdecimal() and int(text) > 1850:
                    values["year"] = int(text)
            case "dateadded":
                if (moment := _moment(text)) is not None:
                    values["created"] = moment
            case "rating" | "criticrating":
                if (number := _number(text)) is not None:
                    values["critic_rating" if name == "criticrating" else "rating"] = number
            case "studio" | "tag":
                target = "studios" if name == "studio" else "tags"
                if text and text not in values.setdefault(target, []):
                    values[target].append(text)
            case "actor":
                if self._children.get("name"):
                    member = (self._children["name"], self._children.get("role", ""))
                    values.setdefault("cast", []).append(member)
            case "director" | "credits":
                target = "directors" if name == "director" else "writers"
                separator = "/" if name == "credits" else r"[,/|;]"
                names = [part.strip() for part in re.split(separator, text) if part.strip()]
                values.setdefault(target, []).extend(names)
            case "lockdata":
                nfo.locked = text.lower() == "true"
            case "status" if self._kind == "Series":
                values["status"] = text
            case _:
                # What other elements would cause, such as downloads and changes of users' data, is not modelled.
                nfo.unmodelled.add(name)

    def _provider(self, name: str, value: str) -> None:
        name = _PROVIDERS.get(name.lower(), name)
        if name and value and "=" not in name:
            set_provider_id(self._nfo.provider_ids, name, value)


def set_provider_id(ids: dict[str, str], name: str, value: str) -> None:
    """Set an id. Names differ in more than case; the first spelling stays."""
    known = next((each for each in ids if each.lower() == name.lower()), name)
    ids[known] = value


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _moment(text: str) -> float | None:
    """Parse a date, which is UTC unless it says otherwise."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return None
