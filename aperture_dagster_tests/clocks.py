"""A clock that was ahead while everything that is stored was written."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Date, DateTime

from aperture_dagster.maintenance.clock import NOT_OURS
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import execute
from aperture_dagster.schema import metadata

OF_THE_SERVER = NOT_OURS - {"expires_at"} | {"played_at", "watermark"}
"""Columns with dates of the media server or of Trakt, whose clocks were right."""
DAYS = {"day"}


def redate(database: Database, ahead: timedelta, *tables: str) -> None:
    """Shift the dates that were written here, in some tables or in all, as if the clock had been ahead."""
    with database.transaction() as connection:
        for table in metadata.sorted_tables:
            columns = [
                one
                for one in table.columns
                if (isinstance(one.type, DateTime) and one.name not in OF_THE_SERVER)
                or (isinstance(one.type, Date) and one.name in DAYS)
            ]
            if columns and (not tables or table.name in tables):
                # Days move by whole days.
                values = ", ".join(
                    f'"{one.name}" = "{one.name}" + '
                    + (f"{ahead.days}" if isinstance(one.type, Date) else "CAST(:ahead AS interval)")
                    for one in columns
                )
                execute(connection, f"UPDATE {table.name} SET {values}", ahead=ahead)
