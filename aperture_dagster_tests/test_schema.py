"""Descriptions of tables and columns."""

from __future__ import annotations

from aperture_dagster.enrichment.queries import SOURCE_TABLES
from aperture_dagster.enrichment.sources import SOURCES


def test_every_source_of_titles_has_a_table_with_a_row_per_work():
    assert {name: table.name for name, table in SOURCE_TABLES.items()} == {one.name: one.table for one in SOURCES}
    for table in SOURCE_TABLES.values():
        assert list(table.primary_key.columns.keys()) == ["work_id"]
