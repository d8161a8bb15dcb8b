"""Which tables hold something of a user is declared, and a table that says nothing is found."""

from __future__ import annotations

import re
from collections.abc import Iterator

import sqlalchemy as sa

from aperture_dagster.maintenance.forgetting import user_columns
from aperture_dagster.postgres.tables import IS_USER
from aperture_dagster.schema import metadata

LOOKS_LIKE_A_USER = re.compile(r"(^|_)(user|users|owner|member|viewer|person|account|list_key)(_|$)")


def silent_columns(tables: sa.MetaData, declared: set[tuple[str, str]]) -> Iterator[str]:
    """Yield the columns that look as if they named users and are in no table whose rows go with a user."""
    covered = {table for table, _ in declared} | {"users"}
    # Rows that belong to those of another table go, or must have gone, with them.
    for table in tables.sorted_tables:
        if any(key.column.table.name in covered - {"users", "works"} for key in table.foreign_keys):
            covered.add(table.name)
    for table in tables.sorted_tables:
        for column in table.columns:
            is_text = isinstance(column.type, (sa.Text, sa.String, sa.ARRAY))
            if table.name not in covered and is_text and LOOKS_LIKE_A_USER.search(column.name):
                yield f"{table.name}.{column.name}"


def test_every_table_with_something_of_a_user_says_so():
    declared = {(one.table.name, one.name) for one in user_columns()}
    assert ("plays", "user_id") in declared and ("published_access", "user_id") in declared
    silent = list(silent_columns(metadata, declared))
    assert not silent, f"{silent}: say what happens when a user is forgotten; see IS_USER in postgres/tables.py."


def test_a_new_table_that_says_nothing_is_found():
    tables = sa.MetaData()
    sa.Table("diary", tables, sa.Column("member_id", sa.Text, primary_key=True))
    sa.Table("shelf", tables, sa.Column("user_id", sa.Text, primary_key=True, info=IS_USER))
    assert list(silent_columns(tables, {("shelf", "user_id")})) == ["diary.member_id"]


def test_what_users_refer_to_goes_before_what_it_refers_to():
    order = [one.table.name for one in user_columns()]
    for column in user_columns():
        for key in column.table.foreign_keys:
            if (other := key.column.table.name) in order:
                assert order.index(column.table.name) < order.index(other)
