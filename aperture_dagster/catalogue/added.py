"""When titles were added to the library."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute, read_value


def read_added(connection: Connection) -> dict[int, datetime]:
    """Read when the first copy of each work in the library was added to it, where the media server says so."""
    statement = """
        SELECT work_id, min(added_at) FROM titles WHERE removed_at IS NULL AND added_at IS NOT NULL GROUP BY work_id"""
    return {work_id: moment for work_id, moment in execute(connection, statement)}


def last_addition(connection: Connection) -> datetime | None:
    """Read when a title or an episode was last new to the catalogue, by the clock of the database."""
    statement = """
        SELECT greatest((SELECT max(first_seen_at) FROM titles), (SELECT max(first_seen_at) FROM episodes))"""
    return read_value(connection, statement)
