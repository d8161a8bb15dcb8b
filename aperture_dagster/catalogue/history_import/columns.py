"""Rows of flat exports: which column holds what, and what its values mean.

Letterboxd, IMDb, Netflix and Simkl are recognised by their headings. Of any other table, columns are found by usual
names; what a table cannot say of itself (a rating's scale, the order of day and month) is asked.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time
from typing import Any, Literal
from zoneinfo import ZoneInfo

from aperture_dagster.catalogue.history_import.rows import (
    LONGEST_TEXT,
    WITHOUT_DATE,
    PastRow,
    Precision,
    Sign,
    Source,
    as_number,
    as_text,
)
from aperture_dagster.catalogue.identity import MediaType, ProviderIds

Role = Literal[
    "imdb", "tmdb", "tvdb", "title", "year", "type", "rating", "watched_at", "rated_at", "season", "episode", "status"
]
DateOrder = Literal["dmy", "mdy", "ymd"]
ALIASES: Mapping[Role, Sequence[str]] = {
    "imdb": ("imdbid", "imdb", "const", "tconst", "imdburl"),
    "tmdb": ("tmdbid", "tmdb", "themoviedbid", "themoviedb", "moviedbid"),
    "tvdb": ("tvdbid", "tvdb", "thetvdbid", "thetvdb"),
    "title": ("title", "name", "movie", "film", "movietitle", "filmtitle", "show", "series", "primarytitle"),
    "year": ("year", "releaseyear", "releasedyear", "startyear"),
    "type": ("titletype", "mediatype", "type", "kind", "itemtype"),
    "rating": ("yourrating", "userrating", "myrating", "rating", "score", "stars"),
    "watched_at": (
        "watchedat", "watcheddate", "datewatched", "lastwatchedat", "lastwatched", "watchdate", "viewedat",
        "vieweddate", "seenat", "dateseen", "watchedon", "date",
    ),
    "rated_at": ("ratedat", "daterated", "rateddate", "created"),
    "season": ("season", "seasonnumber"),
    "episode": ("episode", "episodenumber"),
    "status": ("status", "watchlist", "list"),
}  # fmt: skip
"""Headings of each role in lower case, without spaces and punctuation, the usual ones first."""

_KINDS: Mapping[str, MediaType | None] = {
    "movie": "movie", "movies": "movie", "film": "movie", "short": "movie", "video": "movie", "tvmovie": "movie",
    "tvspecial": "movie", "tvshort": "movie", "tvseries": "series", "tvminiseries": "series", "show": "series",
    "shows": "series", "series": "series", "tv": "series", "anime": None, "": None,
}  # fmt: skip
_WANTED = frozenset({"plantowatch", "planned", "watchlist", "towatch", "wanttowatch", "unwatched"})
_NOT_SEEN = frozenset({"dropped", "hold", "onhold", "paused"})
_WORDS = re.compile(r"[^a-z0-9]+")
_IMDB = re.compile(r"\btt\d{6,10}\b")
_NUMERIC_DATE = re.compile(r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4})(?:[ ,T]+(\d{1,2}):(\d{2})(?::\d{2})?)?")
_IN_WORDS = ("%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%B %d %Y")
_SEASON = re.compile(
    r"(season|staffel|saison|temporada|stagione|seizoen|säsong|sæson|sesong|series|part|teil|volume|book|chapter|"
    r"limited series|miniserie|mini-series)\b\s*(\d+)?",
    re.IGNORECASE,
)
MOST_COLUMNS = 100
SAMPLES = 3


class OrderUnknown(ValueError):
    """A date such as 03/06/2024 was met, and nobody said which of its numbers is the day."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a table does not say of itself: which column has which role, how high ratings go, how dates are written."""

    columns: Mapping[Role, str] = field(default_factory=dict)
    scale: float | None = None
    dates: DateOrder | None = None


@dataclass(slots=True)
class Survey:
    """What a look through a file has shown.

    Attributes:
        sources: how many records each program's format accounts for.
        columns: headings of the first table of unknown origin.
        samples: its first rows.
        roles: which of its columns was recognised as what.
        highest: the highest rating in it.
        needs: what has to be asked before it can be read.
    """

    sources: dict[Source, int] = field(default_factory=dict)
    columns: tuple[str, ...] = ()
    samples: list[dict[str, str]] = field(default_factory=list)
    roles: dict[Role, str] = field(default_factory=dict)
    highest: float = 0.0
    needs: set[Literal["columns", "scale", "dates"]] = field(default_factory=set)
    dates: DateOrder | None = None


