"""Users who left the media server: on how many days that was confirmed, and when they will be forgotten.

A day counts if the server's list of users was read as a whole, and lacked them. So neither an outage nor a clock that
jumps brings the day nearer on which a user is forgotten.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection

from aperture_dagster.model import counted
from aperture_dagster.postgres.queries import execute, read_rows

NOTICE = 14
"""Days for which it is known beforehand that a user will be forgotten; fewer if they are kept for less."""


@dataclass(frozen=True, slots=True)
class Departure:
    """A user who left.

    Args:
        days: on which the server was known to lack them.
        announced_at: the number of days when it was said that they will be forgotten; None: not yet.
    """

    user_id: str
    name: str
    days: int
    announced_at: int | None = None

    def is_to_be_announced(self, keep: int) -> bool:
        """Tell whether it is time to say that they will be forgotten; ``keep`` is the number of days, 0: for ever."""
        return keep > 0 and self.announced_at is None and self.days >= keep - NOTICE

    def days_left(self, keep: int) -> int | None:
        """Return after how many more days they will be forgotten, 0 or less: now; None if that was not said yet."""
        if keep == 0 or self.announced_at is None:
            return None
        return max(keep, self.announced_at + min(NOTICE, keep)) - self.days

    def describe(self, keep: int) -> str:
        """Say when they will be forgotten, and how to prevent it."""
        when = counted(max(self.days_left(keep) or 0, 0), "days")
        return (
            f"{self.name} left the media server {counted(self.days, 'days')} ago, and everything about them is deleted "
            f"in {when}. APERTURE_FORGET_AFTER_DAYS=0 keeps it."
        )


def note_departures(connection: Connection, there: Collection[str], *, today: date) -> None:
    """Count today for every user who has left; ``there`` are the ids in the server's whole list, which is not empty."""
    statement = """
        INSERT INTO departures (user_id, days, last_on) SELECT user_id, 1, :today FROM users
        WHERE removed_at IS NOT NULL AND NOT user_id = ANY(:there)
        ON CONFLICT (user_id) DO UPDATE SET days = departures.days + 1, last_on = excluded.last_on
        WHERE departures.last_on <> excluded.last_on"""
    execute(connection, "DELETE FROM departures WHERE user_id = ANY(:there)", there=list(there))
    execute(connection, statement, there=list(there), today=today)


def read_departures(connection: Connection) -> list[Departure]:
    """Return everybody who has left, by name."""
    statement = """
        SELECT user_id, name, days, announced_at FROM departures JOIN users USING (user_id) ORDER BY name, user_id"""
    return [Departure(**row) for row in read_rows(connection, statement)]


def announced_departures(connection: Connection, keep: int) -> list[tuple[Departure, int]]:
    """Return who will be forgotten, and after how many more days; ``keep`` is the number of days of the settings."""
    found = [(one, one.days_left(keep)) for one in read_departures(connection)]
    return [(one, max(left, 0)) for one, left in found if left is not None]


def describe_departures(connection: Connection, keep: int) -> list[str]:
    """Return a sentence about everybody who will be forgotten; ``keep`` as above."""
    return [one.describe(keep) for one, _ in announced_departures(connection, keep)]


def note_announced(connection: Connection, departures: Collection[Departure]) -> None:
    """Record that it was said of these that they will be forgotten."""
    statement = "UPDATE departures SET announced_at = days WHERE user_id = ANY(:users)"
    execute(connection, statement, users=[one.user_id for one in departures])
