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
    backup_vectors: bool = True
    """Whether backups hold the vectors of titles. They are most of its size; without them, all titles are embedded
    again after a restore.
    """
    backup_accept_unmounted: bool = False
    """Whether backups count as proven although their folder is inside a container's own file system or in memory, and
    disappears with it.
    """
    backup_before_migration: bool = True
    """Whether a new version of this program makes a backup before it migrates the schema of the database. If that
    fails, nothing is migrated.
    """
