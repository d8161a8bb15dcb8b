"""Which titles rest after having been at the top of a list for a while, so that others get their turn.

Somebody who watches nothing would see the same list for ever. So a title that has been among the first ten for 14 days
begins to rest: it comes after the first twenty others, and competes again four weeks later. Ten places and 14 days are
five titles a week. They begin one a day, on five days of seven, so that a new list, whose titles all came on one day,
does not change at once: its first ones rest earlier. Nothing is drawn by lot: a day has one list.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.postgres.bulk import WriteCounts
from aperture_dagster.postgres.queries import read_rows
from aperture_dagster.taste.lists import replace_recommendations, replace_rows
from aperture_dagster.taste.tables import first_places

TOP = 10
"""Length of the top of a list."""
LEAST = timedelta(days=3)
"""A title stays at the top for as long at least."""
WEEK = timedelta(days=7)
MOST = 5
"""At most so many titles of a list begin to rest in a week: all ten in 14 days."""
REST = timedelta(days=28)


@dataclass(frozen=True, slots=True)
class Place:
    """A title that is at the top of a user's list, or rests."""

    work_id: int
    media_type: str
    since: date
    """The day on which it came to the top."""
    rests_from: date | None = None
    rank: int | None = None
    """Its rank now; None if it is not on the list."""


def resting(places: Sequence[Place], today: date) -> frozenset[int]:
    """Return which titles of a user rest today."""
    found: set[int] = set()
    for media_type in {place.media_type for place in places}:
        own = [place for place in places if place.media_type == media_type]
        begun = {place.work_id: place.rests_from for place in own if place.rests_from is not None}
        found |= {work for work, day in begun.items() if today < day + REST}
        due = [place for place in own if place.rests_from is None and place.since + LEAST <= today]
        lately = [day for day in begun.values() if today - WEEK < day]
        if due and today not in lately and len(lately) < MOST:
            found.add(min(due, key=lambda place: (place.since, -(place.rank or 0), place.work_id)).work_id)
    return frozenset(found)


def next_places(
    places: Sequence[Place], rest: Collection[int], listed: Sequence[Mapping[str, Any]], today: date
) -> list[Place]:
    """Return the places after a user's list was made: the top of it, and what rests.

    Args:
        places: Those before.
        rest: The works that rest today.
        listed: The rows of the list, with ``work_id``, ``media_type`` and ``rank``.
        today: The day of the list.
    """
    before = {place.work_id: place for place in places}
    top = {
        row["work_id"]: before[row["work_id"]].since
        if row["work_id"] in before and before[row["work_id"]].rests_from is None
        else today
        for row in listed
        if row["rank"] <= TOP and row["work_id"] not in rest
    }
    types = {row["work_id"]: row["media_type"] for row in listed}
    kept = [
        Place(place.work_id, place.media_type, place.since, place.rests_from or today)
        for place in places
        if place.work_id in rest
    ]
    return [*kept, *(Place(work, types[work], since) for work, since in top.items())]


def read_places(connection: Connection, user_ids: Sequence[str]) -> dict[str, list[Place]]:
    """Read the places of users."""
    statement = """
        SELECT p.user_id, p.work_id, p.media_type, p.since, p.rests_from, r.rank FROM first_places p
        LEFT JOIN recommendations r USING (user_id, work_id) WHERE p.user_id = ANY(:users) ORDER BY p.work_id"""
    found: dict[str, list[Place]] = {user_id: [] for user_id in user_ids}
    for row in read_rows(connection, statement, users=list(user_ids)):
        found[row.pop("user_id")].append(Place(**row))
    return found


def replace_places(connection: Connection, user_id: str, places: Sequence[Place]) -> None:
    """Replace the places of a user; equal ones are not written."""
    rows = [
        {"user_id": user_id, "work_id": one.work_id, "media_type": one.media_type, "since": one.since,
         "rests_from": one.rests_from}
        for one in places
    ]  # fmt: skip
    replace_rows(connection, first_places, rows, user_id=user_id)


def replace_list(
    connection: Connection, user_id: str, rows: Sequence[dict[str, Any]], places: Sequence[Place]
) -> WriteCounts:
    """Replace a user's lists and places together; return what changed in the lists."""
    replace_places(connection, user_id, places)
    return replace_recommendations(connection, user_id, rows)
