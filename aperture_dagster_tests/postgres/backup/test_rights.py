"""Proofs on an external server: with the rights that its users usually have and lack, and of another version."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import make_url

from aperture_dagster.postgres import cluster
from aperture_dagster.postgres.backup.create import BackupReport
from aperture_dagster.postgres.backup.folder import backup_folder, read_backups
from aperture_dagster.postgres.connection import close_engine, open_engine, product_database_url
from aperture_dagster.postgres.embedded import release_embedded_server, start_embedded_server
from aperture_dagster.postgres.restore import restore
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster_tests.databases import as_superuser, database_copy, run_statements

BackUp = Callable[..., BackupReport]
# What a server since November 2026 has in its catalogue.
COLUMN_VERSIONS = (
    "SET allow_system_table_mods = on",
    "UPDATE pg_attribute SET attoptions = '{pg_attver=35775224}' WHERE attrelid IN "
    "(SELECT oid FROM pg_class WHERE relnamespace = 'public'\\:\\:regnamespace AND relkind = 'r')",
    "RESET allow_system_table_mods",
)


@pytest.fixture
def role(postgres: str, filled: str) -> Iterator[tuple[str, str]]:
    """A role without any right that owns a database and everything in it; with the database's URL."""
    with database_copy(postgres, filled) as url:
        name = f"owner_{make_url(url).database}"
        tables = run_statements(
            as_superuser(url),
            f"CREATE ROLE {name} LOGIN",
            f"ALTER DATABASE {make_url(url).database} OWNER TO {name}",
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = 'public' "
            "AND relkind IN ('r', 'v') OR c.relname = 'item_id_seq'",
        )
        run_statements(as_superuser(url), *(f"ALTER TABLE {table} OWNER TO {name}" for (table,) in tables))
        yield name, make_url(url).set(username=name).render_as_string(hide_password=False)
    run_statements(postgres, f"DROP ROLE {name}")


@pytest.fixture
def owners(role: tuple[str, str], make_settings: Callable[..., Settings]) -> Iterator[Settings]:
    settings = make_settings(database_url=role[1], backup_keep=1)
    yield settings
    close_engine(role[1].replace("postgresql://", "postgresql+psycopg://"))


def test_a_proof_with_the_rights_that_there_are(
    role: tuple[str, str], owners: Settings, back_up: BackUp, postgres: str
):
    name, folder = role[0], backup_folder(owners)
    # Kept but not counted, and named as such.
    report = back_up(settings=owners)
    assert f'have an administrator run ALTER ROLE "{name}" CREATEDB' in (report.unproven_because or "")
    assert [one.is_proven for one in read_backups(folder)] == [False]
    assert report.path.name.endswith(".unproven.sql.gz")

    run_statements(postgres, f"ALTER ROLE {name} CREATEDB")
    proven = back_up(settings=owners)
    assert proven.unproven_because is None
    assert proven.path in [one.path for one in read_backups(folder)]
    # The database has something that is not this program's: the dump is kept, and nothing is deleted for it.
    run_statements(role[1], "CREATE FUNCTION nothing() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    report = back_up(settings=owners)
    assert re.search(r"added to the database, .* line \d+ \('CREATE FUNCTION", report.unproven_because or "")
    assert report.deleted == () and proven.path.exists()


def test_a_backup_of_an_older_server_of_a_newer_minor_release_is_proven_and_restored_into_the_embedded_one(
    back_up: BackUp, make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = tmp_path / "old" / "postgres"
    with monkeypatch.context() as patched:
        patched.setattr(cluster, "VERSION", 16)
        patched.setattr(cluster, "LOCALE", ())
        url = start_embedded_server(data)
    product = make_url(url).set(database="product").render_as_string(hide_password=False)
    try:
        run_statements(url, "CREATE DATABASE product")
        settings = make_settings(database_url=product)
        open_engine(settings)
        run_statements(product, "INSERT INTO works (media_type) VALUES ('movie')")
        run_statements(as_superuser(product), *COLUMN_VERSIONS)
        # This program's client writes settings and options that such a server does not know.
        made = back_up(settings=settings)
        assert made.unproven_because is None
    finally:
        close_engine(product.replace("postgresql://", "postgresql+psycopg://"))
        release_embedded_server(data)
    embedded = load_settings(home=tmp_path / "embedded")
    try:
        restore(embedded, made.path, now=datetime.now(UTC), refuse_runs=lambda: None, void=lambda *_: 0)
        restored = make_url(product_database_url(embedded)).set(drivername="postgresql").render_as_string(False)
        assert run_statements(restored, "SELECT count(*) FROM works") == [(1,)]
    finally:
        close_engine(product_database_url(embedded))
        release_embedded_server(tmp_path / "embedded" / "postgres")
