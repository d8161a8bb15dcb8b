"""Works that nothing refers to: since when, and which have been unused for long."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute


def find_unused(
    connection: Connection, *, keepers: Sequence[str], now: datetime, before: datetime, limit: int
) -> list[int]:
    """Note which works no row of the ``keepers`` refers to, and return those that were unused before a moment.

    A work counts as unused from the first call that finds it so.

    Args:
        keepers: names of tables with a ``work_id``.
        limit: the number of works to return at most, those that have been unused for longest.
    """
    # Each table is read once: thousands of suggested titles are works without a title in the library.
    used = " UNION ".join(f"SELECT work_id FROM {table}" for table in keepers)
    statement = f"""
        WITH used AS MATERIALIZED ({used})
        UPDATE works w SET unused_since = CASE WHEN u.work_id IS NULL THEN CAST(:now AS timestamptz) END
        FROM works o LEFT JOIN used u ON u.work_id = o.work_id
        WHERE o.work_id = w.work_id AND (w.unused_since IS NULL) <> (u.work_id IS NOT NULL)"""
    execute(connection, statement, now=now)
    statement = "SELECT work_id FROM works WHERE unused_since < :before ORDER BY unused_since LIMIT :limit"
    return list(execute(connection, statement, before=before, limit=limit).scalars())
