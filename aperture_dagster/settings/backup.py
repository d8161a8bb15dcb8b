"""Settings of backups."""

from pathlib import Path

from pydantic import Field

from aperture_dagster.settings.types import SettingsGroup


class BackupSettings(SettingsGroup):
    """Backups of the product's database."""

    backup_folder: Path | None = None
    """Folder for backups, preferably on another disk; accept it once with `aperture backup create --accept-folder`.
    Default: `backups` in APERTURE_HOME.
    """
    backup_keep: int = Field(default=7, ge=1)
    """Number of proven backups to keep. Older ones are deleted after a newer one has been proven."""
    backup_before_migration: bool = True
    """Whether a new version of this program makes a backup before it migrates the schema of the database. If that
    fails, nothing is migrated.
    """
