"""Whoever keeps what was read learns of every change of the product's database, and of nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine
from sqlalchemy.exc import IntegrityError

from aperture_dagster.facts import write_fact
from aperture_dagster.postgres.changes import state_of_product
from aperture_dagster.postgres.connection import dagster_database_url
from aperture_dagster.postgres.database import Database, ReadOnlyDatabase
from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster.settings import Settings


@pytest.fixture
def pages(settings: Settings, database: Database):
    """Return connections as the pages have them."""
    with database.transaction():
        pass
    reading = ReadOnlyDatabase(settings)
    yield reading
    reading.close()


def state(pages: ReadOnlyDatabase) -> str:
    with pages.connection() as connection:
        return state_of_product(connection)


def test_a_change_is_seen_once_it_is_committed_and_not_before(database: Database, pages: ReadOnlyDatabase):
    before = state(pages)
    with database.transaction() as connection:
        write_fact(connection, "colour", {"is": "blue"})
        assert state(pages) == before, "a page made now would be kept with rows that it has not seen"
    after = state(pages)
    assert after != before and state(pages) == after
    with database.connection() as connection:
        write_fact(connection, "colour", {"is": "green"})
        connection.commit()
    assert state(pages) not in (before, after)


def test_what_changes_nothing_is_no_change(database: Database, pages: ReadOnlyDatabase, settings: Settings):
    with database.transaction() as connection:
        write_fact(connection, "colour", {"is": "blue"})
    before = state(pages)
    with database.transaction() as connection:
        assert read_value(connection, "SELECT count(*) FROM facts") == 1
    with pytest.raises(RuntimeError), database.transaction() as connection:
        write_fact(connection, "colour", {"is": "green"})
        raise RuntimeError
    dagsters = create_engine(dagster_database_url(settings))
    with dagsters.begin() as connection:
        execute(connection, "CREATE TABLE IF NOT EXISTS heartbeats (at timestamptz)")
    dagsters.dispose()
    assert state(pages) == before


def test_a_commit_after_an_error_rolls_back_as_ever(database: Database, pages: ReadOnlyDatabase):
    before = state(pages)
    with database.transaction() as connection:
        write_fact(connection, "colour", {"is": "blue"})
        with pytest.raises(IntegrityError):
            execute(connection, "INSERT INTO facts (name, value) VALUES ('colour', '{}')")
    assert state(pages) == before


def test_changes_of_many_at_once_all_count(database: Database, pages: ReadOnlyDatabase):
    def change(number: int) -> None:
        with database.transaction() as connection:
            write_fact(connection, f"fact {number}", {})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(40)))
    with database.transaction() as connection:
        assert read_value(connection, "SELECT sum(commits) FROM changes") == 40
