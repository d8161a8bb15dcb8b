"""Histories that other programs exported: Trakt, Playback Reporting (a plugin of Jellyfin and Emby) and Tautulli.

A file is read row by row, whatever its size. A row that cannot be read costs only itself.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from aperture_dagster.catalogue.identity import MediaType, ProviderIds
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.bulk import storable

Source = Literal["trakt", "playback_reporting", "tautulli"]

KNOWN_FILES = "a Trakt export, a backup of Playback Reporting or a history of Tautulli"
NOT_FINISHED = "not watched to the end"
WITHOUT_DATE = "without a date"
# The two layouts of Trakt's export: watched-history-1.json, and watched/history-1.json.
_IN_ZIP = re.compile(r"(watched-history|history|watched-(movies|shows)|ratings-(movies|shows))(-\d+)?\.json")
# The columns of the table, and of its backups, which have no headings.
_PLAYBACK_REPORTING = (
    "DateCreated", "UserId", "ItemId", "ItemType", "ItemName", "PlaybackMethod", "ClientName", "DeviceName",
    "PlayDuration",
)  # fmt: skip
_EPISODE_NAME = re.compile(r"(.*) - s(\d+)e(\d+) - .*", re.DOTALL)
_GUID = re.compile(r"(?:agents\.)?(imdb|tmdb|themoviedb|tvdb|thetvdb)://(tt\d+|\d+)")
_FIRST_OBJECT = re.compile(r"\[\s*(?=[{\]])")
_BETWEEN_OBJECTS = re.compile(r"[\s,]*")
_CHUNK = 1 << 16
_LARGEST_ENTRY = 1 << 20
_READABLE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError)


@dataclass(frozen=True, slots=True)
class PastRow:
    """A viewing or, if it has a ``rating`` (1-10), a rating of a film or of a whole series.

    Attributes:
        user: their name or id there; None if the file does not say it.
        title: of the film or of the series, as are ``year`` and ``ids``.
        number: of the episode, as is ``season``; None for a film, or for a rating.
        seconds: how long it was played; None: to the end.
        item_id: its id on the media server that made the file.
    """

    source: Source
    user: str | None
    media_type: MediaType
    title: str | None
    year: int | None
    ids: ProviderIds
    at: datetime
    season: int | None = None
    number: int | None = None
    rating: int | None = None
    seconds: int | None = None
    item_id: str | None = None

    @property
    def label(self) -> str:
        """What to call it in a message."""
        name = self.title or " ".join(str(value) for _, value in self.ids.present()) or "a title without a name"
        year = f" ({self.year})" if self.year else ""
        if self.number is None or self.season is None:
            return f"{name}{year}"
        return f"{name} S{self.season:02}E{self.number:02}"


@dataclass(frozen=True, slots=True)
class SkippedRow:
    """A row that is no viewing or rating, or cannot be read: where it is, and why."""

    where: str
    reason: str


def read_history_file(path: Path, zone: ZoneInfo) -> Iterator[PastRow | SkippedRow]:
    """Yield the rows of a file; dates without a time zone are in ``zone``.

    Raises:
        OperatorError: it is no file of a known kind.
    """
    is_known = False
    for where, record in _records(path):
        try:
            if not isinstance(record, dict):
                raise ValueError("it is damaged")
            rows = list(_rows(record, zone))
        except _READABLE as error:
            what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            yield SkippedRow(where, f"cannot be read: {what}")
            continue
        is_known = True
        for row in rows:
            yield SkippedRow(where, row) if isinstance(row, str) else row
    if not is_known:
        raise OperatorError(f"{path} is not {KNOWN_FILES}, or it is empty.")


def _rows(record: Mapping[str, Any], zone: ZoneInfo) -> Iterator[PastRow | str]:
    """Yield what a record stands for, or why it is left out."""
    if "DateCreated" in record:
        yield _of_playback_reporting(record, zone)
    elif "movie" in record or "show" in record:
        yield from _of_trakt(record, zone)
    elif "media_type" in record:
        yield _of_tautulli(record)
    else:
        raise ValueError("it is of an unknown kind")


# Trakt: entries as its API has them.


def _of_trakt(record: Mapping[str, Any], zone: ZoneInfo) -> Iterator[PastRow | str]:
    media_type: MediaType = "movie" if "movie" in record else "series"
    title = record["movie" if media_type == "movie" else "show"]
    given = title["ids"]
    ids = ProviderIds(_number(given.get("tmdb")), _text(given.get("imdb")), _number(given.get("tvdb")))
    what: dict[str, Any] = {
        "media_type": media_type,
        "title": _text(title.get("title")),
        "year": _number(title.get("year")),
        "ids": ids,
    }

    def viewing(moment: str | None, season: Any = None, number: Any = None) -> PastRow | str:
        if not moment:
            return WITHOUT_DATE
        return PastRow("trakt", None, **what, at=_moment(moment, zone), season=_number(season), number=_number(number))

    if "rated_at" in record:
        if record.get("type", "show") not in ("movie", "show") or "episode" in record or "season" in record:
            yield "a rating of a season or an episode"
        else:
            rating = int(record["rating"])
            if not 1 <= rating <= 10:
                raise ValueError(f"a rating of {rating}")
            yield PastRow("trakt", None, **what, at=_moment(record["rated_at"], zone), rating=rating)
    elif "episode" in record:
        yield viewing(record["watched_at"], record["episode"]["season"], record["episode"]["number"])
    elif media_type == "movie":
        yield viewing(record["watched_at"] if "watched_at" in record else record["last_watched_at"])
    else:
        # Of a whole series, the history has the episodes.
        for season in record.get("seasons", ()):
            for one in season["episodes"]:
                yield viewing(one["last_watched_at"], season["number"], one["number"])


# Playback Reporting: the rows of its table.


def _of_playback_reporting(record: Mapping[str, Any], zone: ZoneInfo) -> PastRow | str:
    kind, title, season, number = record["ItemType"], _text(record["ItemName"]) or "", None, None
    if kind == "Episode":
        match = _EPISODE_NAME.fullmatch(title)
        if match is None:
            raise ValueError(f"no season and episode in {title!r}")
        title, season, number = match[1], int(match[2]), int(match[3])
    elif kind != "Movie":
        return "no film or episode"
    media_type: MediaType = "movie" if kind == "Movie" else "series"
    return PastRow(
        "playback_reporting", _text(record["UserId"]), media_type, title, None, ProviderIds(),
        _moment(record["DateCreated"], zone), season, number, seconds=int(record["PlayDuration"]),
        item_id=_text(record["ItemId"]),
    )  # fmt: skip


# Tautulli: rows as `get_history` of its API returns them.


def _of_tautulli(record: Mapping[str, Any]) -> PastRow | str:
    kind = record["media_type"]
    if kind not in ("movie", "episode"):
        return "no film or episode"
    if float(record["watched_status"] or 0) < 1:
        return NOT_FINISHED
    is_film = kind == "movie"
    # The id of an episode is that of its series, followed by season and number, unless it is Plex's own.
    guids = [record.get("guid"), *(record.get("guids") or ())] if is_film else [record.get("grandparent_guid")]
    if not is_film and "thetvdb" in str(record.get("guid")):
        guids.append(record["guid"])
    return PastRow(
        "tautulli",
        _text(record.get("user") or record["friendly_name"]),
        "movie" if is_film else "series",
        _text(record["title" if is_film else "grandparent_title"]),
        # The year of an episode is not that of its series.
        _number(record.get("year")) if is_film else None,
        _ids_of(guids),
        datetime.fromtimestamp(int(record.get("started") or record["date"]), UTC),
        season=None if is_film else int(record["parent_media_index"]),
        number=None if is_film else int(record["media_index"]),
    )


def _ids_of(guids: list[Any]) -> ProviderIds:
    """Return the ids in Plex's names of a title, such as ``com.plexapp.agents.imdb://tt0133093?lang=en``."""
    found = {match[1]: match[2] for guid in guids if (match := _GUID.search(str(guid)))}
    return ProviderIds(
        _number(found.get("tmdb") or found.get("themoviedb")),
        _text(found.get("imdb")),
        _number(found.get("tvdb") or found.get("thetvdb")),
    )


