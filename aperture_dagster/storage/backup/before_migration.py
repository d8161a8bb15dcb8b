"""A backup before the schema of a household's database is migrated."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import timedelta

from aperture_dagster.resources.clock import Clock
from aperture_dagster.settings import Settings
from aperture_dagster.storage.backup.create import create_backup
from aperture_dagster.storage.backup.errors import BackupError
from aperture_dagster.storage.backup.manifest import Backup, read_backups
from aperture_dagster.storage.backup.places import backup_folder, open_folder
from aperture_dagster.storage.backup.scratch import maintenance
from aperture_dagster.storage.connection import product_database_url
from aperture_dagster.storage.errors import DatabaseError

PATIENCE_SECONDS = 600
# A migration that fails is tried again by every process, and each new backup would expire an older one.
REUSED_WITHIN = timedelta(days=1)
log = logging.getLogger(__name__)


def back_up_before_migration(settings: Settings, revision: str) -> None:
    """Make a backup of a database with a schema of this revision, unless the operator does without.

    One that an earlier attempt at the same migration made within a day is used again. The caller holds the lock of the
    schema.

    Raises:
        DatabaseError: no backup could be made.
    """
    if not settings.backup_before_migration:
        return
    clock = Clock()
    try:
        earlier = _newest_backup(settings)
        if (
            earlier is not None
            and earlier.is_proven
            and (earlier.manifest.reason, earlier.manifest.revision) == ("migration", revision)
            and abs(clock.now() - earlier.manifest.made_at) < REUSED_WITHIN
        ):
            log.warning("The backup before the migration from %s was made by an earlier attempt: %s.", revision,
                        earlier.path)  # fmt: skip
            return
        log.warning("The schema of the database is to be migrated from %s: making a backup first.", revision)
        report = create_backup(settings, clock, reason="migration", migrating=True, patience_seconds=PATIENCE_SECONDS)
    except BackupError as error:
        raise DatabaseError(
            f"The schema of the database has to be migrated from {revision}, and the backup before that failed, so "
            f"nothing was migrated. {error} Put that right, or set APERTURE_BACKUP_BEFORE_MIGRATION=false to migrate "
            "without a backup."
        ) from None
    made = report.backup
    state = "proven" if made.is_proven else f"dumped, not proven: {made.manifest.unproven_because}"
    log.warning("The backup before the migration is %s (%s).", made.path, state)


def _newest_backup(settings: Settings) -> Backup | None:
    """Return the newest backup of this installation; None if there is none. Raises BackupError."""
    with maintenance(product_database_url(settings)) as connection:
        owner = open_folder(connection, settings)
    # A folder that cannot be read is reported by the new backup.
    with suppress(OSError):
        return next((one for one in reversed(read_backups(backup_folder(settings)).kept)
                     if one.manifest.owner == owner), None)  # fmt: skip
    return None
