"""The folder of the backups: whether it is the right one, whether it lasts, and whether there is room."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from aperture_dagster.open_folder import Marker, OpenFolder
from aperture_dagster.settings import Settings
from aperture_dagster.storage.backup.errors import BackupError
from aperture_dagster.storage.files import FileError, prepare_home, write_file
from aperture_dagster.storage.owner import ensure_owner
from aperture_dagster.storage.queries import execute, read_value

FACT = "backups"
MARKER = ".aperture-backups"
DEFAULT = "backups"
SPARE_BYTES = 1 << 30
ACCEPT = "aperture backup create --accept-folder"
_MARKER = Marker(MARKER, "Marks the folder of the backups of aperture-dagster. Do not delete.")
IN_MEMORY = ("tmpfs", "ramfs")
CONTAINER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))
# Docker's folder of a volume that nobody named, which is replaced when the container is.
_ANONYMOUS = re.compile(r"/volumes/[0-9a-f]{64}/_data\b")


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system: its folder, the part of the file system that is mounted there, and its type."""

    folder: Path
    root: str
    type: str


def backup_folder(settings: Settings) -> Path:
    """Return the folder of the backups, absolute."""
    if settings.backup_folder is None:
        return settings.shared_path / DEFAULT
    return settings.backup_folder.expanduser().resolve()


def open_folder(connection: Connection, settings: Settings, *, accept: bool = False) -> str:
    """Make sure that the folder is that of this installation's backups; return the installation's identity.

    A marker in the folder proves it: a share that is not mounted leaves an empty folder. The marker is made when the
    folder is accepted, and for the default folder of a new installation without asking.

    Raises:
        BackupError: the marker is missing, or another installation's; nothing was written.
    """
    folder, is_default = backup_folder(settings), settings.backup_folder is None
    known = read_value(connection, "SELECT value FROM facts WHERE name = :name", name=FACT)
    owner, marked = known["owner"] if known else None, _read_marker(folder)
    # Restored on another machine, or with another home.
    moved = known is not None and known["folder"] != str(folder)
    if owner is not None and marked == owner:
        if moved:
            _remember(connection, owner, folder)
        return owner
    if marked is not None and not accept:
        raise BackupError(
            f"The folder {folder} belongs to the backups of another installation. Nothing was written. Set "
            f"APERTURE_BACKUP_FOLDER to another folder, or use this one from now on with `{ACCEPT}`."
        )
    if not accept and not (is_default and (known is None or moved)):
        lacks = "is not there" if not folder.is_dir() else f"has no marker ({MARKER}) of this installation's backups"
        raise BackupError(
            f"The folder {folder} {lacks}. Nothing was written. Make sure that its disk or share is mounted. If the "
            f"folder is new or was emptied, accept it with `{ACCEPT}`."
        )
    owner = owner or ensure_owner(connection)
    try:
        if is_default:
            prepare_home(settings.home_path)
        with contextlib.suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        write_file(folder / MARKER, _MARKER.content(owner))
    except (OSError, FileError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BackupError(f"The folder {folder} cannot be used for backups ({reason}): choose another.") from None
    _remember(connection, owner, folder)
    return owner


def why_not_lasting(folder: Path, mounts: list[Mount], *, in_container: bool) -> str | None:
    """Say why files in a folder would not survive an update of the container or a restart; None if they do."""
    around = [one for one in mounts if folder.is_relative_to(one.folder)]
    if not around:
        return None
    # Of several that are mounted on one folder, the last one is visible.
    mount = max(reversed(around), key=lambda one: len(one.folder.parts))
    if mount.type in IN_MEMORY:
        return f"The folder {folder} is in memory ({mount.type}) and is lost at the next restart."
    if mount.type == "overlay" or (in_container and mount.folder == Path("/")):
        return f"The folder {folder} is inside the container and is lost when the container is updated: mount a volume."
    if _ANONYMOUS.search(mount.root):
        return f"The folder {folder} is on a volume without a name, which an update replaces: mount a named one."
    return None


def read_mounts(path: Path = Path("/proc/self/mountinfo")) -> list[Mount]:
    """Read the mounted file systems of this process; empty where the system does not list them."""
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    mounts: list[Mount] = []
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, types = before.split(" "), after.split(" ")
        if len(fields) > 4 and types:
            mounts.append(Mount(Path(_decode(fields[4])), _decode(fields[3]), types[0]))
    return mounts


def in_container(mounts: list[Mount], files: Iterable[Path] = CONTAINER_FILES) -> bool:
    """Return whether this process runs in a container, by its root or by a file that engines leave there."""
    root = any(one.folder == Path("/") and one.type == "overlay" for one in mounts)
    return root or any(file.exists() for file in files)


def shares_disk(folder: Path, other: Path) -> bool:
    """Return whether two folders are on one disk, as far as the system shows."""
    with contextlib.suppress(OSError):
        return folder.stat().st_dev == other.stat().st_dev
    return False


def why_no_room_for_proof(data: Path, database_bytes: int) -> str | None:
    """Say that a second copy of the database does not fit on a disk; None if it does."""
    free, needed = shutil.disk_usage(data).free, 2 * database_bytes + SPARE_BYTES
    if free >= needed:
        return None
    return (
        f"Restoring it for the proof needs {in_words(needed)} on the disk of {data}, but {in_words(free)} are free: "
        "make room there."
    )


def require_room(folder: Path, last_bytes: int) -> None:
    """Check that a dump somewhat larger than the last one fits. Raises BackupError."""
    free, needed = shutil.disk_usage(folder).free, last_bytes * 3 // 2
    if free < needed:
        raise BackupError(
            f"The next backup may need {in_words(needed)}, but {folder} has only {in_words(free)} left. Nothing was "
            "written and all backups are kept: make room, or set APERTURE_BACKUP_FOLDER to a folder on another disk."
        )


def sync_folder(folder: Path) -> None:
    """Make renamed and deleted files of a folder survive a power failure, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems cannot.
        with contextlib.suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def in_words(size: int) -> str:
    """Write a size in bytes for people."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


def _remember(connection: Connection, owner: str, folder: Path) -> None:
    statement = """
        INSERT INTO facts (name, value) VALUES (:name, CAST(:value AS jsonb))
        ON CONFLICT (name) DO UPDATE SET value = excluded.value, updated_at = now()"""
    execute(connection, statement, name=FACT, value=json.dumps({"owner": owner, "folder": str(folder)}))


def _read_marker(folder: Path) -> str | None:
    """Return the identity in the folder's marker; None without one. A damaged marker belongs to nobody known."""
    try:
        with OpenFolder.at(folder) as opened:
            return _MARKER.read(opened)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise BackupError(
            f"{folder / MARKER} belongs to another user, and cannot be read. Nothing was written. Give the folder and "
            "its files to the user that this program runs as."
        ) from None
    except OSError:
        return ""


def _decode(field: str) -> str:
    """Decode the octal escapes of the kernel."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)