def _text(value: Any) -> str | None:
    # Who converts files makes numbers of ids and names, and a damaged file may hold a NUL.
    return storable(str(value)) if value not in (None, "") else None


def _number(value: Any) -> int | None:
    return int(value) if value not in (None, "") else None


def _moment(text: str, zone: ZoneInfo) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)


# Records of files: of a database, a ZIP file, JSON, or columns of text.


def _records(path: Path) -> Iterator[tuple[str, Any]]:
    """Yield each record with its place in the file; None is one that cannot be read."""
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"SQLite format 3"):
        yield from _of_database(path)
    elif zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                for name in sorted(archive.namelist()):
                    if "__MACOSX" not in name and _IN_ZIP.fullmatch(name.rpartition("/")[2]):
                        with archive.open(name) as file:
                            yield from _of_text(name, file)
        except (zipfile.BadZipFile, zlib.error, RuntimeError) as error:
            raise OperatorError(f"{path} is damaged or encrypted: {error}.") from None
    else:
        with path.open("rb") as file:
            yield from _of_text(path.name, file)


def _of_database(path: Path) -> Iterator[tuple[str, Any]]:
    database = sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)
    database.row_factory = sqlite3.Row
    try:
        for number, row in enumerate(database.execute("SELECT * FROM PlaybackActivity"), start=1):
            yield f"{path.name}, row {number}", dict(row)
    except sqlite3.Error as error:
        raise OperatorError(f"{path} is no database of Playback Reporting, or it is damaged: {error}.") from None
    finally:
        database.close()


