"""Restoring a backup: all of it or nothing, from older schemas, between servers, and with the right refusals."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psycopg
import pytest
from sqlalchemy import make_url, text

from aperture_dagster.cli.restore import Voided, void_tokens
from aperture_dagster.model.errors import OperatorError
from aperture_dagster.postgres import databases
from aperture_dagster.postgres import restore as module
from aperture_dagster.postgres.backup.create import create_backup
from aperture_dagster.postgres.connection import close_engine, product_database_url
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.databases import PREFIX, drop_replaced_database, replaced_databases
from aperture_dagster.postgres.embedded import release_embedded_server
from aperture_dagster.postgres.migrate import HEAD_REVISION
from aperture_dagster.postgres.restore import Restored, restore
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster_tests.cli.next_release import next_release
from aperture_dagster_tests.clusters import copy_clusters
from aperture_dagster_tests.databases import database_copy, run_statements
from aperture_dagster_tests.marks import at_night
from aperture_dagster_tests.programs import run_program
from aperture_dagster_tests.waiting import SECONDS

NOW = datetime(2026, 5, 17, 15, 30, tzinfo=UTC)
HOUSEHOLD = (
    "INSERT INTO users (user_id, name, partition_key, is_administrator, is_hidden, is_disabled, all_libraries, "
    "library_ids, blocked_tags, allowed_tags, open_library_ids, excluded_folders) SELECT 'u' || n, 'User ' || n, "
    "'user-' || n, false, false, false, true, '{}', '{}', '{}', '{}', '{}' FROM generate_series(1, 3) n",
    "INSERT INTO works (media_type) SELECT 'movie' FROM generate_series(1, 40)",
    "INSERT INTO facts (name, value) VALUES ('which', '\"backed up\"')",
)
ACCOUNTS = (
    "INSERT INTO trakt_accounts (user_id, installation_id, access_token, refresh_token, issued_at, expires_at, state, "
    "connected_at) SELECT user_id, 'i', 'sealed', 'sealed', now(), now(), 'connected', now() FROM users LIMIT 2",
    "INSERT INTO sessions (digest, secret_digest, user_id, is_administrator, device, created_at, seen_at, "
    "confirmed_at) VALUES ('d', 's', 'u1', true, '', now(), now(), now())",
    "INSERT INTO api_keys (name, digest, user_id) VALUES ('Dashboard', 'd1', 'u1'), ('Leaked', 'd2', NULL)",
)


@pytest.fixture(scope="module")
def filled(postgres: str) -> Iterator[str]:
    """The URL of a household's database, to copy."""
    with database_copy(postgres) as url:
        run_statements(url, *HOUSEHOLD, *ACCOUNTS)
        yield url


