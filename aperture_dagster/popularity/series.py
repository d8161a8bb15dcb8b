"""Which series a user is watching: how far they are, what comes next, and when.

Copies of an episode and its alternate versions are one episode, and one that was watched in any copy is watched, even
if its file is gone. Specials (season 0) do not count. A file with two episodes counts as two.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any

ENDED = frozenset(("ended", "canceled", "cancelled"))
# A file with more episodes than this is misnumbered.
LONGEST_FILE = 50

Place = tuple[int, int, str]
"""The place of an episode in its series: season, number, and what tells unnumbered episodes apart."""


@dataclass(frozen=True, slots=True)
class Episode:
    """An episode item, with a user's state of it; None is unknown, or not played.

    ``series_item_id`` is the copy of the series that it belongs to, ``number_end`` the last number of a file with
    several episodes. It ``is_watched`` if the user has finished any version.
    """

    item_id: int
    series_item_id: int
    season: int | None
    number: int | None
    number_end: int | None
    title: str
    air_date: date | None
    is_present: bool = True
    is_watched: bool = False
    last_played_at: datetime | None = None

    @property
    def places(self) -> list[Place]:
        """The places of all episodes in the file, in order.

        An unnumbered episode comes before the numbered ones; its copies are recognised by the air date.
        """
        season = -1 if self.season is None else self.season
        if self.number is None:
            return [(season, -1, self.air_date.isoformat() if self.air_date else f"#{self.item_id:020}")]
        last = self.number_end if self.number_end is not None else self.number
        if not self.number <= last < self.number + LONGEST_FILE:
            last = self.number
        return [(season, number, "") for number in range(self.number, last + 1)]


@dataclass(frozen=True, slots=True)
class Announced:
    """The next episode of a series that a metadata service announces; season and number may be unknown."""

    air_date: date
    season: int | None = None
    number: int | None = None


@dataclass(frozen=True, slots=True)
class Series:
    """A series in the library. ``official_rating`` and ``status`` are None if unknown."""

    work_id: int
    title: str
    official_rating: str | None = None
    status: str | None = None
    announced: Announced | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it has ended or was canceled; without a status it counts as running."""
        return (self.status or "").strip().casefold() in ENDED


@dataclass(frozen=True, slots=True)
class WatchingRules:
    """What makes a series one that the user watches.

    Args:
        minimum_episodes: that the user must have played.
        days: since the last play, by the household's calendar; 0: any number.
        ended_days: the same for series that have ended; 0: they are not listed.
    """

    minimum_episodes: int = 2
    days: int = 60
    ended_days: int = 0

    def earliest(self, now: datetime) -> datetime | None:
        """Return the earliest last play of any listed series, in the time zone of ``now``; None: there is no limit."""
        if self.days == 0:
            return None
        day = now.date() - timedelta(days=max(self.days, self.ended_days))
        return datetime.combine(day, time.min, now.tzinfo)

    def include(self, series: Series, last_played_on: date | None, today: date) -> bool:
        """Return whether a series last played on this day (None: unknown) is listed."""
        days = self.ended_days if series.has_ended else self.days
        if days == 0:
            return not series.has_ended
        return last_played_on is not None and last_played_on >= today - timedelta(days=days)


@dataclass(frozen=True, slots=True)
class WatchedSeries:
    """A series that a user is watching.

    Args:
        item_id: the copy to play.
        episodes_played: of ``episodes_out``.
        episodes_out: in the library and aired, or played.
        next: the first owned episode after the furthest watched one; None if there is none.
        next_number: the second one of the file if the first was watched; None if unknown.
        behind: owned, aired and unwatched episodes after the furthest watched one.
        next_air_date: from today on; None if unknown.
        last_played_at: of any episode, finished or not.
    """

    work_id: int
    title: str
    item_id: int
    episodes_played: int
    episodes_out: int
    next: Episode | None
    next_season: int | None
    next_number: int | None
    behind: int
    next_air_date: date | None
    last_played_at: datetime | None


