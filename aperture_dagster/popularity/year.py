"""What somebody watched in a year: hours, titles, streaks, firsts, and what each month was like."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute, read_value


class Play(NamedTuple):
    """A film or an episode that was watched; the work of an episode is its series. ``minutes`` were watched."""

    work_id: int
    title: str
    is_episode: bool
    played_at: datetime
    times: int
    minutes: float
    genres: Sequence[str]


class Streak(NamedTuple):
    """Days in a row on which something was watched."""

    days: int
    first: date
    last: date


class Month(NamedTuple):
    """A month: hours that were watched, and the genre of most of its titles; None without one."""

    number: int
    hours: float
    genre: str | None


@dataclass(frozen=True, slots=True)
class Year:
    """What somebody watched in a year.

    Attributes:
        hours: of everything.
        films: different ones.
        series: different ones, of which at least an episode was watched.
        episodes: plays of episodes.
        days: on which something was watched.
        streak: the longest one; the first of several that are equally long.
        first: the first title, and its day.
        last: the last title, and its day.
        most: the series of which most episodes were watched, and how many.
        again: the film that was watched most often, and how often; None if all were watched once.
        months: of the year until its last play.
    """

    hours: float
    films: int
    series: int
    episodes: int
    days: int
    streak: Streak
    first: tuple[str, date] | None
    last: tuple[str, date] | None
    most: tuple[str, int] | None
    again: tuple[str, int] | None
    months: Sequence[Month]


def bounds(year: int, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return when a year begins and when the next one does."""
    return datetime(year, 1, 1, tzinfo=zone), datetime(year + 1, 1, 1, tzinfo=zone)


def read_plays(connection: Connection, user_id: str, year: int, zone: ZoneInfo) -> list[Play]:
    """Read what a user watched in a year of a time zone, the earliest first."""
    statement = """
        SELECT p.work_id, n.title, p.is_episode, p.played_at, p.play_count AS times,
        coalesce(CASE WHEN p.is_episode THEN e.runtime_minutes ELSE coalesce(m.runtime_minutes, t.runtime_minutes) END,
          0) * p.completion::float8 * p.play_count AS minutes,
        coalesce(m.genres, t.genres, '{}') AS genres
        FROM plays p JOIN work_names n USING (work_id) LEFT JOIN work_copies t USING (work_id)
        LEFT JOIN enriched_metadata m USING (work_id) LEFT JOIN episodes e ON p.is_episode AND e.item_id = p.item_id
        WHERE p.user_id = :user AND p.played_at >= :first AND p.played_at < :end ORDER BY p.played_at, p.item_id"""
    first, end = bounds(year, zone)
    return [Play(*row) for row in execute(connection, statement, user=user_id, first=first, end=end)]


def kept_since(connection: Connection, user_id: str) -> datetime | None:
    """Return when the earliest known play of a user was; None without one."""
    return read_value(connection, "SELECT min(played_at) FROM plays WHERE user_id = :user", user=user_id)


def years_watched(connection: Connection, user_id: str, zone: ZoneInfo) -> list[int]:
    """List the years of a time zone in which a user watched something, the latest first."""
    statement = """
        SELECT DISTINCT extract(year FROM played_at AT TIME ZONE :zone)::int FROM plays WHERE user_id = :user
        ORDER BY 1 DESC"""
    return list(execute(connection, statement, user=user_id, zone=zone.key).scalars())


def summarise(plays: Sequence[Play], nameable: Collection[int], zone: ZoneInfo) -> Year | None:
    """Return what plays of a year were, the earliest first; None if there are none. Only nameable works are named."""
    if not plays:
        return None
    days = [play.played_at.astimezone(zone).date() for play in plays]
    named = [(play, day) for play, day in zip(plays, days, strict=True) if play.work_id in nameable and play.title]
    episodes = Counter[str]()
    films = Counter[str]()
    for play, _ in named:
        (episodes if play.is_episode else films)[play.title] += play.times
    most, again = episodes.most_common(1), films.most_common(1)
    return Year(
        hours=sum(play.minutes for play in plays) / 60,
        films=len({play.work_id for play in plays if not play.is_episode}),
        series=len({play.work_id for play in plays if play.is_episode}),
        episodes=sum(play.times for play in plays if play.is_episode),
        days=len(set(days)),
        streak=longest_streak(days),
        first=(named[0][0].title, named[0][1]) if named else None,
        last=(named[-1][0].title, named[-1][1]) if named else None,
        most=most[0] if most else None,
        again=again[0] if again and again[0][1] > 1 else None,
        months=_months(plays, days),
    )


def longest_streak(days: Sequence[date]) -> Streak:
    """Return the longest run of days in a row among some days, the first of several that are equally long.

    Raises:
        ValueError: there are no days.
    """
    found: list[Streak] = []
    for day in sorted(set(days)):
        if found and found[-1].last + timedelta(days=1) == day:
            found[-1] = Streak(found[-1].days + 1, found[-1].first, day)
        else:
            found.append(Streak(1, day, day))
    return max(found, key=lambda streak: streak.days)


def _months(plays: Sequence[Play], days: Sequence[date]) -> list[Month]:
    minutes: dict[int, float] = defaultdict(float)
    titles: dict[int, dict[int, Sequence[str]]] = defaultdict(dict)
    for play, day in zip(plays, days, strict=True):
        minutes[day.month] += play.minutes
        titles[day.month][play.work_id] = play.genres
    months: list[Month] = []
    for number in range(1, days[-1].month + 1):
        # Equally frequent genres in the order of the alphabet, so that the page says the same each time.
        genres = Counter(genre for own in titles[number].values() for genre in own)
        genre = min(genres, key=lambda name: (-genres[name], name), default=None)
        months.append(Month(number, minutes[number] / 60, genre))
    return months