def _of_text(name: str, file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    text = io.TextIOWrapper(file, encoding="utf-8-sig", errors="replace", newline="")
    first = text.readline(_CHUNK)
    if first.lstrip()[:1] in ("[", "{"):
        yield from _of_json(name, first, text)
    else:
        yield from _of_columns(name, first, text)


def _of_json(name: str, first: str, text: io.TextIOWrapper) -> Iterator[tuple[str, Any]]:
    """Yield the objects of the first array that holds some, one by one, without reading the whole file at once."""
    decoder, buffer, place, number = json.JSONDecoder(), first + text.read(_CHUNK), 0, 0
    begin = _FIRST_OBJECT.search(buffer)
    if begin is None:
        return
    place = begin.end()
    while True:
        place = _BETWEEN_OBJECTS.match(buffer, place).end()  # pyright: ignore[reportOptionalMemberAccess]
        if buffer[place : place + 1] == "]":
            return
        try:
            record, place = decoder.raw_decode(buffer, place)
        except ValueError:
            more = text.read(_CHUNK)
            # After a syntax error, the rest of the file looks like one endless entry.
            if not more or len(buffer) - place > _LARGEST_ENTRY:
                yield f"{name}, after entry {number}", None
                return
            buffer, place = buffer[place:] + more, 0
        else:
            number += 1
            yield f"{name}, entry {number}", record


def _of_columns(name: str, first: str, text: io.TextIOWrapper) -> Iterator[tuple[str, Any]]:
    """Yield the lines of a table, with headings or as Playback Reporting writes them."""
    is_tab = "\t" in first
    lines = csv.reader(
        chain([first], text), delimiter="\t" if is_tab else ",", quoting=csv.QUOTE_NONE if is_tab else csv.QUOTE_MINIMAL
    )
    names: list[str] | None = None
    while True:
        try:
            values = next(lines)
        except StopIteration:
            return
        except csv.Error:
            yield f"{name}, line {lines.line_num}", None
            continue
        if names is None:
            is_heading = {"DateCreated", "media_type"} & set(values)
            names = values if is_heading else list(_PLAYBACK_REPORTING)
            if is_heading:
                continue
        if values:
            is_whole = len(values) == len(names)
            yield f"{name}, line {lines.line_num}", dict(zip(names, values, strict=True)) if is_whole else None
