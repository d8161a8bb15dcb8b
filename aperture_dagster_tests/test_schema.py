"""Descriptions of tables and columns."""

from __future__ import annotations

import pytest

from aperture_dagster.enrichment.queries import SOURCE_TABLES, value_ranges
from aperture_dagster.enrichment.sources import SOURCES


def test_every_source_of_titles_has_a_table_with_a_row_per_work():
    assert {name: table.name for name, table in SOURCE_TABLES.items()} == {one.name: one.table for one in SOURCES}
    for table in SOURCE_TABLES.values():
        assert list(table.primary_key.columns.keys()) == ["work_id"]


@pytest.mark.parametrize("source", SOURCE_TABLES)
def test_ranges_are_within_the_scale_in_the_comment(source: str):
    ranges = value_ranges(source)
    assert ranges
    for column in SOURCE_TABLES[source].columns:
        scale = (column.comment or "").split(",")[0].split("-")
        if column.name in ranges and len(scale) == 2:
            low, high = ranges[column.name]
            assert float(scale[0]) <= low < high == float(scale[1])
