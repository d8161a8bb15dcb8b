"""Proofs on an external server, with the rights that its users usually have and lack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from aperture_dagster.settings import Settings
from aperture_dagster.storage import cluster
from aperture_dagster.storage.backup import proof
from aperture_dagster.storage.backup.create import BackupReport
from aperture_dagster.storage.backup.manifest import read_backups
from aperture_dagster.storage.backup.places import backup_folder
from aperture_dagster.storage.backup.verify import verify_backup
from aperture_dagster.storage.connection import close_engine, open_engine
from aperture_dagster.storage.embedded import release_embedded_server, start_embedded_server
from aperture_dagster_tests.databases import database_copy, run_statements

BackUp = Callable[..., BackupReport]
TEMPLATE = "CREATE DATABASE rights_template IS_TEMPLATE true TEMPLATE template0"


@pytest.fixture
def role(postgres: str, filled: str) -> Iterator[tuple[str, str]]:
    """A role without any right that owns a database and everything in it but pgvector; with the database's URL."""
    with database_copy(postgres, filled) as url:
        name = f"owner_{make_url(url).database}"
        tables = run_statements(
            url,
            f"CREATE ROLE {name} LOGIN",
            f"ALTER DATABASE {make_url(url).database} OWNER TO {name}",
            "SELECT c.relname, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE "
            "n.nspname = 'public' AND relkind IN ('r', 'v') OR c.relname = 'item_id_seq'",
        )
        names = {"r": "TABLE", "v": "VIEW", "S": "SEQUENCE"}
        run_statements(url, *(f"ALTER {names[str(one)]} {table} OWNER TO {name}" for table, one in tables))
        yield name, make_url(url).set(username=name).render_as_string(hide_password=False)
    run_statements(postgres, f"DROP ROLE {name}")


@pytest.fixture
def owners(role: tuple[str, str], make_settings: Callable[..., Settings]) -> Iterator[Settings]:
    settings = make_settings(database_url=role[1], backup_accept_unmounted=True, backup_keep=1)
    yield settings
    close_engine(role[1].replace("postgresql://", "postgresql+psycopg://"))


def test_a_proof_with_the_rights_that_there_are(
    role: tuple[str, str], owners: Settings, back_up: BackUp, postgres: str, monkeypatch: pytest.MonkeyPatch
):
    name, _ = role
    # Without any right, on a temporary server, of which nothing is left.
    first = back_up(settings=owners)
    assert first.backup.manifest.proven == "a temporary server"
    assert not (owners.home_path / proof.THROW_AWAY).exists()

    # Neither is possible: kept but not counted, and nothing is deleted for it.
    monkeypatch.setattr(proof, "VERSION", 17)
    report = back_up(settings=owners)
    reason = report.backup.manifest.unproven_because or ""
    assert report.backup.manifest.proven is None and report.deleted == ()
    assert f'have an administrator run ALTER ROLE "{name}" CREATEDB' in reason
    assert "runs on PostgreSQL 18, which is newer" in reason

    # The right to create databases is not that to install pgvector, unless a template has it.
    run_statements(postgres, f"ALTER ROLE {name} CREATEDB")
    report = back_up(settings=owners)
    assert "have a superuser create a template" in (report.backup.manifest.unproven_because or "")
    template = make_url(postgres).set(drivername="postgresql", database="rights_template").render_as_string()
    run_statements(postgres, TEMPLATE)
    try:
        run_statements(template, "CREATE EXTENSION vector")
        report = back_up(settings=owners)
        assert report.backup.manifest.proven == "the same server"
        kept = read_backups(backup_folder(owners)).kept
        assert [one.path for one in kept] == [report.backup.path], "older ones go once a newer one is proven"

        # The dump has something that only a superuser may make: it is kept, too.
        run_statements(
            make_url(role[1]).set(username=make_url(postgres).username).render_as_string(hide_password=False),
            "CREATE FUNCTION nothing() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'",
            "CREATE EVENT TRIGGER nothing ON ddl_command_end EXECUTE FUNCTION nothing()",
        )
        report = back_up(settings=owners)
        assert "permission denied to create event trigger" in (report.backup.manifest.unproven_because or "")
    finally:
        run_statements(postgres, "ALTER DATABASE rights_template IS_TEMPLATE false", "DROP DATABASE rights_template")


def test_a_backup_is_verified_without_its_database(settings: Settings, back_up: BackUp, tmp_path: Path):
    backup = back_up().backup
    unreachable = settings.model_copy(update={"database_url": None, "home": tmp_path / "other"})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "postgres").write_text("no folder")
    assert verify_backup(unreachable, backup.path).place == "a temporary server"


def test_a_server_that_is_older_than_the_clients(
    back_up: BackUp, make_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    data = tmp_path / "old" / "postgres"
    with monkeypatch.context() as patched:
        patched.setattr(cluster, "VERSION", 16)
        url = start_embedded_server(data)
    product = make_url(url).set(database="product").render_as_string(hide_password=False)
    try:
        run_statements(url, "CREATE DATABASE product")
        settings = make_settings(database_url=product, backup_accept_unmounted=True)
        open_engine(settings)
        # The dump sets parameters that only newer servers know.
        manifest = back_up(settings=settings).backup.manifest
        assert (manifest.server_major, manifest.client_major) == (16, 18)
        assert manifest.proven == "the same server"
    finally:
        close_engine(product.replace("postgresql://", "postgresql+psycopg://"))
        release_embedded_server(data)
