"""The folder of the backups: which files are backups, whether it is the right folder, and what may be deleted.

A backup is proven when it has its name, ``aperture-backup-2026-05-17.sql.gz``: one that could not be restored for a
proof has ``.unproven`` in it. Every other file is foreign, and is never touched.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import make_url

from aperture_dagster.files.open_folder import Marker, OpenFolder
from aperture_dagster.files.private import FileError, prepare_home, write_file
from aperture_dagster.postgres.backup.errors import BackupError
from aperture_dagster.settings import Settings

DEFAULT = "backups"
MARKER = Marker(".aperture-backups", "Marks the folder of the backups of aperture-dagster. Do not delete.")
ACCEPT = "aperture backup create --accept-folder"
SPARE_BYTES = 1 << 30
PROVEN_WITHIN = timedelta(days=2)
LOCAL = ("", "localhost", "127.0.0.1", "::1")
CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))
_NAME = re.compile(
    r"aperture-backup-(?P<day>\d{4}-\d\d-\d\d)(?:-(?P<time>\d{6}))?(?:-schema-(?P<schema>\w+))?(?P<not>\.unproven)?\.sql\.gz"
)


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup in the folder, as its name describes it.

    Attributes:
        day: when it was made.
        time: the time of a further one of the same day, as in its name.
        schema: revision of the schema, of one that was made before a migration.
    """

    path: Path
    day: date
    time: str
    schema: str | None
    is_proven: bool
    bytes: int


def in_container() -> bool:
    """Tell whether this process runs in a container of Docker or Podman."""
    return any(map(Path.exists, CONTAINER_FILES))


def backup_folder(settings: Settings) -> Path:
    """Return the folder of the backups, absolute."""
    if settings.backup_folder is None:
        return settings.home_path / DEFAULT
    return settings.backup_folder.expanduser().resolve()


def read_backups(folder: Path) -> list[Backup]:
    """List the backups in a folder, oldest first; none if it is missing. Raises OSError if it cannot be read."""
    backups: list[Backup] = []
    for path in folder.iterdir() if folder.exists() else ():
        name = _NAME.fullmatch(path.name)
        if name is None or path.is_symlink() or not path.is_file():
            continue
        with contextlib.suppress(ValueError):
            day = date.fromisoformat(name["day"])
            proven = name["not"] is None
            backups.append(Backup(path, day, name["time"] or "", name["schema"], proven, path.stat().st_size))
    return sorted(backups, key=lambda backup: (backup.day, backup.time, backup.path.name))


def new_path(folder: Path, made_at: datetime, schema: str | None) -> Path:
    """Return the path for a proven backup made at a local time; a second one of a day is named after its time, too."""
    suffix = f"-schema-{schema}" if schema else ""
    for day in (f"{made_at:%Y-%m-%d}", f"{made_at:%Y-%m-%d-%H%M%S}"):
        path = folder / f"aperture-backup-{day}{suffix}.sql.gz"
        if not os.path.lexists(path):
            return path
    raise BackupError(f"{path} is there already: try again in a second.")


def unproven(path: Path) -> Path:
    """Return the path of a backup that could not be proven."""
    return path.with_name(path.name.removesuffix(".sql.gz") + ".unproven.sql.gz")


def expired(backups: Sequence[Backup], *, newest: Path, keep: int) -> list[Backup]:
    """Return the backups that may be deleted once ``newest`` has been proven: older ones than the ``keep`` last ones.

    Only proven ones are counted, and only those that are not dated later than the newest: the clock was wrong then, or
    is now.
    """
    today = next(backup.day for backup in backups if backup.path == newest)
    others = [backup for backup in backups if backup.path != newest and backup.day <= today]
    proven = [backup for backup in others if backup.is_proven]
    if len(proven) < keep:
        return []
    kept = proven[len(proven) - keep + 1 :]
    return others[: others.index(kept[0])] if kept else others