def simple_name(heading: str) -> str:
    """Return a heading in lower case, without spaces and punctuation."""
    return _WORDS.sub("", str(heading).casefold())


def roles_of(headings: Collection[str]) -> dict[Role, str]:
    """Return which column has which role, by the usual names; each column has one role at most."""
    return dict(_roles_of(tuple(headings)[:MOST_COLUMNS]))


@functools.lru_cache(maxsize=64)
def _roles_of(headings: tuple[str, ...]) -> dict[Role, str]:
    by_name: dict[str, str] = {}
    for heading in headings:
        by_name.setdefault(simple_name(heading), heading)
    found: dict[Role, str] = {}
    for role, names in ALIASES.items():
        heading = next((by_name[name] for name in names if name in by_name), None)
        if heading is not None and heading not in found.values():
            found[role] = heading
    return found


def can_name_titles(roles: Collection[Role]) -> bool:
    """Return whether columns of these roles can name a title."""
    return bool({"imdb", "tmdb", "tvdb", "title"} & set(roles))


def source_of(headings: Collection[str]) -> Source:
    """Return which program a table with these headings is from; ``file``: any other."""
    return _source_of(tuple(headings)[:MOST_COLUMNS])


@functools.lru_cache(maxsize=64)
def _source_of(headings: tuple[str, ...]) -> Source:
    names = {simple_name(heading) for heading in headings}
    if "letterboxduri" in names:
        return "letterboxd"
    if "const" in names:
        return "imdb"
    if names == {"title", "date"}:
        return "netflix"
    if "simklid" in names:
        return "simkl"
    return "mdblist" if any(name.startswith("mdblist") for name in names) else "file"


_SCALES: Mapping[Source, float] = {"letterboxd": 5, "imdb": 10, "simkl": 10, "mdblist": 10, "trakt": 10}


class Dates:
    """Finds out whether dates such as 03/06/2024 begin with the day or the month, from all of them together."""

    def __init__(self) -> None:
        self.first_is_day = self.second_is_day = self.is_open = False

    def look_at(self, text: str) -> None:
        """Take a date into account."""
        match = _NUMERIC_DATE.match(text.strip())
        if match is None or len(match[1]) > 2 or match[2] == ".":
            return
        self.is_open = True
        self.first_is_day |= int(match[1]) > 12
        self.second_is_day |= int(match[3]) > 12

    @property
    def order(self) -> DateOrder | None:
        """The only order in which all dates exist; None if there are several, or nothing to decide."""
        if self.first_is_day == self.second_is_day:
            return None
        return "dmy" if self.first_is_day else "mdy"


def parse_date(text: str, order: DateOrder | None, zone: ZoneInfo) -> tuple[datetime, Precision]:
    """Return the moment of a date, and how exact it is; a day counts from its noon, in ``zone``.

    Raises:
        OrderUnknown: it may mean two days.
        ValueError: it is no date.
    """
    text = text.strip()[:60]
    if text.isascii() and text.isdigit() and len(text) in (10, 13):
        return datetime.fromtimestamp(int(text[:10]), UTC), "moment"
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment, is_day = _other_date(text, order, zone), ":" not in text
    else:
        is_day = len(text) <= 10
    if is_day:
        return datetime.combine(moment.date(), time(12), zone), "day"
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)), "moment"


def _other_date(text: str, order: DateOrder | None, zone: ZoneInfo) -> datetime:
    match = _NUMERIC_DATE.fullmatch(text)
    if match is None:
        for pattern in _IN_WORDS:
            try:
                return datetime.strptime(text, pattern).replace(tzinfo=zone)
            except ValueError:
                continue
        raise ValueError(f"{text!r} is no date")
    first, second, third = int(match[1]), int(match[3]), int(match[4])
    if len(match[1]) == 4 or order == "ymd":
        year, month, day = first, second, third
    else:
        known: DateOrder | None = "dmy" if match[2] == "." else order
        if known is None:
            known = "dmy" if first > 12 else "mdy" if second > 12 else None
        if known is None and first != second:
            raise OrderUnknown(f"{text!r} may begin with the day or with the month")
        year, (day, month) = third, (first, second) if known != "mdy" else (second, first)
    hour, minute = (int(match[5]), int(match[6])) if match[5] else (12, 0)
    return datetime(year + 2000 if year < 100 else year, month, day, hour, minute, tzinfo=zone)


