"""A backup before the schema of a household's database is migrated."""

from __future__ import annotations

import logging

from aperture_dagster.resources.clock import Clock
from aperture_dagster.settings import Settings
from aperture_dagster.storage.backup.create import create_backup
from aperture_dagster.storage.backup.errors import BackupError
from aperture_dagster.storage.errors import DatabaseError

PATIENCE_SECONDS = 600
log = logging.getLogger(__name__)


def back_up_before_migration(settings: Settings, revision: str) -> None:
    """Make a backup of a database with a schema of this revision, unless the operator does without.

    The caller holds the lock of the schema.

    Raises:
        DatabaseError: no backup could be made.
    """
    if not settings.backup_before_migration:
        return
    log.warning("The schema of the database is to be migrated from %s: making a backup first.", revision)
    try:
        report = create_backup(settings, Clock(), reason="migration", migrating=True, patience_seconds=PATIENCE_SECONDS)
    except BackupError as error:
        raise DatabaseError(
            f"The schema of the database has to be migrated from {revision}, and the backup before that failed, so "
            f"nothing was migrated. {error} Put that right, or set APERTURE_BACKUP_BEFORE_MIGRATION=false to migrate "
            "without a backup."
        ) from None
    made = report.backup
    state = "proven" if made.is_proven else f"dumped, not proven: {made.manifest.unproven_because}"
    log.warning("The backup before the migration is %s (%s).", made.path, state)
