"""Every household of a released schema can be restored and migrated, with all of its rows."""

from __future__ import annotations

import gzip
import re
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from aperture_dagster.cli.restore import void_tokens
from aperture_dagster.postgres.backup.create import create_backup
from aperture_dagster.postgres.connection import close_engine
from aperture_dagster.postgres.restore import restore
from aperture_dagster.schema import metadata
from aperture_dagster.settings import load_settings
from aperture_dagster_tests.cli.next_release import next_release
from aperture_dagster_tests.conftest import load_script
from aperture_dagster_tests.databases import database_copy
from aperture_dagster_tests.postgres.test_migrations import dump_schema, with_driver

RELEASED = sorted(load_script("tools/freeze.py").HOUSEHOLDS.glob("*.sql.gz"))
VOIDED = {"sessions", "api_keys", "alembic_version"}
"""Tables that a restore changes on purpose."""
NOW = datetime(2026, 5, 17, 15, 30, tzinfo=UTC)


def rows_of(file: Path) -> Counter[str]:
    """Return the number of rows of each table in a backup."""
    counted: Counter[str] = Counter()
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        table = None
        for line in lines:
            if begin := re.match(r"COPY public\.(\w+) ", line):
                table = begin[1]
            elif line == "\\.\n":
                table = None
            elif table is not None:
                counted[table] += 1
    return counted


def upgrade(file: Path, home: Path, url: str) -> None:
    """Restore a household into a database, and migrate it."""
    settings = load_settings(home=home, database_url=url)
    void = partial(void_tokens, path=file)
    restore(settings, file, now=NOW, refuse_runs=lambda: None, void=void)
    close_engine(with_driver(url))


def rows_in(url: str, tables: set[str]) -> dict[str, int]:
    engine = create_engine(with_driver(url))
    with engine.connect() as connection:
        found = {table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one() for table in tables}
    engine.dispose()
    return found


def declared_schema(postgres: str) -> list[str]:
    with database_copy(postgres, "template0") as url:
        engine = create_engine(with_driver(url))
        with engine.begin() as connection:
            metadata.create_all(connection)
        engine.dispose()
        return dump_schema(url)


def compare(file: Path, url: str) -> None:
    """Every row of a backup is in a database, but for tables that are gone or that a restore voids."""
    expected = {
        table: rows for table, rows in rows_of(file).items() if table in metadata.tables and table not in VOIDED
    }
    assert expected["users"] > 1 and expected["works"] > 10 and expected["recommendations"] > 10
    assert rows_in(url, set(expected)) == expected


@pytest.fixture
def present(settled: Callable[..., Any], tmp_path: Path) -> Path:
    """The backup of a household as this version leaves it, which the next release has to carry on."""
    with settled() as (_, home, _):
        made = create_backup(home.settings, NOW)
    assert made.unproven_because is None
    return made.path


def test_a_household_of_this_and_of_each_released_version_is_restored_with_all_of_its_rows(
    present: Path, postgres: str, tmp_path: Path
):
    for file in (present, *RELEASED):
        with database_copy(postgres) as url:
            upgrade(file, tmp_path, url)
            assert dump_schema(url) == declared_schema(postgres), file
            compare(file, url)


def test_a_household_of_this_version_can_be_upgraded_by_the_next(
    present: Path, postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with database_copy(postgres) as url, next_release(tmp_path, monkeypatch):
        upgrade(present, tmp_path, url)
        assert set(dump_schema(url)) > set(declared_schema(postgres)), "the made-up table came in addition"
        compare(present, url)
