"""A new version makes a backup of a household before it migrates the schema."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from sqlalchemy import text

from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster.storage import migrate
from aperture_dagster.storage.backup.create import create_backup
from aperture_dagster.storage.backup.manifest import read_backups
from aperture_dagster.storage.connection import close_engine, product_database_url
from aperture_dagster.storage.errors import DatabaseError
from aperture_dagster.storage.tables import HEAD_REVISION
from aperture_dagster_tests.databases import run_statements
from aperture_dagster_tests.storage.test_restore import HOUSEHOLD, at_revision


def settings_of(url: str, home: Path, **more: object) -> Settings:
    return load_settings(home=home, database_url=url, backup_accept_unmounted=True, **more)


def revision(url: str) -> object:
    return run_statements(url, "SELECT version_num FROM alembic_version")[0][0]


def opened(settings: Settings) -> int:
    """Open the database as every command does; return the number of users."""
    try:
        with Database(settings).transaction() as connection:
            return connection.execute(text("SELECT count(*) FROM users")).scalar_one()
    finally:
        close_engine(product_database_url(settings))


def test_a_household_is_backed_up_and_proven_before_its_schema_is_migrated(
    empty: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    at_revision(empty, "v1")
    run_statements(empty, *HOUSEHOLD)
    with caplog.at_level(logging.WARNING):
        assert opened(settings_of(empty, tmp_path)) == 3
    assert revision(empty) == HEAD_REVISION
    (backup,) = read_backups(tmp_path / "backups").kept
    assert backup.is_proven
    assert (backup.manifest.reason, backup.manifest.revision) == ("migration", "v1")
    assert backup.manifest.fingerprint.tables["public.users"].count == 3
    assert f"The backup before the migration is {backup.path} (proven)." in caplog.messages
    # Once it is migrated, no more are made.
    opened(settings_of(empty, tmp_path))
    assert len(read_backups(tmp_path / "backups").kept) == 1


def test_a_migration_that_fails_again_and_again_makes_one_backup_and_expires_no_older_ones(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    at_revision(empty, "v1")
    run_statements(empty, *HOUSEHOLD)
    settings = settings_of(empty, tmp_path, backup_keep=3)
    nightly = [create_backup(settings, Clock(), reason="schedule").backup.path for _ in range(2)]

    def fail(_connection: object) -> None:
        raise DatabaseError("The migration failed.")

    with monkeypatch.context() as patch:
        patch.setattr(migrate, "_upgrade", fail)
        for _ in range(8):
            with pytest.raises(DatabaseError, match="The migration failed"):
                opened(settings)
    kept = read_backups(tmp_path / "backups").kept
    assert [one.manifest.reason for one in kept] == ["schedule", "schedule", "migration"]
    assert [one.path for one in kept[:2]] == nightly
    # One that is damaged is not used again.
    kept[-1].path.write_bytes(kept[-1].path.read_bytes()[:-1])
    assert opened(settings) == 3
    assert [one.manifest.reason for one in read_backups(tmp_path / "backups").kept][-2:] == ["migration", "migration"]


def test_without_a_backup_nothing_is_migrated_unless_the_operator_says_so(empty: str, tmp_path: Path):
    at_revision(empty, "v1")
    run_statements(empty, *HOUSEHOLD)
    away = tmp_path / "not-mounted"
    with pytest.raises(DatabaseError, match=f"nothing was migrated.*{away}.*APERTURE_BACKUP_BEFORE_MIGRATION=false"):
        opened(settings_of(empty, tmp_path, backup_folder=away))
    assert revision(empty) == "v1"
    assert opened(settings_of(empty, tmp_path, backup_folder=away, backup_before_migration=False)) == 3
    assert revision(empty) == HEAD_REVISION
    assert not away.exists()


def test_a_database_without_a_household_is_migrated_at_once(empty: str, tmp_path: Path):
    at_revision(empty, "v1")
    assert opened(settings_of(empty, tmp_path)) == 0
    assert revision(empty) == HEAD_REVISION
    assert not (tmp_path / "backups").exists()
