"""The household at a glance: everybody's first titles, what they like, and how much is watched."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from aperture_dagster.catalogue.history.plays import plays_by_week
from aperture_dagster.catalogue.people import User
from aperture_dagster.catalogue.stored_users import users_of_partitions
from aperture_dagster.model import titled
from aperture_dagster.model.errors import MissingPrerequisite
from aperture_dagster.postgres.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.taste.lists import first_recommendations

WEEKS = 26


@dataclass(frozen=True, slots=True)
class Overview:
    """What is worth knowing of a household: ``posters`` are titles with their ids on the media server."""

    people: int
    watch_first: list[dict[str, Any]]
    posters: list[tuple[str, str | None]]
    plays: list[tuple[date, int]]


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
        lists = first_recommendations(connection, [user.user_id for user in people], 1)
        by_week = plays_by_week(connection, since=weeks[0], timezone=settings.schedule_timezone)
    heads = {row["work_id"]: row for row in lists}
    return Overview(
        people=len(people),
        watch_first=[_first(user, lists) for user in people],
        posters=[(row["title"], row["server_item_id"]) for row in heads.values()],
        plays=[(week, by_week.get(week, 0)) for week in weeks],
    )


def weeks_until(day: date, weeks: int) -> list[date]:
    """Return the first days (Mondays) of the last ``weeks`` weeks up to the one with ``day``, the oldest first."""
    monday = day - timedelta(days=day.weekday())
    return [monday - timedelta(weeks=back) for back in reversed(range(weeks))]


def _first(user: User, lists: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a user's first film and series."""
    first = {row["media_type"]: titled(row) for row in lists if row["user_id"] == user.user_id}
    return {"user": user.name, "film": first.get("movie"), "series": first.get("series")}