def why_overdue(settings: Settings, backups: Sequence[Backup], now: datetime) -> str | None:
    """Say that no backup was proven lately, or that the clock hides it; None if all is well."""
    today = now.astimezone(ZoneInfo(settings.schedule_timezone)).date()
    proven = [backup for backup in backups if backup.is_proven]
    if not proven:
        return "There is no proven backup: run `aperture backup create`."
    # Time zones differ by a day.
    dated = [backup for backup in proven if backup.day <= today + timedelta(days=1)]
    if not dated:
        return (
            f"The newest proven backup, {proven[-1].path.name}, is dated in the future: the clock was wrong then, or "
            "is now. Set it, and run `aperture backup create`."
        )
    if today - dated[-1].day <= PROVEN_WITHIN:
        return None
    return (
        f"The newest proven backup, {dated[-1].path.name}, is {(today - dated[-1].day).days} days old: look at the "
        "latest runs of database_backup, or run `aperture backup create`."
    )


def open_folder(settings: Settings, owner: Callable[[], str], *, accept: bool) -> Path:
    """Make sure that the folder is that of this installation's backups, and return it.

    The default folder is part of the home. In any other one a marker with the identity of the installation proves it: a
    share that is not mounted leaves an empty folder. The marker is made when the folder is accepted.

    Raises:
        BackupError: the folder is lost with the container, or its marker is missing or another installation's;
            nothing was written.
    """
    folder = backup_folder(settings)
    if (lost := why_lost(settings)) is not None:
        raise BackupError(f"{lost} Nothing was written.")
    try:
        if settings.backup_folder is None:
            prepare_home(settings.home_path)
            folder.mkdir(mode=0o700, exist_ok=True)
        elif accept:
            folder.mkdir(mode=0o700, exist_ok=True)
            write_file(folder / MARKER.name, MARKER.content(owner()))
        elif (marked := _read_marker(folder)) != owner():
            lacks = "belongs to the backups of another installation" if marked else "has no marker of your backups"
            raise BackupError(
                f"The folder {folder} {lacks if folder.is_dir() else 'is not there'}. Nothing was written. Make sure "
                "that its disk or share is mounted. If the folder is new or was emptied, or you restored another "
                f"database, accept it with `{ACCEPT}`."
            )
    except (OSError, FileError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BackupError(f"The folder {folder} cannot be used for backups ({reason}): choose another.") from None
    return folder


def is_in_container(folder: Path) -> bool:
    """Return whether a folder is inside a container, and lost when that is updated, rather than on a volume."""
    with contextlib.suppress(OSError):
        return in_container() and folder.stat().st_dev == Path("/").stat().st_dev
    return False


def why_lost(settings: Settings) -> str | None:
    """Say that backups would be lost with the container while the database is not; None if they are on a volume.

    Where the database is in the container as well, backups last as long as what they are of.
    """
    folder = backup_folder(settings)
    if settings.database_url is None:
        database_lasts = not is_in_container(_existing(settings.home_path))
    else:
        host = make_url(settings.database_url.get_secret_value()).host or ""
        database_lasts = host not in LOCAL and not host.startswith("/")
    if not database_lasts or not is_in_container(_existing(folder)):
        return None
    return (
        f"The folder {folder} is inside the container, and lost when that is updated: mount a volume there "
        f"(`backups:{folder}` among the volumes in the file of Compose), or set APERTURE_BACKUP_FOLDER to a folder on "
        "one."
    )


def _existing(folder: Path) -> Path:
    """Return a folder, or the nearest one above it that exists, on whose disk it will be made."""
    return next((path for path in (folder, *folder.parents) if path.exists()), folder)


def require_room(folder: Path, last_bytes: int) -> None:
    """Check that a dump somewhat larger than the last one fits. Raises BackupError."""
    free, needed = shutil.disk_usage(folder).free, last_bytes * 3 // 2
    if free < needed:
        raise BackupError(
            f"The next backup may need {in_words(needed)}, but {folder} has only {in_words(free)} left: make room, or "
            "set APERTURE_BACKUP_FOLDER to a folder on another disk."
        )


def why_no_room(home: Path, needed: int) -> str | None:
    """Say that a second copy of the embedded database does not fit on its disk; None if it does."""
    free = shutil.disk_usage(home).free
    if free >= needed + SPARE_BYTES:
        return None
    return (
        f"A restored copy needs {in_words(needed + SPARE_BYTES)} on the disk of {home}, but {in_words(free)} are free: "
        "make room there."
    )


def in_words(size: int) -> str:
    """Write a size in bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _read_marker(folder: Path) -> str | None:
    """Return the identity in the folder's marker; None without a marker or folder."""
    with contextlib.suppress(FileNotFoundError), OpenFolder.at(folder) as opened:
        return MARKER.read(opened)
    return None
