"""A backup that is killed at any step costs nothing but itself, and the next one is whole."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from aperture_dagster.postgres.backup import backup_folder, read_backups
from aperture_dagster.postgres.backup.create import BackupReport
from aperture_dagster.settings import Settings
from aperture_dagster_tests.forks import run_fork
from aperture_dagster_tests.household import SetClock
from aperture_dagster_tests.postgres.backup.test_create import files, scratch_databases

KILLED = """
import sys
from datetime import datetime
from pathlib import Path
from aperture_dagster.postgres.backup import create
from aperture_dagster.postgres.connection import ensure_owner
from aperture_dagster.settings import load_settings
from aperture_dagster_tests.killing import die_at

name, when, url, home, now, keep = sys.argv[1:]
die_at(create, name, when)
settings = load_settings(home=home, database_url=url, backup_keep=int(keep))
create.create_backup(settings, datetime.fromisoformat(now), ensure_owner)
"""


def test_backups_that_are_killed_leave_the_others_and_the_next_one_is_whole(
    back_up: Callable[..., BackupReport], settings: Settings, clock: SetClock, postgres: str
):
    first = back_up()
    assert settings.database_url is not None
    url, made = settings.database_url.get_secret_value(), 1
    for name, when, is_made in (("restore_dump", "after", False), ("_delete_expired", "before", True)):
        before = files(settings)
        clock.moment += timedelta(days=1)
        killed = run_fork(KILLED, name, when, url, settings.home_path, clock.now().isoformat(), "2")
        assert killed.returncode == -9, killed.stderr
        lost = before.keys() - files(settings).keys()
        assert all(name.endswith(".partial") for name in lost), lost
        made += is_made
        assert len(read_backups(backup_folder(settings))) == made
    clock.moment += timedelta(days=1)
    last = back_up()
    # As if nothing had been killed: the same rows, as many files as the setting says, and nothing beside them.
    assert (last.rows, last.unproven_because) == (first.rows, None)
    names = {path.name for path in map(Path, files(settings)) if "backup-" in path.name}
    assert names == {one.path.name for one in read_backups(backup_folder(settings))} and len(names) == 2
    assert not scratch_databases(postgres)
