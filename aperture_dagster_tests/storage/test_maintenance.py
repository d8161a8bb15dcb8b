"""Replacing the product's database: others wait, a killed process leaves one whole database, the old one is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.storage import maintenance as module
from aperture_dagster.storage.backup.lock import backup_lock
from aperture_dagster.storage.backup.scratch import create_empty_database, drop_database
from aperture_dagster.storage.connection import _ensure_database, dagster_database_url, forget_connections
from aperture_dagster.storage.errors import DatabaseError
from aperture_dagster.storage.maintenance import (
    Maintenance,
    RestoreInProgress,
    drop_replaced_database,
    maintenance,
    replaced_databases,
)
from aperture_dagster_tests.databases import run_statements
from aperture_dagster_tests.forks import run_fork

NOW = datetime(2026, 5, 17, 15, 30, tzinfo=UTC)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.reopen, "__kwdefaults__", {"patience_seconds": 0.3})


@pytest.fixture
def url(database_url: str, postgres: str) -> Iterator[str]:
    """A database with one fact in it, as a URL with its driver."""
    run_statements(database_url, "INSERT INTO facts (name, value) VALUES ('which', '\"old\"')")
    yield database_url.replace("postgresql://", "postgresql+psycopg://")
    for name in beside(postgres, database_url):
        run_statements(postgres, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


def beside(postgres: str, url: str) -> list[str]:
    """List the databases that a replacement made beside another."""
    name = make_url(url).database
    found = run_statements(postgres, f"SELECT datname FROM pg_database WHERE datname ~ '^{name}_(new|old)_'")
    return [str(one) for (one,) in found]


def database_of(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def which(database: Database) -> Any:
    with database.transaction() as connection:
        return connection.execute(text("SELECT value FROM facts WHERE name = 'which'")).scalar()


def copy_of(work: Maintenance, url: str) -> str:
    """Close the database, and create a copy of it in which the fact says so."""
    new = work.new_name
    run_statements(database_of(url, "postgres"), f"CREATE DATABASE {new} TEMPLATE template_aperture")
    work.own(new)
    work.close()
    run_statements(
        database_of(url, new),
        "INSERT INTO facts (name, value) VALUES ('which', '\"new\"')",
    )
    return new


def test_others_are_kept_out_until_the_database_is_replaced_and_then_use_the_new_one(
    url: str, database: Database, settings: Settings, postgres: str
):
    assert which(database) == "old"
    used = create_engine(url).connect()
    with maintenance(url) as work:
        new = copy_of(work, url)
        with pytest.raises(RestoreInProgress, match="try again when `aperture restore` has ended"):
            which(database)
        with pytest.raises(RestoreInProgress), maintenance(url):
            pass
        # Runs can be started meanwhile, and fail with that sentence.
        assert make_url(dagster_database_url(settings)).database == f"{make_url(url).database}_dagster"
        old = work.switch(new, now=NOW)
    with pytest.raises(OperationalError, match="terminating connection"):
        used.execute(text("SELECT 1"))
    used.engine.dispose()
    assert which(database) == "new"
    assert beside(postgres, url) == [old] == [one.name for one in replaced_databases(url)]
    assert run_statements(database_of(url, old or ""), "SELECT value FROM facts") == [("old",)]
    with pytest.raises(DatabaseError, match="nothing was dropped"):
        drop_replaced_database(url, make_url(url).database or "")
    drop_replaced_database(url, old or "")
    assert which(database) == "new" and not beside(postgres, url)


def test_a_failed_replacement_leaves_the_old_database_open_and_nothing_beside_it(
    url: str, database: Database, postgres: str
):
    with pytest.raises(RuntimeError), maintenance(url) as work:
        copy_of(work, url)
        raise RuntimeError
    assert which(database) == "old"
    assert not beside(postgres, url)


KILLED = """
import os, signal, sys
from datetime import UTC, datetime
from aperture_dagster.settings import Settings
from aperture_dagster.storage import maintenance as module
from aperture_dagster.storage.connection import dagster_database_url
from aperture_dagster_tests.storage.test_maintenance import copy_of