@pytest.fixture(scope="module")
def backup(filled: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A proven backup of that database."""
    return make_backup(load_settings(home=tmp_path_factory.mktemp("home"), database_url=filled))


@pytest.fixture
def database_url(postgres: str, filled: str, backup: Path) -> Iterator[str]:
    """A copy of the household's database, in which much has happened since the backup."""
    with database_copy(postgres, template=make_url(filled).database or "") as url:
        run_statements(
            url,
            "DROP TABLE discovery_vectors CASCADE",
            "DELETE FROM trakt_accounts",
            "DELETE FROM api_keys",
            "DELETE FROM users",
            "UPDATE facts SET value = '\"damaged\"' WHERE name = 'which'",
        )
        yield url
        for name in beside(postgres, url):
            run_statements(postgres, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
def file(backup: Path, tmp_path: Path) -> Path:
    """A copy of the backup."""
    return Path(shutil.copy(backup, tmp_path / backup.name))


def make_backup(settings: Settings) -> Path:
    made = create_backup(settings, NOW)
    assert made.unproven_because is None
    return made.path


def beside(postgres: str, url: str) -> list[str]:
    """List the databases that restores replaced, and scratch databases that one left."""
    name = make_url(url).database
    scratch = databases.scratch_prefix(str(name))
    found = run_statements(postgres, f"SELECT datname FROM pg_database WHERE datname ~ '^({name}_old_|{scratch})'")
    return [str(one) for (one,) in found]


def restored(
    settings: Settings, path: Path, *, refuse: Callable[[], None] = lambda: None, **how: Any
) -> Restored[Voided]:
    return restore(settings, path, now=NOW, refuse_runs=refuse, void=partial(void_tokens, path=path, **how))


def which(url: str) -> Any:
    return run_statements(url, "SELECT value FROM facts WHERE name = 'which'")[0][0]


def url_of(settings: Settings) -> str:
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


# The drill


def test_a_restored_household_has_everything_but_its_tokens_and_the_old_database_is_kept(
    settings: Settings, database: Database, postgres: str, file: Path
):
    done = restored(settings, file)
    with database.transaction() as connection:
        accounts = connection.execute(text("SELECT state, trouble FROM trakt_accounts")).all()
        assert connection.execute(text("SELECT count(*) FROM users")).scalar() == 3
        assert connection.execute(text("SELECT count(*) FROM discovery_vectors")).scalar() == 0
        assert connection.execute(text("SELECT count(*) FROM sessions")).scalar() == 0
    reason = f"the database was restored from {file.name}, and the tokens in it are no longer valid"
    assert accounts == [("reconnect", reason)] * 2
    assert done == Restored(kept=done.kept, schema=HEAD_REVISION, voided=Voided(2, ["Dashboard", "Leaked"]))
    # What was replaced is kept, until it is dropped.
    url = product_database_url(settings)
    assert [one.name for one in replaced_databases(url)] == beside(postgres, url) == [done.kept]
    old = make_url(url_of(settings)).set(database=done.kept).render_as_string(hide_password=False)
    assert which(old) == "damaged"
    drop_replaced_database(url, str(done.kept))
    assert replaced_databases(url) == []


def test_a_database_that_is_gone_is_restored(settings: Settings, file: Path, postgres: str):
    url = url_of(settings)
    run_statements(postgres, f"DROP DATABASE {make_url(url).database}")
    done = restored(settings, file)
    assert done.kept is None and which(url) == "backed up"
    assert not beside(postgres, url)


def test_sessions_that_come_back_at_once_do_not_keep_the_old_database_in_place(settings: Settings, file: Path):
    url, ended = url_of(settings), 0

    def again() -> None:
        """Connect as often as a busy process does, until the restored database answers."""
        nonlocal ended
        while which_now() != "backed up":
            pass

    def which_now() -> object:
        nonlocal ended
        try:
            with psycopg.connect(url) as connection:
                connection.execute("SELECT pg_sleep(0.1)")
                return connection.execute("SELECT value FROM facts WHERE name = 'which'").fetchone()[0]  # type: ignore[index]
        except psycopg.OperationalError:
            ended += 1
            return None

    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(again) for _ in range(3)]
        restored(settings, file)
        for other in others:
            other.result(timeout=SECONDS)
    assert ended, "nobody was connected at the moment of the switch"


# What was ended since the backup


def keys(url: str) -> list[Any]:
    return run_statements(url, "SELECT name, digest, user_id FROM api_keys ORDER BY name")


def test_api_keys_are_those_of_the_database_that_is_replaced(settings: Settings, file: Path, postgres: str):
    url = url_of(settings)
    # Of the two in the backup, one was removed since; a new one has its name, and one is of somebody who was new.
    run_statements(url, HOUSEHOLD[0], HOUSEHOLD[0].replace("'u' || n", "'new' || n").replace("'user-' ||", "'n' ||"))
    made = "('Dashboard', 'd1', 'u1'), ('Leaked', 'd3', NULL), ('Phone', 'd4', 'u2'), ('Guest', 'd5', 'new1')"
    run_statements(url, f"INSERT INTO api_keys (name, digest, user_id) VALUES {made}")
    assert restored(settings, file).voided.keys == ["Leaked"]
    assert keys(url) == [("Dashboard", "d1", "u1"), ("Leaked", "d3", None), ("Phone", "d4", "u2")]


@pytest.mark.parametrize("trouble", ["DROP DATABASE", *at_night("DROP TABLE api_keys")])
def test_where_nobody_knows_which_api_keys_were_removed_there_are_none_unless_the_operator_keeps_them(
    settings: Settings, file: Path, postgres: str, trouble: str
):
    url = url_of(settings)
    if trouble == "DROP DATABASE":
        run_statements(postgres, f"DROP DATABASE {make_url(url).database}")
    else:
        run_statements(url, trouble)
    assert restored(settings, file).voided.keys == ["Dashboard", "Leaked"] and keys(url) == []
    assert restored(settings, file, keep_keys=True).voided.keys == []
    assert keys(url) == [("Dashboard", "d1", "u1"), ("Leaked", "d2", None)]


# Older and other schemas


def test_a_backup_of_an_older_schema_is_migrated(
    settings: Settings, database: Database, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with next_release(tmp_path, monkeypatch) as revision:
        done = restored(settings, file)
        assert done.schema == HEAD_REVISION != revision
        url = url_of(settings)
        assert run_statements(url, "SELECT version_num FROM alembic_version") == [(revision,)]
        assert run_statements(url, "SELECT count(*) FROM made_up") == [(0,)]
    assert which(url) == "backed up"


# Killed


KILLED = """
import sys
from pathlib import Path
from aperture_dagster.settings import load_settings
from aperture_dagster.postgres import restore as module
from aperture_dagster_tests.killing import die_at
from aperture_dagster_tests.postgres.test_restore import restored

point, url, file, home = sys.argv[1:]
die_at(module, point)
restored(load_settings(home=home, database_url=url), Path(file))
"""


@pytest.mark.parametrize("point", ["switch", *at_night("restore_dump")])
def test_a_restore_that_is_killed_leaves_the_old_database_or_the_new_one_and_can_be_repeated(
    settings: Settings, database: Database, file: Path, postgres: str, point: str
):
    url = url_of(settings)
    killed = run_program(KILLED, point, url, file, settings.home_path)
    assert killed.returncode == -9, killed.stderr
    with database.transaction() as connection:
        left = connection.execute(text("SELECT value FROM facts WHERE name = 'which'")).scalar()
    assert left == ("backed up" if point == "switch" else "damaged")
    done = restored(settings, file)
    assert which(url) == "backed up"
    names = beside(postgres, url)
    assert done.kept in names and not [name for name in names if name.startswith(PREFIX)]
    assert len(names) == (2 if point == "switch" else 1)


def test_a_connection_that_is_lost_in_the_commit_is_not_reported_as_a_failed_restore(
    settings: Settings, file: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
):
    begin, switch = psycopg.Connection.transaction, module.switch

    @contextmanager
    def lost(connection: psycopg.Connection) -> Iterator[None]:
        with begin(connection):
            yield
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    def switching(*arguments: Any, **options: Any) -> str | None:
        with monkeypatch.context() as patch:
            patch.setattr(psycopg.Connection, "transaction", lost)
            return switch(*arguments, **options)

    monkeypatch.setattr(module, "switch", switching)
    with pytest.raises(OperatorError) as raised:
        restored(settings, file)
    (old,) = beside(postgres, url_of(settings))
    assert "(server closed the connection unexpectedly)" in str(raised.value)
    assert f"It is if `aperture restore --drop-old` shows {old};" in str(raised.value)
    assert which(url_of(settings)) == "backed up"


# Refused


def test_while_a_run_is_in_progress_nothing_happens(settings: Settings, file: Path, postgres: str):
    refusal = OperatorError("Runs are in progress: sync_movies.")
    # One that has begun before, or only just now.
    for looks in ([refusal], [None, refusal]):
        with pytest.raises(OperatorError, match="Runs are in progress"):
            restored(settings, file, refuse=Mock(side_effect=looks))
    assert which(url_of(settings)) == "damaged" and not beside(postgres, url_of(settings))


def test_nothing_of_a_file_that_holds_more_than_a_backup_is_run(
    settings: Settings, file: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
):
    dump = gzip.decompress(file.read_bytes())
    end = dump.index(b"-- PostgreSQL database dump complete")
    file.write_bytes(gzip.compress(dump[:end] + b"COPY public.facts (name) TO PROGRAM 'true';\n" + dump[end:]))
    restoring = Mock(side_effect=AssertionError)
    monkeypatch.setattr(module, "restore_dump", restoring)
    with pytest.raises(OperatorError, match=r"no backup of this program does, in line \d+ \(.COPY public\.facts"):
        restored(settings, file)
    assert not restoring.called
    assert which(url_of(settings)) == "damaged" and not beside(postgres, url_of(settings))


def test_a_file_that_is_no_whole_backup_or_of_an_unknown_schema_changes_nothing(
    settings: Settings, file: Path, postgres: str
):
    whole, row = file.read_bytes(), f"COPY public.alembic_version (version_num) FROM stdin;\n{HEAD_REVISION}\n".encode()
    dump = gzip.decompress(whole)
    assert row in dump
    newer = gzip.compress(dump.replace(row, row.replace(HEAD_REVISION.encode(), b"v999")))
    for content, why in (
        (whole[:-100], "is damaged, cut off"),
        (gzip.compress(b"SET row_security = off;\n"), "is cut off"),
        (newer, "has the schema v999, of a newer version .* Restore it with the version that made it"),
    ):
        file.write_bytes(content)
        with pytest.raises(OperatorError, match=why):
            restored(settings, file)
    with pytest.raises(OperatorError, match=r"nowhere\.sql\.gz cannot be read: No such file"):
        restored(settings, file.with_name("nowhere.sql.gz"))
    assert which(url_of(settings)) == "damaged" and not beside(postgres, url_of(settings))


# Between servers


def test_a_household_moves_from_a_server_to_the_embedded_database_and_back(
    settings: Settings, file: Path, tmp_path: Path, clusters: Path, monkeypatch: pytest.MonkeyPatch
):
    copy_clusters(monkeypatch, clusters)
    embedded = load_settings(home=tmp_path / "moving")
    try:
        restored(embedded, file)
        here = make_url(product_database_url(embedded)).set(drivername="postgresql").render_as_string(False)
        run_statements(here, "UPDATE facts SET value = '\"moved\"' WHERE name = 'which'")
        there = url_of(settings)
        restored(settings, make_backup(embedded))
        assert which(there) == "moved"
    finally:
        close_engine(product_database_url(embedded))
        release_embedded_server(tmp_path / "moving" / "postgres")
