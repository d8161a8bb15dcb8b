"""A new version makes a backup of the database before it migrates the schema."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from aperture_dagster.postgres import migrate
from aperture_dagster.postgres.backup.create import create_backup
from aperture_dagster.postgres.backup.folder import read_backups
from aperture_dagster.postgres.connection import close_engine, product_database_url
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.errors import DatabaseError
from aperture_dagster.postgres.migrate import HEAD_REVISION
from aperture_dagster.settings import Settings, load_settings
from aperture_dagster_tests.cli.next_release import REVISION, next_release
from aperture_dagster_tests.databases import run_statements
from aperture_dagster_tests.marks import at_night
from aperture_dagster_tests.postgres.test_restore import HOUSEHOLD
from aperture_dagster_tests.programs import run_program


def revision(url: str) -> object:
    return run_statements(url, "SELECT version_num FROM alembic_version")[0][0]


def opened(settings: Settings) -> int:
    """Open the database as every command does; return the number of users."""
    try:
        with Database(settings).transaction() as connection:
            return connection.execute(text("SELECT count(*) FROM users")).scalar_one()
    finally:
        close_engine(product_database_url(settings))


@pytest.fixture
def household(empty: str, tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a household with the schema of this release."""

    def settings(**more: object) -> Settings:
        return load_settings(home=tmp_path, database_url=empty, **more)

    opened(settings())
    run_statements(empty, *HOUSEHOLD)
    return settings


def test_a_household_is_backed_up_and_proven_once_before_its_schema_is_migrated(
    household: Callable[..., Settings],
    empty: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    settings = household(backup_keep=2)
    nightly = create_backup(settings, datetime(2026, 5, 17, tzinfo=UTC)).path

    def fail(_connection: object) -> None:
        raise DatabaseError("The migration failed.")

    with next_release(tmp_path, monkeypatch) as new, caplog.at_level(logging.WARNING):
        # However often it is tried, no older backups expire.
        with monkeypatch.context() as patch:
            patch.setattr(migrate, "_upgrade", fail)
            for _ in range(2):
                with pytest.raises(DatabaseError, match="The migration failed"):
                    opened(settings)
        assert opened(settings) == 3 and revision(empty) == new
        opened(settings)
    before, made = read_backups(tmp_path / "backups")
    assert before.path == nightly
    assert made.is_proven and made.schema == HEAD_REVISION
    assert f"The backup before the migration is {made.path} (proven)." in caplog.messages


KILLED = """
import sys
from pathlib import Path
import pytest
from aperture_dagster.postgres import migrate
from aperture_dagster.postgres.backup import create
from aperture_dagster.settings import load_settings
from aperture_dagster_tests.cli.next_release import next_release
from aperture_dagster_tests.killing import die_at
from aperture_dagster_tests.postgres.test_migration_backup import opened

where, url, home, scripts = sys.argv[1:]
with next_release(Path(scripts), pytest.MonkeyPatch()):
    if where == "statement":
        from alembic.operations import Operations
        die_at(Operations, "execute")
    else:
        die_at(migrate, where)
    opened(load_settings(home=home, database_url=url))
"""


@pytest.mark.parametrize("where", ["statement", *at_night("_upgrade")])
def test_a_migration_that_is_killed_is_done_by_the_next_start(
    household: Callable[..., Settings], empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
):
    settings, scripts = household(), tmp_path / "killed"
    scripts.mkdir()
    killed = run_program(KILLED, where, empty, tmp_path, scripts)
    assert killed.returncode == -9, killed.stderr
    assert revision(empty) == (REVISION if where == "_upgrade" else HEAD_REVISION)
    with next_release(tmp_path, monkeypatch) as new:
        assert opened(settings) == 3 and revision(empty) == new
    # Made once, and whole, whatever was killed; the table of the migration exists once, too.
    (made,) = read_backups(tmp_path / "backups")
    assert made.schema == HEAD_REVISION
    assert run_statements(empty, "SELECT count(*) FROM made_up")[0][0] == 0
    with pytest.raises(DatabaseError, match="of a newer version of this program"):
        opened(settings)
    assert revision(empty) == new


def test_without_a_backup_nothing_is_migrated_unless_the_operator_says_so(
    household: Callable[..., Settings], empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    away = tmp_path / "not-mounted"
    with next_release(tmp_path, monkeypatch) as new:
        refusal = f"nothing was migrated.*{away}.*APERTURE_BACKUP_BEFORE_MIGRATION=false"
        with pytest.raises(DatabaseError, match=refusal):
            opened(household_settings := load_settings(home=tmp_path, database_url=empty, backup_folder=away))
        assert revision(empty) == HEAD_REVISION
        assert opened(household_settings.model_copy(update={"backup_before_migration": False})) == 3
        assert revision(empty) == new
    assert not away.exists()