def parse_rating(value: Any, scale: float) -> int | None:
    """Return a rating as a whole number from 1 to 10, None for none (also 0). Raises ValueError if it is beyond."""
    text = str(value if value is not None else "").strip().replace(",", ".")
    if text in ("", "0", "0.0", "None", "null"):
        return None
    if "★" in text or "½" in text:
        given, scale = text.count("★") + 0.5 * text.count("½"), 5.0
    else:
        number, slash, top = text.removesuffix("%").partition("/")
        given = float(number)
        scale = 100.0 if text.endswith("%") else float(top) if slash else scale
    if not math.isfinite(given) or not 0 < scale <= 1000 or not 0 <= given <= scale:
        raise ValueError(f"a rating of {text[:20]}")
    return min(max(math.floor(given / scale * 10 + 0.5), 1), 10) if given else None


def sign_of(source: Source, file: str, headings: Collection[str]) -> Sign:
    """Return what a row of a table says by being there: the same headings mean different things in different files."""
    name = file.rpartition("/")[2].casefold()
    is_wanted = "watchlist" in name
    if source == "letterboxd":
        if is_wanted:
            return "wanted"
        return "liked" if name in ("films.csv", "likes.csv") else "rated" if name.startswith("ratings") else "seen"
    if source == "imdb":
        return "wanted" if is_wanted or "position" in map(simple_name, headings) else "rated"
    return "wanted" if is_wanted else "seen"


def flat_row(record: Mapping[str, Any], file: str, part: str, zone: ZoneInfo, reading: Reading) -> PastRow | str:
    """Return what a row of a table stands for, or why it is left out; ``part``: the list of a JSON file that it is in.

    Raises:
        OrderUnknown: see :func:`parse_date`.
        ValueError: it cannot be read.
    """
    source = source_of(record)
    roles: Mapping[Role, str] = roles_of(record) | dict(reading.columns) if source == "file" else roles_of(record)
    values: dict[Role, str | None] = {role: as_text(record.get(heading)) for role, heading in roles.items()}
    if not can_name_titles(roles) or not any(values.get(role) for role in ("imdb", "tmdb", "tvdb", "title")):
        raise ValueError("it names no title")
    if source == "netflix":
        return _of_netflix(values, zone, reading)
    kind = simple_name(values.get("type") or part)
    if kind in ("videogame", "podcastseries", "podcastepisode", "musicvideo"):
        return "no film or series"
    if kind == "tvepisode" and source == "imdb":
        return _of_imdb_episode(values, sign_of(source, file, record), zone, reading)
    media_type: MediaType | None = "movie" if source == "letterboxd" else _KINDS.get(kind)
    status, sign = simple_name(values.get("status") or ""), sign_of(source, file, record)
    if status in _NOT_SEEN:
        return "not watched to the end"
    sign = "wanted" if status in _WANTED else sign
    rating = parse_rating(values.get("rating"), _SCALES.get(source) or reading.scale or 10.0)
    if sign == "wanted" and rating is not None:
        sign = "rated"
    if sign == "rated" and rating is None:
        sign = "seen"
    season, number = (_whole(values.get(role)) for role in ("season", "episode"))
    if number is not None:
        media_type = "series"
    day = values.get("watched_at") or values.get("rated_at")
    at, precision = parse_date(day, reading.dates, zone) if day else (None, "logged")
    # The date of a rating, or of a film that was ticked off, is when that was noted.
    is_noted = sign in ("rated", "liked") or "watched_at" not in roles or not values.get("watched_at")
    if is_noted or (source == "letterboxd" and simple_name(roles["watched_at"]) == "date"):
        precision = "logged"
    return PastRow(
        source, None, media_type, values.get("title"), _whole(values.get("year")), _ids(values), at, season, number,
        rating=rating, sign=sign, precision=precision,
    )  # fmt: skip


def _of_imdb_episode(values: Mapping[Role, str | None], sign: Sign, zone: ZoneInfo, reading: Reading) -> PastRow | str:
    """Return what IMDb says of an episode: it was seen. Its id is the episode's, and its rating is not the series'."""
    episode_id = _ids(values).imdb_id
    if sign == "wanted" or episode_id is None:
        return "no film or series"
    day = values.get("rated_at") or values.get("watched_at")
    at = parse_date(day, reading.dates, zone)[0] if day else None
    return PastRow(
        "imdb", None, "series", values.get("title"), None, ProviderIds(), at, precision="logged",
        episode_imdb_id=episode_id,
    )  # fmt: skip


