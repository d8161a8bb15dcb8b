"""Exported histories, row by row: which program a record is from, and what it says.

Trakt, Simkl, Playback Reporting (a plugin of Jellyfin and Emby) and Tautulli have formats of their own; tables are in
:mod:`columns`. A row that cannot be read costs only itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from aperture_dagster.catalogue.history_import.columns import (
    OrderUnknown,
    Reading,
    Survey,
    Surveyor,
    flat_row,
    parse_date,
    parse_rating,
)
from aperture_dagster.catalogue.history_import.records import LIMITS, FileRefused, Limits, read_parts
from aperture_dagster.catalogue.history_import.rows import (
    NOT_FINISHED,
    WITHOUT_DATE,
    PastRow,
    SkippedRow,
    Source,
    as_number,
    as_text,
)
from aperture_dagster.catalogue.identity import MediaType, ProviderIds

KNOWN_FILES = (
    "an export of Trakt, Letterboxd, IMDb, Netflix, Simkl or MDBList, a backup of Playback Reporting, a history of "
    "Tautulli, or a table with titles or ids"
)
LONGEST_REASON = 200
_EPISODE_NAME = re.compile(r"(.*) - s(\d+)e(\d+) - .*", re.DOTALL)
_GUID = re.compile(r"(?:agents\.)?(imdb|tmdb|themoviedb|tvdb|thetvdb)://(tt\d+|\d+)")
_READABLE = (KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError)
_IMDB = re.compile(r"tt\d{6,10}")


def read_history_file(
    path: Path, zone: ZoneInfo, reading: Reading | None = None, limits: Limits = LIMITS
) -> Iterator[PastRow | SkippedRow]:
    """Yield the rows of a file; dates without a time zone are in ``zone``.

    Raises:
        OperatorError: it is no file of a known kind, damaged or too large; rows before the damage are yielded.
    """
    reading, is_known = reading or Reading(), False
    for file, part, where, record in read_parts(path, limits):
        try:
            if not isinstance(record, dict):
                raise ValueError("it is damaged")
            rows = list(_rows(record, file, part, zone, reading))
        except _READABLE as error:
            what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
            yield SkippedRow(where, f"cannot be read: {what}"[:LONGEST_REASON])
            continue
        is_known = True
        for row in rows:
            yield SkippedRow(where, row) if isinstance(row, str) else row
    if not is_known:
        raise FileRefused("unknown", f"{path.name} is not {KNOWN_FILES}, or it is empty.")


def survey_file(path: Path, reading: Reading | None = None, limits: Limits = LIMITS) -> Survey:
    """Look through a file, and return what has to be asked before it can be read.

    Raises:
        OperatorError: it is damaged or too large.
    """
    reading, surveyor = reading or Reading(), Surveyor()
    for _, _, _, record in read_parts(path, limits):
        if not isinstance(record, dict):
            continue
        source = _source_of(record)
        if source is None:
            surveyor.look_at(record, reading)
        else:
            surveyor.count(source)
    return surveyor.finish(reading)


def _source_of(record: Mapping[str, Any]) -> Source | None:
    """Return the program whose format a record has, None for the row of a table."""
    if "DateCreated" in record:
        return "playback_reporting"
    if isinstance(record.get("movie", record.get("show")), dict):
        is_simkl = "user_rating" in record or "last_watched_at" in record or "added_to_watchlist_at" in record
        return "simkl" if is_simkl else "trakt"
    return "tautulli" if "watched_status" in record and "media_type" in record else None


def _rows(record: Mapping[str, Any], file: str, part: str, zone: ZoneInfo, reading: Reading) -> Iterable[PastRow | str]:
    """Return what a record stands for, or why it is left out."""
    match _source_of(record):
        case "playback_reporting":
            return [_of_playback_reporting(record, zone)]
        case "trakt":
            return [_of_trakt(record, zone)]
        case "simkl":
            return _of_simkl(record, zone)
        case "tautulli":
            return [_of_tautulli(record)]
        case _:
            try:
                return [flat_row(record, file, part, zone, reading)]
            except OrderUnknown:
                return ["a date that may begin with the day or with the month"]


def _of_trakt(record: Mapping[str, Any], zone: ZoneInfo) -> PastRow | str:
    media_type, title, episode = _subject(record)
    names = (as_text(title.get("title")), as_number(title.get("year")), _ids(title["ids"]))
    if "rated_at" in record:
        if record.get("type", "show") not in ("movie", "show") or episode is not None or "season" in record:
            return "a rating of a season or an episode"
        rating = int(record["rating"])
        if not 1 <= rating <= 10:
            raise ValueError(f"a rating of {rating}")
        at = _moment(record["rated_at"], zone)
        return PastRow("trakt", None, media_type, *names, at, rating=rating, sign="rated", precision="logged")
    if "listed_at" in record:
        if episode is not None or "season" in record:
            return "a season or an episode on a watchlist"
        at = _moment(record["listed_at"], zone)
        return PastRow("trakt", None, media_type, *names, at, sign="wanted", precision="logged")
    if not record["watched_at"]:
        return WITHOUT_DATE
    season, number = (None, None) if episode is None else (int(episode["season"]), int(episode["number"]))
    if media_type == "series" and episode is None:
        raise KeyError("episode")
    return PastRow("trakt", None, media_type, *names, _moment(record["watched_at"], zone), season=season, number=number)


def _of_simkl(record: Mapping[str, Any], zone: ZoneInfo) -> Iterator[PastRow | str]:
    """Yield what an entry of Simkl's export (and of lists in its manner) says of a film, or of a series' episodes."""
    media_type, title, _ = _subject(record)
    names = (as_text(title.get("title")), as_number(title.get("year")), _ids(title.get("ids") or {}))
    status = str(record.get("status") or "completed")
    given = record.get("last_watched_at") or record.get("watched_at")
    at = _moment(given, zone) if given else None
    rating = parse_rating(record.get("user_rating") or record.get("rating"), 10.0)
    if rating is not None:
        rated_at = _moment(record["user_rated_at"], zone) if record.get("user_rated_at") else at
        yield PastRow(
            "simkl", None, media_type, *names, rated_at, rating=rating, sign="rated", precision="logged"
        )  # fmt: skip
    if status == "plantowatch":
        yield PastRow("simkl", None, media_type, *names, at, sign="wanted", precision="logged")
        return
    episodes = [
        (as_number(season["number"]), as_number(episode["number"]), episode.get("watched_at"))
        for season in record.get("seasons") or ()
        for episode in season.get("episodes") or ()
    ]
    for season, number, watched_at in episodes:
        moment = _moment(watched_at, zone) if watched_at else at
        yield PastRow("simkl", None, media_type, *names, moment, season=season, number=number)
    if status in ("dropped", "hold", "notinteresting") and not episodes:
        yield NOT_FINISHED
    elif not episodes:
        yield PastRow("simkl", None, media_type, *names, at)


def _subject(record: Mapping[str, Any]) -> tuple[MediaType, Mapping[str, Any], Any]:
    """Return the media type of an entry, its film or series, and its episode, if it is about one."""
    media_type: MediaType = "movie" if "movie" in record else "series"
    return media_type, record["movie" if media_type == "movie" else "show"], record.get("episode")


def _of_playback_reporting(record: Mapping[str, Any], zone: ZoneInfo) -> PastRow | str:
    kind, title, season, number = record["ItemType"], as_text(record["ItemName"]) or "", None, None
    if kind == "Episode":
        match = _EPISODE_NAME.fullmatch(title)
        if match is None:
            raise ValueError(f"no season and episode in {title!r}")
        title, season, number = match[1], as_number(match[2]), as_number(match[3])
    elif kind != "Movie":
        return "no film or episode"
    media_type: MediaType = "movie" if kind == "Movie" else "series"
    return PastRow(
        "playback_reporting", as_text(record["UserId"]), media_type, title, None, ProviderIds(),
        _moment(record["DateCreated"], zone), season, number, seconds=int(record["PlayDuration"]),
        item_id=as_text(record["ItemId"]),
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
        as_text(record.get("user") or record["friendly_name"]),
        "movie" if is_film else "series",
        as_text(record["title" if is_film else "grandparent_title"]),
        # The year of an episode is not that of its series.
        as_number(record.get("year")) if is_film else None,
        _ids_of(guids),
        datetime.fromtimestamp(int(record.get("started") or record["date"]), UTC),
        season=None if is_film else as_number(int(record["parent_media_index"])),
        number=None if is_film else as_number(int(record["media_index"])),
    )


def _ids(given: Mapping[str, Any]) -> ProviderIds:
    imdb = _IMDB.fullmatch(as_text(given.get("imdb")) or "")
    return ProviderIds(as_number(given.get("tmdb")), imdb[0] if imdb else None, as_number(given.get("tvdb")))


def _ids_of(guids: list[Any]) -> ProviderIds:
    """Return the ids in Plex's names of a title, such as ``com.plexapp.agents.imdb://tt0133093?lang=en``."""
    found = {match[1]: match[2] for guid in guids if (match := _GUID.search(str(guid)[:500]))}
    return ProviderIds(
        as_number(found.get("tmdb") or found.get("themoviedb")),
        as_text(found.get("imdb")),
        as_number(found.get("tvdb") or found.get("thetvdb")),
    )


def _moment(text: Any, zone: ZoneInfo) -> datetime:
    return parse_date(text, "ymd", zone)[0] if isinstance(text, str) else datetime.fromisoformat(text)
