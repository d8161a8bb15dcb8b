"""When titles were added to the library."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Connection

from aperture_dagster.storage.queries import execute


def read_added(connection: Connection) -> dict[int, datetime]:
    """Read when the first copy of each work in the library was added to it, where the media server says so."""
    statement = """
        SELECT work_id, min(added_at) FROM titles WHERE removed_at IS NULL AND added_at IS NOT NULL GROUP BY work_id"""
    return {work_id: moment for work_id, moment in execute(connection, statement)}
