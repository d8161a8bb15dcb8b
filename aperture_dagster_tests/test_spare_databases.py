"""The databases that tests use one after another: each test has one that is as good as new."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy import make_url

from aperture_dagster_tests.databases import SpareDatabases, run_statements

WORK = "INSERT INTO works (media_type) VALUES ('movie') RETURNING work_id"
FACT = "INSERT INTO facts (name, value) VALUES ('left', '1')"


def test_the_next_test_finds_no_rows_counts_from_one_and_meets_no_connection(postgres: str):
    spare = SpareDatabases(postgres)
    with spare.one() as first:
        run_statements(first, FACT, f"CREATE DATABASE {make_url(first).database}_dagster")
        left_open = psycopg.connect(first)
        assert left_open.execute(WORK.encode()).fetchall() == [(1,)]
    with spare.one() as second:
        assert second == first
        assert run_statements(second, "SELECT count(*) FROM facts") == [(0,)]
        assert run_statements(second, WORK) == [(1,)]
        beside = f"SELECT datname FROM pg_database WHERE datname LIKE '{make_url(second).database}_%'"
        assert run_statements(second, beside) == []
    with pytest.raises(psycopg.OperationalError):
        left_open.execute("SELECT 1")


@pytest.mark.parametrize(
    "change",
    [
        "CREATE TABLE extra ()", "ALTER TABLE works ADD COLUMN extra int", "ALTER TABLE works DISABLE TRIGGER ALL",
        "CREATE FUNCTION extra() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP EXTENSION vector CASCADE",
        "GRANT SELECT ON works TO public", "UPDATE alembic_version SET version_num = 'x'", "DROP TABLE facts",
        "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET work_mem = 4096', current_database()); END $$",
        "DO $$ BEGIN EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM public', current_database()); END $$",
        "INSERT INTO facts (name, value) SELECT i, to_jsonb(repeat('x', 200)) FROM generate_series(1, 9000) i",
    ],
)  # fmt: skip
def test_a_database_that_a_test_changed_or_filled_is_dropped(postgres: str, change: str):
    spare = SpareDatabases(postgres)
    with spare.one() as first:
        run_statements(first, change.replace(":", "\\:"))
    exists = f"SELECT count(*) FROM pg_database WHERE datname = '{make_url(first).database}'"
    assert run_statements(postgres, exists) == [(0,)]
    with spare.one() as second:
        assert second != first
