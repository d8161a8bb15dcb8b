"""Store what title sources say, each in its own table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Table

from aperture_dagster.enrichment.tables import enriched_metadata
from aperture_dagster.postgres.bulk import WriteCounts, upsert

# Title sources, by name, with their tables.
SOURCE_TABLES: dict[str, Table] = {
    table.info["source"]: table for table in enriched_metadata.metadata.tables.values() if "source" in table.info
}


def write_answers(connection: Connection, source: str, rows: Iterable[dict[str, Any]]) -> WriteCounts:
    """Write the rows of a title source; equal rows are not written."""
    return upsert(connection, SOURCE_TABLES[source], rows)
