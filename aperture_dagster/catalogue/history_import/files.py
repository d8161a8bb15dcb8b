"""Histories that other programs exported: Trakt, Playback Reporting (a plugin of Jellyfin and Emby) and Tautulli.

A row that cannot be read costs only itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from aperture_dagster.catalogue.history_import.records import read_records
from aperture_dagster.catalogue.identity import MediaType, ProviderIds
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres.bulk import storable

Source = Literal["trakt", "playback_reporting", "tautulli"]


KNOWN_FILES = "a Trakt export, a backup of Playback Reporting or a history of Tautulli"


LONGEST_REASON = 200


NOT_FINISHED = "not watched to the end"


WITHOUT_DATE = "without a date"


_EPISODE_NAME = re.compile(r"(.*) - s(\d+)e(\d+) - .*", re.DOTALL)


_GUID = re.compile(r"(?:agents\.)?(imdb|tmdb|themoviedb|tvdb|thetvdb)://(tt\d+|\d+)")


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
        OperatorError: it is no file of a known kind, damaged or too large; rows before the damage are yielded.
    """
    is_known = False
    for where, record in read_records(path):
        try:
            if not isinstance(record, dict):
                raise ValueError("it is damaged")
            row = _row(record, zone)
        except _READABLE as error:
            what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            yield SkippedRow(where, f"cannot be read: {what}"[:LONGEST_REASON])
            continue
        is_known = True
        yield SkippedRow(where, row) if isinstance(row, str) else row
    if not is_known:
        raise OperatorError(f"{path} is not {KNOWN_FILES}, or it is empty.")


def _row(record: Mapping[str, Any], zone: ZoneInfo) -> PastRow | str:
    """Return what a record stands for, or why it is left out."""
    if "DateCreated" in record:
        return _of_playback_reporting(record, zone)
    if "movie" in record or "show" in record:
        return _of_trakt(record, zone)
    if "media_type" in record:
        return _of_tautulli(record)
    raise ValueError("it is of an unknown kind")


def _of_trakt(record: Mapping[str, Any], zone: ZoneInfo) -> PastRow | str:
    media_type: MediaType = "movie" if "movie" in record else "series"
    title, episode = record["movie" if media_type == "movie" else "show"], record.get("episode")
    given = title["ids"]
    ids = ProviderIds(_number(given.get("tmdb")), _text(given.get("imdb")), _number(given.get("tvdb")))
    names = (_text(title.get("title")), _number(title.get("year")), ids)
    if "rated_at" in record:
        if record.get("type", "show") not in ("movie", "show") or episode is not None or "season" in record:
            return "a rating of a season or an episode"
        rating = int(record["rating"])
        if not 1 <= rating <= 10:
            raise ValueError(f"a rating of {rating}")
        return PastRow("trakt", None, media_type, *names, _moment(record["rated_at"], zone), rating=rating)
    if not record["watched_at"]:
        return WITHOUT_DATE
    season, number = (None, None) if episode is None else (int(episode["season"]), int(episode["number"]))
    if media_type == "series" and episode is None:
        raise KeyError("episode")
    return PastRow("trakt", None, media_type, *names, _moment(record["watched_at"], zone), season=season, number=number)


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
