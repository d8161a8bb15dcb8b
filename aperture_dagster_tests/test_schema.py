"""Descriptions of tables and columns."""

from __future__ import annotations

import pytest

from aperture_dagster.enrichment.queries import SOURCE_TABLES
from aperture_dagster.enrichment.sources import SOURCES
from aperture_dagster.postgres.tables import ColumnSchema, column_schema
from aperture_dagster.schema import metadata


def test_columns_have_postgresqls_types_and_their_comments():
    columns = {column.name: column for column in column_schema("taste_profiles")}
    assert list(columns)[:2] == ["user_id", "media_type"]
    assert columns["user_id"] == ColumnSchema("user_id", "text", "", nullable=False, is_key=True)
    assert columns["titles"].comment == "titles that the taste is based on"
    assert not columns["titles"].nullable and not columns["titles"].is_key
    assert columns["updated_at"].type == "timestamp with time zone"
    types = {column.name: column.type for column in column_schema("embeddings")}
    assert types["vector"] == "halfvec"


def test_every_table_can_be_described():
    for name, table in metadata.tables.items():
        assert [column.name for column in column_schema(name)] == list(table.columns.keys())
    with pytest.raises(KeyError):
        column_schema("no_such_table")


def test_every_source_of_titles_has_a_table_with_a_row_per_work():
    assert {name: table.name for name, table in SOURCE_TABLES.items()} == {one.name: one.table for one in SOURCES}
    for table in SOURCE_TABLES.values():
        assert list(table.primary_key.columns.keys()) == ["work_id"]