def _of_netflix(values: Mapping[Role, str | None], zone: ZoneInfo, reading: Reading) -> PastRow | str:
    """Return what a viewing on Netflix was: a film, or an episode, whose title names series, season and episode."""
    title, day = values.get("title") or "", values.get("watched_at")
    if not day:
        return WITHOUT_DATE
    at, precision = parse_date(day, reading.dates, zone)
    series, season, episode = split_episode(title)
    media_type: MediaType | None = "series" if episode is not None else None
    return PastRow(
        "netflix", None, media_type, series, None, ProviderIds(), at, season,
        precision=precision, episode=episode, whole_title=title if ": " in title else None,
    )  # fmt: skip


def split_episode(title: str) -> tuple[str, int | None, str | None]:
    """Return series, season and episode that a title such as ``Dark: Season 2: Lies`` names; of a film, its title."""
    parts = title.split(": ")
    for place in range(1, len(parts) - 1):
        match = _SEASON.match(parts[place])
        if match is not None:
            number = int(match[2]) if match[2] and len(match[2]) < 4 else 1
            return ": ".join(parts[:place]), number, ": ".join(parts[place + 1 :])
    return title, None, None


def _ids(values: Mapping[Role, str | None]) -> ProviderIds:
    imdb = _IMDB.search((values.get("imdb") or "").lower())
    return ProviderIds(_whole(values.get("tmdb")), imdb[0] if imdb else None, _whole(values.get("tvdb")))


def _whole(text: str | None) -> int | None:
    """Return a whole number; None for none, or what cannot be one."""
    if text is None:
        return None
    digits = text.strip().removesuffix(".0")
    return as_number(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None


class Surveyor:
    """Looks through the records of a file before they are read."""

    def __init__(self) -> None:
        self.survey, self._dates = Survey(), Dates()

    def count(self, source: Source) -> None:
        """Count a record whose format is known."""
        self.survey.sources[source] = self.survey.sources.get(source, 0) + 1

    def look_at(self, record: Mapping[str, Any], reading: Reading) -> None:
        """Look at a flat record."""
        source, survey = source_of(record), self.survey
        self.count(source)
        roles = roles_of(record)
        if source == "file":
            roles |= dict(reading.columns)
            if not survey.columns:
                survey.columns = tuple(str(heading)[:LONGEST_TEXT] for heading in list(record)[:MOST_COLUMNS])
                survey.roles = roles
            if len(survey.samples) < SAMPLES:
                survey.samples.append({name: (as_text(record.get(name)) or "")[:80] for name in survey.columns})
            if not can_name_titles(roles):
                survey.needs.add("columns")
            if "rating" in roles:
                self._look_at_rating(as_text(record.get(roles["rating"])) or "", reading)
        elif source == "netflix" and len(survey.samples) < SAMPLES:
            survey.columns = survey.columns or tuple(record)
            survey.samples.append({str(name): (as_text(value) or "")[:80] for name, value in record.items()})
        for role in ("watched_at", "rated_at"):
            if role in roles and (day := as_text(record.get(roles[role]))):
                self._dates.look_at(day)

    def _look_at_rating(self, text: str, reading: Reading) -> None:
        try:
            value = float(text.replace(",", "."))
        except ValueError:
            return
        if math.isfinite(value) and value:
            self.survey.highest = max(self.survey.highest, value)
            if reading.scale is None:
                self.survey.needs.add("scale")

    def finish(self, reading: Reading) -> Survey:
        """Return what was seen."""
        self.survey.dates = reading.dates or self._dates.order
        if self._dates.is_open and self.survey.dates is None:
            self.survey.needs.add("dates")
        return self.survey


def suggested_scale(highest: float) -> float:
    """Return the scale that ratings up to a value probably have."""
    return next((scale for scale in (5.0, 10.0, 100.0) if highest <= scale), 100.0)


def headings_of(line: Sequence[str]) -> Iterator[str]:
    """Yield the headings of a table, each once: a second one of a name is told apart by its place."""
    seen: set[str] = set()
    for place, heading in enumerate(line, start=1):
        name = heading.strip()[:LONGEST_TEXT] or f"#{place}"
        name = name if name not in seen else f"{name} ({place})"
        seen.add(name)
        yield name
