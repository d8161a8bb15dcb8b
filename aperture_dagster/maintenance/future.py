"""Rows of our tables that are dated in the future."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection, DateTime

from aperture_dagster.model.moments import SKEW, FutureDates
from aperture_dagster.postgres.queries import read_rows
from aperture_dagster.schema import metadata

NOT_OURS = {"added_at", "expires_at", "issued_at", "last_activity_at", "last_played_at", "rated_at"}
"""Columns with dates of other servers, which are compared with now wherever they are read."""
PLANNED = {"due_at", "report_after"}
"""Columns with times that lie ahead on purpose."""


def future_dates(connection: Connection, *, now: datetime) -> list[FutureDates]:
    """Count the rows of each table with a date of ours that is later than now."""
    selects: list[str] = []
    for table in metadata.sorted_tables:
        names = [one.name for one in table.columns if isinstance(one.type, DateTime)]
        ours = ", ".join(f'"{name}"' for name in names if name not in NOT_OURS | PLANNED)
        if ours:
            selects.append(
                f"SELECT '{table.name}' AS what, count(*) AS rows, max(greatest({ours})) AS latest "
                f"FROM {table.name} WHERE greatest({ours}) > :latest"
            )
    statement = f"SELECT * FROM ({' UNION ALL '.join(selects)}) t WHERE rows > 0 ORDER BY what"
    return [FutureDates(**row) for row in read_rows(connection, statement, latest=now + SKEW)]
