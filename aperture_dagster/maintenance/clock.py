"""Rows of our tables that are dated in the future, because the clock was ahead when they were written."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Connection, DateTime, Table

from aperture_dagster.model import SKEW, FutureDates
from aperture_dagster.postgres.queries import execute, read_rows
from aperture_dagster.schema import metadata

NOT_OURS = {"added_at", "expires_at", "issued_at", "last_activity_at", "last_played_at", "played_at", "rated_at"}
"""Columns with dates of other servers, which are compared with now wherever they are read."""
PLANNED = {"due_at", "report_after", "waits_until"}
"""Columns with times that lie ahead on purpose."""


def dated_columns() -> Iterator[tuple[Table, list[str], list[str]]]:
    """Yield each table with dates of ours: the columns that say when something happened, and those that plan."""
    for table in metadata.sorted_tables:
        names = [column.name for column in table.columns if isinstance(column.type, DateTime)]
        if happened := [name for name in names if name not in NOT_OURS | PLANNED]:
            yield table, happened, [name for name in names if name in PLANNED]


def future_dates(connection: Connection, *, now: datetime) -> list[FutureDates]:
    """Count the rows of each table with a date of ours that is later than now."""
    selects = [
        f"SELECT '{table.name}' AS what, count(*) AS rows, max(greatest({', '.join(happened)})) AS latest "
        f"FROM {table.name} WHERE greatest({', '.join(happened)}) > :latest"
        for table, happened, _ in dated_columns()
    ]
    statement = f"SELECT * FROM ({' UNION ALL '.join(selects)}) t WHERE rows > 0 ORDER BY what"
    return [FutureDates(**row) for row in read_rows(connection, statement, latest=now + SKEW)]


def set_right(connection: Connection, *, now: datetime) -> int:
    """Date what is dated in the future at ``now``, and make due what was planned from such a date; return the rows.

    Rows of a table get moments that differ by microseconds, because a date may be part of a key.
    """
    rows = 0
    for table, happened, planned in dated_columns():
        earlier = "CAST(:now AS timestamptz) - f.place * interval '1 microsecond'"
        # A date that is within the tolerance stays; greatest and least ignore null, so a missing date is kept apart.
        values = [f"{name} = CASE WHEN t.{name} > :latest THEN {earlier} ELSE t.{name} END" for name in happened]
        values += [f"{name} = least(t.{name}, {earlier})" for name in planned]
        statement = f"""
            UPDATE {table.name} t SET {", ".join(values)} FROM (
              SELECT ctid AS id, row_number() OVER () AS place FROM {table.name}
              WHERE greatest({", ".join(happened)}) > :latest) f
            WHERE t.ctid = f.id"""
        rows += execute(connection, statement, now=now, latest=now + SKEW).rowcount
    return rows
