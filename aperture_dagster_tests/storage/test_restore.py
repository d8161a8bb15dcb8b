"""Restoring a backup: all of it or nothing, from older schemas, between servers, and with the right refusals."""

from __future__ import annotations

import gzip
import json
import shutil
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from sqlalchemy import create_engine, make_url, text

from aperture_dagster.errors import OperatorError
from aperture_dagster.ratings.stored_accounts import void_restored_tokens
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.storage import restore as module
from aperture_dagster.storage.backup.create import create_backup
from aperture_dagster.storage.backup.fingerprint import Fingerprint, differences, read_fingerprint
from aperture_dagster.storage.backup.manifest import Backup, manifest_path
from aperture_dagster.storage.backup.scratch import CannotCreate
from aperture_dagster.storage.connection import close_engine, product_database_url
from aperture_dagster.storage.embedded import release_embedded_server
from aperture_dagster.storage.maintenance import (
    Maintenance,
    SwitchUncertain,
    drop_replaced_database,
    replaced_databases,
)
from aperture_dagster.storage.migrate import alembic_config
from aperture_dagster.storage.restore import Restored, examine_file, restore
from aperture_dagster.storage.tables import HEAD_REVISION
from aperture_dagster_tests.databases import database_copy, run_statements
from aperture_dagster_tests.forks import run_fork

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
)


@pytest.fixture(scope="module")
def filled(postgres: str) -> Iterator[str]:
    """The URL of a household's database, to copy."""
    with database_copy(postgres) as url:
        run_statements(url, *HOUSEHOLD, *ACCOUNTS)
        yield url


@pytest.fixture(scope="module")
def backup(filled: str, tmp_path_factory: pytest.TempPathFactory) -> Backup:
    """A proven backup of that database."""
    home = tmp_path_factory.mktemp("home")
    return make_backup(load_settings(home=home, database_url=filled, backup_accept_unmounted=True))