def watched_series(
    series: Series, episodes: Sequence[Episode], copies: Collection[int], rules: WatchingRules, *, now: datetime
) -> WatchedSeries | None:
    """Return how far a user is in a series; None if it is not one that they watch, or not one that they may see.

    Args:
        episodes: of all its copies, with the user's states; removed ones if they have a state.
        copies: the items of the series that the user may see.
        now: in the household's time zone, whose days count.
    """
    today = now.date()
    watched = {place for episode in episodes if episode.is_watched for place in episode.places if _counts(episode)}
    moments = [episode.last_played_at for episode in episodes if episode.last_played_at is not None]
    last_played_at = max(moments, default=None)
    last_played_on = last_played_at.astimezone(now.tzinfo).date() if last_played_at is not None else None
    if not copies or len(watched) < rules.minimum_episodes or not rules.include(series, last_played_on, today):
        return None
    owned: dict[Place, list[Episode]] = defaultdict(list)
    for episode in episodes:
        if episode.is_present and episode.series_item_id in copies and _counts(episode):
            for place in episode.places:
                owned[place].append(episode)
    aired = {place for place, files in owned.items() if (_air_date(files) or today) <= today}
    furthest = max(watched)
    following = sorted(place for place in owned if place > furthest)
    file = _file_to_play(owned[following[0]], episodes) if following else None
    return WatchedSeries(
        work_id=series.work_id,
        title=series.title,
        item_id=file.series_item_id if file is not None else _usual_copy(copies, episodes),
        episodes_played=len(watched),
        episodes_out=len(watched | aired),
        next=file,
        next_season=file.season if file is not None else None,
        next_number=following[0][1] if file is not None and file.number is not None else None,
        behind=sum(place in aired for place in following),
        next_air_date=_next_air_date(series, owned, today),
        last_played_at=last_played_at,
    )


def watched_to_the_end(episodes: Iterable[Episode], played: Collection[int], until: date) -> bool:
    """Tell whether somebody has watched all of a series that had aired by a day, and the last of it among some items.

    Args:
        episodes: of all its copies, with the user's states.
        played: the items of episodes that they watched to the end in the time that counts.
        until: the last day of this time; an episode without an air date has aired.
    """
    aired: set[Place] = set()
    watched: set[Place] = set()
    lately: set[Place] = set()
    for episode in filter(_counts, episodes):
        if episode.is_present and (episode.air_date is None or episode.air_date <= until):
            aired.update(episode.places)
        if episode.is_watched:
            watched.update(episode.places)
        if episode.item_id in played:
            lately.update(episode.places)
    return bool(aired) and aired <= watched and max(aired) in lately


def in_order(found: Iterable[WatchedSeries]) -> list[WatchedSeries]:
    """Sort by last activity, the latest first; then by title."""

    def place(one: WatchedSeries) -> tuple[float, str, int]:
        since = -one.last_played_at.timestamp() if one.last_played_at is not None else math.inf
        return since, one.title.casefold(), one.work_id

    return sorted(found, key=place)


def parse_announced(value: Any) -> Announced | None:
    """Read the next episode that TMDb announces: ``{season, number, air_date}``; None unless it has a valid date."""
    if not isinstance(value, Mapping):
        return None
    try:
        air_date = date.fromisoformat(value.get("air_date"))  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return None
    return Announced(air_date, _whole(value.get("season")), _whole(value.get("number")))


def episode_label(season: int | None, number: int | None) -> str | None:
    """Return ``S02E03``; None if the number is unknown."""
    if number is None:
        return None
    return f"E{number:02}" if season is None else f"S{season:02}E{number:02}"


def _whole(value: Any) -> int | None:
    return int(value) if isinstance(value, (int, float)) and value % 1 == 0 else None


def _counts(episode: Episode) -> bool:
    return episode.season != 0


def _air_date(files: Iterable[Episode]) -> date | None:
    return min((file.air_date for file in files if file.air_date is not None), default=None)


def _file_to_play(files: Sequence[Episode], episodes: Sequence[Episode]) -> Episode:
    """Choose a file of an episode: from the copy of the series that was played last, else with the lowest id."""
    played = _last_plays(episodes)
    return min(files, key=lambda one: (-played.get(one.series_item_id, 0.0), one.series_item_id, one.item_id))


def _usual_copy(copies: Collection[int], episodes: Sequence[Episode]) -> int:
    played = _last_plays(episodes)
    return min(copies, key=lambda item: (-played.get(item, 0.0), item))


def _last_plays(episodes: Iterable[Episode]) -> dict[int, float]:
    """Return when each copy of the series was last played, in seconds."""
    last: dict[int, float] = {}
    for episode in episodes:
        if episode.last_played_at is not None:
            last[episode.series_item_id] = max(
                last.get(episode.series_item_id, 0.0), episode.last_played_at.timestamp()
            )
    return last


def _next_air_date(series: Series, owned: Mapping[Place, Sequence[Episode]], today: date) -> date | None:
    """Return the next air date on the server, else the announced one, unless that episode is in the library already."""
    future = [day for files in owned.values() if (day := _air_date(files)) is not None and day > today]
    if future:
        return min(future)
    announced = series.announced
    if announced is None or announced.air_date < today:
        return None
    is_owned = (announced.season, announced.number, "") in owned
    return None if is_owned and announced.air_date == today else announced.air_date