point, url = sys.argv[1:]
die = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
if point == "in the switch":
    run = module.define
    module.define = lambda connection, statement, *names, **texts: (
        run(connection, statement, *names, **texts), die() if "RENAME" in statement else None)
with module.maintenance(url) as work:
    if point == "before it is closed":
        module.define(work.connection, "CREATE DATABASE {}", new := work.new_name)
        work.own(new)
        die()
    new = copy_of(work, url)
    if point == "before the switch":
        die()
    work.switch(new, now=datetime.now(UTC))
    die()
"""


@pytest.mark.parametrize(
    ("point", "left"),
    [
        ("before it is closed", "old"),
        ("before the switch", "old"),
        ("in the switch", "old"),
        ("after the switch", "new"),
    ],
)
def test_a_process_killed_while_it_replaces_the_database_leaves_one_whole_database_open(
    url: str, database: Database, postgres: str, point: str, left: str
):
    killed = run_fork(KILLED, point, url)
    assert killed.returncode == -9, killed.stderr
    # Whoever comes first opens it again: a backup, or any other command.
    with backup_lock(url):
        pass
    assert which(database) == left
    # What is left beside a database that was never closed is removed at the next restore.
    with maintenance(url):
        pass
    assert len(beside(postgres, url)) == (1 if left == "new" else 0)
    assert [one.name for one in replaced_databases(url)] == beside(postgres, url)


def test_a_database_whose_name_needs_quotes_is_replaced_as_any_other(url: str, postgres: str):
    name = f'{make_url(url).database}_we%ird"'
    odd = database_of(url, name)
    with maintenance(odd) as work:
        create_empty_database(url, new := work.new_name)
        work.own(new)
    assert not beside(postgres, url)
    try:
        for kept in (False, True):
            with maintenance(odd) as work:
                create_empty_database(url, new := work.new_name)
                work.own(new)
                work.close()
                assert (work.switch(new, now=NOW) is not None) == kept
        (old,) = replaced_databases(odd)
        drop_replaced_database(odd, old.name)
        # Dagster's is created beside it.
        _ensure_database(url, f"{name}_dagster")
    finally:
        for one in (name, f"{name}_dagster"):
            drop_database(url, one)


def test_a_database_that_the_operator_closed_stays_closed(
    url: str, database: Database, postgres: str, admin: Callable[..., Any]
):
    name = make_url(url).database
    admin(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    forget_connections()
    with pytest.raises(DatabaseError, match="not currently accepting connections"):
        which(database)
    admin(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


def test_a_process_that_could_only_connect_to_another_database_keeps_the_others_out(url: str, postgres: str):
    dagster = f"{make_url(url).database}_dagster"
    run_statements(postgres, f"CREATE DATABASE {dagster}")
    first = module.maintenance(url)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "server_connection", lambda url: create_engine(
            database_of(url, dagster), isolation_level="AUTOCOMMIT", poolclass=NullPool).connect())  # fmt: skip
        work = first.__enter__()
    copy_of(work, url)
    with pytest.raises(RestoreInProgress), maintenance(url):
        pass
    with pytest.raises(RestoreInProgress):
        module.reopen(url)
    work.switch(beside(postgres, url)[0], now=NOW)
    first.__exit__(None, None, None)
    with maintenance(url):
        pass
    assert run_statements(url, "SELECT value FROM facts") == [("new",)]


def test_a_database_with_a_name_like_ours_is_never_dropped(url: str, database: Database, postgres: str):
    name = f"{make_url(url).database}_new_12345678"
    run_statements(postgres, f"CREATE DATABASE {name}")
    with maintenance(url):
        pass
    assert beside(postgres, url) == [name]