@pytest.fixture
def database_url(postgres: str, filled: str, backup: Backup) -> Iterator[str]:
    """A copy of the household's database, in which much has happened since the backup."""
    with database_copy(postgres, template=make_url(filled).database or "") as url:
        run_statements(
            url,
            "DROP TABLE discovery_vectors CASCADE",
            "DELETE FROM trakt_accounts",
            "DELETE FROM users",
            "UPDATE facts SET value = '\"damaged\"' WHERE name = 'which'",
        )
        yield url
        for name in beside(postgres, url):
            run_statements(postgres, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest.fixture
def file(backup: Backup, tmp_path: Path) -> Path:
    """A copy of the backup and its manifest."""
    for path in (backup.path, manifest_path(backup.path)):
        shutil.copy(path, tmp_path / path.name)
    return tmp_path / backup.path.name


def make_backup(settings: Settings) -> Backup:
    made = create_backup(settings, Clock(lambda: NOW), reason="command").backup
    assert made.manifest.proven
    return made


def beside(postgres: str, url: str) -> list[str]:
    """List the databases that restores made beside another."""
    name = make_url(url).database
    found = run_statements(postgres, f"SELECT datname FROM pg_database WHERE datname ~ '^{name}_(new|old)_'")
    return [str(one) for (one,) in found]


def restored(
    settings: Settings, path: Path, *, trust: bool = False, refuse: Callable[[], None] = lambda: None
) -> Restored:
    void = partial(void_restored_tokens, now=NOW)
    return restore(settings, examine_file(path, trust=trust), now=NOW, refuse_runs=refuse, make_void=void)


def which(url: str) -> Any:
    return run_statements(url, "SELECT value FROM facts WHERE name = 'which'")[0][0]


def fingerprint(url: str) -> Fingerprint:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.connect() as connection:
        found = read_fingerprint(connection)
    engine.dispose()
    return found


# The drill


def test_a_restored_database_equals_the_backup_except_for_the_tokens_of_trakt(
    settings: Settings, database: Database, backup: Backup, postgres: str, file: Path
):
    done = restored(settings, file)
    assert differences(backup.manifest.fingerprint, fingerprint(url_of(settings))) == [
        "table public.trakt_accounts has other contents"
    ]
    with database.transaction() as connection:
        accounts = connection.execute(text("SELECT state, trouble FROM trakt_accounts")).all()
    reason = "the database was restored from a backup of 2026-05-17, and the tokens in it are no longer valid"
    assert accounts == [("reconnect", reason)] * 2
    assert done == Restored(kept=done.kept, schema=HEAD_REVISION, titles=0, void_accounts=2)
    # What was replaced is kept, until it is dropped.
    url = product_database_url(settings)
    assert [one.name for one in replaced_databases(url)] == beside(postgres, url) == [done.kept]
    old = make_url(url_of(settings)).set(database=done.kept).render_as_string(hide_password=False)
    assert which(old) == "damaged"


def test_a_database_that_is_gone_is_restored(settings: Settings, file: Path, postgres: str):
    url = url_of(settings)
    run_statements(postgres, f"DROP DATABASE {make_url(url).database}")
    done = restored(settings, file)
    assert done.kept is None and which(url) == "backed up"
    assert not beside(postgres, url)


def url_of(settings: Settings) -> str:
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


# Older and other schemas


def at_revision(url: str, revision: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        config = alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def test_a_backup_of_the_first_schema_is_migrated(settings: Settings, database: Database, empty: str, tmp_path: Path):
    at_revision(empty, "v1")
    run_statements(empty, *HOUSEHOLD)
    old = make_backup(load_settings(home=tmp_path / "old", database_url=empty, backup_accept_unmounted=True))
    assert old.manifest.revision == "v1"
    done = restored(settings, old.path)
    assert done.schema == "v1"
    found = fingerprint(url_of(settings))
    assert found.revision == HEAD_REVISION
    before = old.manifest.fingerprint.tables
    assert found.tables["public.works"] == before["public.works"]
    # A migration since added a column.
    assert found.tables["public.users"].count == before["public.users"].count
    with database.transaction() as connection:
        assert connection.execute(text("SELECT count(*) FROM trakt_accounts")).scalar() == 0


def test_after_an_upgrade_the_backup_before_it_is_restored_with_the_version_before(
    settings: Settings, file: Path, postgres: str
):
    url = url_of(settings)
    run_statements(url, "UPDATE alembic_version SET version_num = 'v999'")
    kept = restored(settings, file).kept
    assert which(url) == "backed up" and kept is not None
    aside = make_url(url).set(database=kept).render_as_string(hide_password=False)
    assert run_statements(aside, "SELECT version_num FROM alembic_version") == [("v999",)]


@pytest.mark.parametrize(
    ("revision", "reason"),
    [
        (
            "0007",
            "schema 0007, which no version of this program has .* Restore it with the version that made it",
        ),
        ("v999", "has the schema v999, of a newer version .* Restore it with the version that made it"),
    ],
)
def test_a_schema_that_cannot_be_migrated_is_refused_before_anything_happens(
    settings: Settings, postgres: str, filled: str, tmp_path: Path, revision: str, reason: str
):
    with database_copy(postgres, template=make_url(filled).database or "") as other:
        run_statements(other, f"UPDATE alembic_version SET version_num = '{revision}'")
        path = make_backup(load_settings(home=tmp_path / "o", database_url=other, backup_accept_unmounted=True)).path
    with pytest.raises(OperatorError, match=reason):
        restored(settings, path)
    manifest_path(path).unlink()
    with pytest.raises(OperatorError, match=reason):
        restored(settings, path, trust=True)
    assert which(url_of(settings)) == "damaged" and not beside(postgres, url_of(settings))


# Killed


KILLED = """
import os, signal, sys
from pathlib import Path
from aperture_dagster.settings import load_settings
from aperture_dagster.storage import restore as module
from aperture_dagster_tests.storage.test_restore import restored

point, url, file, home = sys.argv[1:]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
def after(call):
    return lambda *a, **k: (call(*a, **k), die())
M = module.Maintenance
if point == "created":
    module._create = after(module._create)
elif point == "restoring":
    from aperture_dagster.storage.backup.dump_file import DumpCheck
    DumpCheck.finish = die
elif point == "restored":
    module._fill = after(module._fill)
elif point == "switched":
    M.switch = after(M.switch)
restored(load_settings(home=home, database_url=url), Path(file))
"""


@pytest.mark.parametrize(
    "point",
    [
        pytest.param(
            "created",
            marks=pytest.mark.nightly(
                reason="it restores a household twice", instead="the same test, killed while it restores"
            ),
        ),
        "restoring",
        "restored",
        "switched",
    ],
)
def test_a_restore_that_is_killed_leaves_the_old_database_or_the_new_one_and_can_be_repeated(
    settings: Settings, database: Database, file: Path, postgres: str, point: str
):
    url = url_of(settings)
    killed = run_fork(KILLED, point, url, file, settings.home_path)
    assert killed.returncode == -9, killed.stderr
    # The next command opens what is there.
    with database.transaction() as connection:
        left = connection.execute(text("SELECT value FROM facts WHERE name = 'which'")).scalar()
    assert left == ("backed up" if point == "switched" else "damaged")
    done = restored(settings, file)
    assert which(url) == "backed up"
    names = beside(postgres, url)
    assert done.kept in names and not [name for name in names if "_new_" in name]
    assert len(names) == (2 if point == "switched" else 1)


def test_a_connection_that_is_lost_in_the_commit_is_not_reported_as_a_failed_restore(
    settings: Settings, file: Path, postgres: str, monkeypatch: pytest.MonkeyPatch
):
    rename = Maintenance._rename

    def lost(work: Maintenance, driver: Any, new: str, old: str | None) -> None:
        rename(work, driver, new, old)
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(Maintenance, "_rename", lost)
    with pytest.raises(SwitchUncertain) as raised:
        restored(settings, file)
    (old,) = beside(postgres, url_of(settings))
    assert "(server closed the connection unexpectedly)" in str(raised.value)
    assert f"It is if `aperture restore --drop-old` shows {old};" in str(raised.value)
    assert which(url_of(settings)) == "backed up"


# Refused


def test_while_a_run_is_in_progress_nothing_happens(settings: Settings, file: Path, postgres: str):
    def refuse() -> None:
        raise OperatorError("Runs are in progress: sync_movies.")

    with pytest.raises(OperatorError, match="Runs are in progress"):
        restored(settings, file, refuse=refuse)
    assert which(url_of(settings)) == "damaged"
    # One that began while everybody else was being kept out.
    calls: list[int] = []

    def refuse_later() -> None:
        calls.append(1)
        if len(calls) == 2:
            refuse()

    with pytest.raises(OperatorError, match=r"sync_movies\. The database is as it was before the restore"):
        restored(settings, file, refuse=refuse_later)
    assert which(url_of(settings)) == "damaged" and not beside(postgres, url_of(settings))


def test_a_file_with_another_checksum_or_no_manifest_needs_trust(settings: Settings, file: Path):
    dump = gzip.decompress(file.read_bytes()).replace(b"backed up", b"forged up")
    file.write_bytes(gzip.compress(dump))
    with pytest.raises(OperatorError, match=r"is not the file that .* is about.*Nothing was changed.*--trust"):
        restored(settings, file)
    manifest_path(file).unlink()
    with pytest.raises(OperatorError, match=r"has no manifest.*Nothing was changed.*--trust"):
        restored(settings, file)
    assert which(url_of(settings)) == "damaged"
    restored(settings, file, trust=True)
    assert which(url_of(settings)) == "forged up"


def test_a_trusted_file_with_a_command_for_the_shell_is_refused(settings: Settings, file: Path, tmp_path: Path):
    dump = gzip.decompress(file.read_bytes())
    file.write_bytes(
        gzip.compress(dump.replace(b"\nCREATE TABLE", f"\n\\! touch {tmp_path}/owned\nCREATE TABLE".encode(), 1))
    )
    with pytest.raises(OperatorError, match="holds a command of psql"):
        restored(settings, file, trust=True)
    assert not (tmp_path / "owned").exists() and which(url_of(settings)) == "damaged"


def test_a_restored_database_that_differs_is_not_used(settings: Settings, file: Path, postgres: str):
    manifest = json.loads(manifest_path(file).read_text())
    manifest["fingerprint"]["tables"]["public.works"]["count"] += 1
    manifest_path(file).write_text(json.dumps(manifest))
    with pytest.raises(OperatorError, match=r"works has 40 rows instead of 41.*as it was before the restore"):
        restored(settings, file)
    assert which(url_of(settings)) == "damaged" and not beside(postgres, url_of(settings))


def test_a_backup_of_a_newer_server_is_refused(settings: Settings, file: Path, postgres: str):
    manifest = json.loads(manifest_path(file).read_text())
    manifest_path(file).write_text(json.dumps(manifest | {"server_major": 19}))
    with pytest.raises(OperatorError, match="made on PostgreSQL 19, but this server runs version 18"):
        restored(settings, file)
    manifest_path(file).unlink()
    dump = gzip.decompress(file.read_bytes()).replace(b"database version 18", b"database version 19", 1)
    file.write_bytes(gzip.compress(dump))
    with pytest.raises(OperatorError, match="made on PostgreSQL 19, but this server runs version 18"):
        restored(settings, file, trust=True)
    assert which(url_of(settings)) == "damaged" and not beside(postgres, url_of(settings))


def test_a_database_that_can_be_opened_but_not_imitated_is_replaced(
    settings: Settings, file: Path, monkeypatch: pytest.MonkeyPatch
):
    create = module.create_empty_database

    def damaged(url: str, name: str) -> str:
        if make_url(url).database == make_url(url_of(settings)).database:
            raise CannotCreate("could not read block 0 of pg_class")
        return create(url, name)

    monkeypatch.setattr(module, "create_empty_database", damaged)
    restored(settings, file)
    assert which(url_of(settings)) == "backed up"


# Rights


@pytest.mark.parametrize(
    ("right", "is_owner", "refusal"),
    [
        ("", True, 'ALTER ROLE "{role}" CREATEDB'),
        ("CREATEDB", False, "cannot be closed for the restore: must be owner"),
        ("CREATEDB", True, None),
    ],
)
def test_a_role_that_is_no_superuser_restores_if_it_owns_the_database_and_may_create_others(
    settings: Settings, file: Path, postgres: str, tmp_path: Path, right: str, is_owner: bool, refusal: str | None
):
    role = f"plain_{uuid.uuid4().hex[:8]}"
    own = make_url(url_of(settings))
    template = f"{role}_template"
    run_statements(
        postgres,
        f"CREATE ROLE {role} LOGIN {right}",
        f"ALTER DATABASE {own.database} OWNER TO {role if is_owner else 'postgres'}",
        f"CREATE DATABASE {template} IS_TEMPLATE true TEMPLATE template0",
    )
    run_statements(own.set(database=template).render_as_string(hide_password=False), "CREATE EXTENSION vector")
    url = own.set(username=role).render_as_string(hide_password=False)
    limited = load_settings(home=tmp_path / "home", database_url=url)
    try:
        if refusal is None:
            restored(limited, file)
            assert which(url) == "backed up"
            (old,) = replaced_databases(product_database_url(limited))
            drop_replaced_database(product_database_url(limited), old.name)
        else:
            with pytest.raises(OperatorError, match=f"{refusal.format(role=role)}.*as it was before the restore"):
                restored(limited, file)
            assert which(url_of(settings)) == "damaged"
        assert not beside(postgres, url)
    finally:
        close_engine(product_database_url(limited))
        run_statements(
            postgres,
            f"ALTER DATABASE {template} IS_TEMPLATE false",
            f"DROP DATABASE {template}",
            f"DROP DATABASE IF EXISTS {own.database} WITH (FORCE)",
            f"DROP ROLE {role}",
        )


# Between servers


def test_a_household_moves_from_the_embedded_database_to_a_server_and_back(
    settings: Settings, file: Path, tmp_path: Path
):
    embedded = load_settings(home=tmp_path / "moving", backup_accept_unmounted=True)
    try:
        restored(embedded, file)
        here = make_url(product_database_url(embedded)).set(drivername="postgresql").render_as_string(False)
        run_statements(here, "UPDATE facts SET value = '\"moved\"' WHERE name = 'which'")
        there = url_of(settings)
        restored(settings, make_backup(embedded).path)
        assert which(there) == "moved"
        assert not differences(fingerprint(here), fingerprint(there))
        run_statements(there, "UPDATE facts SET value = '\"back again\"' WHERE name = 'which'")
        moved = load_settings(home=tmp_path / "moving", database_url=there, backup_accept_unmounted=True)
        restored(embedded, make_backup(moved).path)
        assert which(here) == "back again"
    finally:
        close_engine(product_database_url(embedded))
        release_embedded_server(tmp_path / "moving" / "postgres")
