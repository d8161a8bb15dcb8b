"""The household at a glance: everybody's first titles, what they like, and how much is watched."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import users_of_partitions
from aperture_dagster.catalogue.watch_states import plays_by_week
from aperture_dagster.model.errors import MissingPrerequisite
from aperture_dagster.model.wording import titled
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import first_recommendations, liked_genres, top_picks_table

FIRST = 5
WEEKS = 26
# An event of a large household must not become large, too.
SHOWN_ROWS = 100
NAMED_REASONS = 2
MEDIA_TYPES = {"movie": "films", "series": "series"}


@dataclass(frozen=True, slots=True)
class Overview:
    """What is worth knowing of a household, as rows of tables and numbers.

    ``posters`` are titles with their ids on the media server, ``genres`` the shares that each person likes, ``tops``
    everybody's first titles by films and series.
    """

    people: int
    watch_first: list[dict[str, Any]]
    posters: list[tuple[str, str | None]]
    plays: list[tuple[date, int]]
    top_picks: list[dict[str, Any]]
    genres: Mapping[str, Mapping[str, float]]
    tops: Mapping[str, list[dict[str, Any]]]


def read_overview(settings: Settings, database: Database, partitions: Collection[str], now: datetime) -> Overview:
    """Read what is worth knowing of the household at ``now``, in the operator's time zone.

    Raises:
        MissingPrerequisite: no user takes part yet.
    """
    weeks = weeks_until(now.date(), WEEKS)
    with database.transaction() as connection:
        people = list(users_of_partitions(connection, partitions).values())
        if not people:
            raise MissingPrerequisite("No users take part yet: run sync_users.")
        user_ids = [user.user_id for user in people]
        lists = first_recommendations(connection, user_ids, FIRST)
        genres = liked_genres(connection, user_ids)
        by_week = plays_by_week(connection, since=weeks[0], timezone=settings.schedule_timezone)
        picks = top_picks_table(connection, now.date())
    heads = {row["work_id"]: row for row in lists if row["rank"] == 1}
    return Overview(
        people=len(people),
        watch_first=[_first(user, lists) for user in people],
        posters=[(row["title"], row["server_item_id"]) for row in heads.values()],
        plays=[(week, by_week.get(week, 0)) for week in weeks],
        top_picks=[_pick_names(picks, rank) for rank in range(1, FIRST + 1)] if picks else [],
        genres={user.name: genres[user.user_id] for user in people},
        tops={
            label: _top(people, [row for row in lists if row["media_type"] == media_type])
            for media_type, label in MEDIA_TYPES.items()
        },
    )


def weeks_until(day: date, weeks: int) -> list[date]:
    """Return the first days (Mondays) of the last ``weeks`` weeks up to the one with ``day``, the oldest first."""
    monday = day - timedelta(days=day.weekday())
    return [monday - timedelta(weeks=back) for back in reversed(range(weeks))]


def _first(user: User, lists: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a user's first film and series."""
    first = {row["media_type"]: row for row in lists if row["user_id"] == user.user_id and row["rank"] == 1}
    titles = {label: _named(first.get(media_type)) for media_type, label in (("movie", "film"), ("series", "series"))}
    return {"user": user.name, **titles}


def _top(people: Sequence[User], lists: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the first titles of everybody, with short reasons; fewer of each in a large household."""
    each = max(min(FIRST, SHOWN_ROWS // len(people)), 1)
    return [
        {"user": user.name, "rank": row["rank"], "title": titled(row), "like": _like(row["because"])}
        for user in people[:SHOWN_ROWS]
        for row in lists
        if row["user_id"] == user.user_id and row["rank"] <= each
    ]


def _like(because: Sequence[str]) -> str:
    return ", ".join(because[:NAMED_REASONS]) or "widely liked"


def _pick_names(picks: Sequence[dict[str, Any]], rank: int) -> dict[str, Any]:
    """Return the film and the series at a rank of the Top Picks."""
    at_rank = {row["media_type"]: row for row in picks if row["rank"] == rank}
    return {"rank": rank, "film": _named(at_rank.get("movie")), "series": _named(at_rank.get("series"))}


def _named(row: dict[str, Any] | None) -> str | None:
    return titled(row) if row is not None else None
