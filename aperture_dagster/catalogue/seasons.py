"""The seasons of a series that the library has."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import read_rows


def read_seasons(connection: Connection, series_item_id: int) -> list[dict[str, Any]]:
    """Return ``season`` (0: specials; None: unknown), ``episodes`` and ``year``, when it began, of a series' copy."""
    statement = """
        SELECT season, count(*) AS episodes, min(extract(year FROM air_date))::int AS year
        FROM present_episodes WHERE series_item_id = :item GROUP BY season ORDER BY season NULLS LAST"""
    return read_rows(connection, statement, item=series_item_id)
