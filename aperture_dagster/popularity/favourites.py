"""The household's favourites of a year: what at least two of those liked who agreed to be counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import Connection

from aperture_dagster.members.hidden import dismissed_titles
from aperture_dagster.popularity.series import watched_to_the_end
from aperture_dagster.popularity.shows import read_episodes
from aperture_dagster.popularity.year import bounds
from aperture_dagster.postgres.queries import execute
from aperture_dagster.ratings.in_force import ratings_in_force
from aperture_dagster.ratings.merge import LocalRating

HIGHLY = 8
"""The rating (1-10) from which on somebody liked a title: four stars."""
LEAST_PEOPLE = 2
"""What fewer people liked is a favourite of theirs, not of the household."""


class Favourite(NamedTuple):
    """A title that several people liked; ``rating`` is the mean of those of them who rated it, None without any."""

    work_id: int
    people: int
    rating: float | None


def read_favourites(
    connection: Connection, user_ids: Collection[str], year: int, zone: ZoneInfo, *, now: datetime
) -> list[Favourite]:
    """Return what at least two of some users liked in a year of a time zone, the favourites first.

    Somebody liked a title that they rated highly, in that year or watching it then, or that they watched to the end
    in that year without rating it lower or hiding it. What users noted as watched together counts as watched.
    """
    if len(user_ids) < LEAST_PEOPLE:
        return []
    first, end = bounds(year, zone)
    ratings = {user: ratings_in_force(connection, user) for user in user_ids}
    films, episodes = _watched(connection, user_ids, first, end)
    # Which series somebody watched to the end is only asked where that could make one a favourite.
    possible = Counter(
        work for user in user_ids for work in episodes[user].keys() | films[user] | _rated_highly(ratings[user])
    )
    shared = {work for work, people in possible.items() if people >= LEAST_PEOPLE}
    last_day = min(now.astimezone(zone), end - timedelta(microseconds=1)).date()
    opinions: list[Mapping[int, int | None]] = []
    for user in user_ids:
        begun = episodes[user].keys() & shared
        series = {
            work
            for work, known in (read_episodes(connection, user, since=first, works=begun) if begun else ())
            if watched_to_the_end(known, episodes[user][work], last_day)
        }
        hidden = {row["work_id"] for row in dismissed_titles(connection, user)}
        watched = films[user] | episodes[user].keys()
        liked = liked_titles(ratings[user], watched, films[user] | series, first, end)
        opinions.append({work: rating for work, rating in liked.items() if work not in hidden})
    return shared_favourites(opinions)


def liked_titles(
    ratings: Mapping[int, LocalRating],
    watched: Collection[int],
    finished: Collection[int],
    first: datetime,
    end: datetime,
) -> dict[int, int | None]:
    """Return what somebody liked from ``first`` until ``end``, with their rating of it, None without one.

    Args:
        ratings: in force, by work, from whatever time. The date of one that was first seen on the media server may be
            years after it was given, so only watching tells its year.
        watched: in this time; of a series an episode, at least.
        finished: those of ``watched`` that were watched to the end.
    """
    high = {work: ratings[work] for work in _rated_highly(ratings)}
    liked = {
        work: given.value
        for work, given in high.items()
        if work in watched or (not given.is_observed and first <= given.rated_at < end)
    }
    return liked | {work: None for work in finished if work not in ratings or ratings[work].value is None}


def shared_favourites(opinions: Iterable[Mapping[int, int | None]]) -> list[Favourite]:
    """Return what several people liked: what most of them did first, then by the mean of their ratings.

    ``opinions``: what each of them liked, with their rating.
    """
    given: dict[int, list[int | None]] = defaultdict(list)
    for liked in opinions:
        for work, rating in liked.items():
            given[work].append(rating)
    found: list[Favourite] = []
    for work, ratings in given.items():
        rated = [rating for rating in ratings if rating is not None]
        if len(ratings) >= LEAST_PEOPLE:
            found.append(Favourite(work, len(ratings), sum(rated) / len(rated) if rated else None))
    return sorted(found, key=lambda title: (-title.people, -(title.rating or 0), title.work_id))


def _rated_highly(ratings: Mapping[int, LocalRating]) -> set[int]:
    return {work for work, given in ratings.items() if given.value is not None and given.value >= HIGHLY}


def _watched(
    connection: Connection, user_ids: Collection[str], first: datetime, end: datetime
) -> tuple[dict[str, set[int]], dict[str, dict[int, set[int]]]]:
    """Return by user the titles that were watched to the end, and by series the items of such episodes."""
    statement = """
        SELECT DISTINCT user_id, work_id, CASE WHEN is_episode THEN item_id END FROM plays
        WHERE user_id = ANY(:users) AND play_count > 0 AND played_at >= :first AND played_at < :end
        UNION SELECT user_id, work_id, NULL FROM watched_together
        WHERE user_id = ANY(:users) AND watched_at >= :first AND watched_at < :end"""
    titles: dict[str, set[int]] = defaultdict(set)
    episodes: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
    for user, work, item in execute(connection, statement, users=list(user_ids), first=first, end=end):
        if item is None:
            titles[user].add(work)
        else:
            episodes[user][work].add(item)
    return titles, episodes
