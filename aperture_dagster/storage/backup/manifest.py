"""The manifest beside each dump, which says what the dump holds and whether it was proven.

A backup is two files, ``aperture-backup-2026-05-17.sql.gz`` and the same with ``.json``; copying both moves it. Every
other file in a folder is foreign, and is never touched.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from aperture_dagster.storage.backup.errors import BackupError
from aperture_dagster.storage.backup.fingerprint import Fingerprint
from aperture_dagster.storage.files import write_file

NAME_PREFIX = "aperture-backup-"
_NAME = re.compile(rf"{NAME_PREFIX}(\d{{4}}-\d\d-\d\d)(?:-\d{{6}})?(?:-\d+)?\.sql\.gz")
MANIFEST_SUFFIX = ".json"
LONGEST_MANIFEST = 16 << 20


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known about a dump.

    Attributes:
        owner: identity of the installation that made it.
        number: position among the backups of this installation; the clock may go back, this does not.
        sha256: checksum of the file.
        bytes: size of the file.
        text_bytes: size without compression.
        made_at: instant of the snapshot.
        day: that instant's date in the time zone of the schedules.
        reason: what made it: "schedule", "command" or "migration".
        server_major: major version of the server.
        client_major: major version of pg_dump.
        pgvector: version of pgvector, which a database must have before it is restored.
        proven: where it was restored and compared; None if it was not.
        unproven_because: why not.
        left_out: tables without their rows.
        fingerprint: what the database contained.
    """

    owner: str
    number: int
    sha256: str
    bytes: int
    text_bytes: int
    made_at: datetime
    day: date
    reason: str
    server_major: int
    client_major: int
    pgvector: str | None
    proven: str | None
    unproven_because: str | None
    left_out: tuple[str, ...]
    fingerprint: Fingerprint
    format: Literal[1] = 1

    @property
    def revision(self) -> str | None:
        """Revision of the schema in the dump."""
        return self.fingerprint.revision


@dataclass(frozen=True, slots=True)
class Backup:
    """A dump in a folder, with its manifest and its present size."""

    path: Path
    manifest: Manifest
    bytes: int

    @property
    def is_proven(self) -> bool:
        """Whether it was proven, and its file still has the size that it had then."""
        return self.manifest.proven is not None and self.bytes == self.manifest.bytes

    @property
    def day(self) -> date:
        """The date in its name."""
        return date.fromisoformat(self.path.name.removeprefix(NAME_PREFIX)[:10])


@dataclass(frozen=True, slots=True)
class Backups:
    """The contents of a folder for backups.

    Attributes:
        kept: the backups by number, oldest first.
        foreign: names of everything else, such as dumps and manifests of which the other is missing or unreadable.
    """

    kept: tuple[Backup, ...]
    foreign: tuple[str, ...]


def manifest_path(path: Path) -> Path:
    """Return the path of a dump's manifest."""
    return path.with_name(path.name + MANIFEST_SUFFIX)


def read_manifest(path: Path) -> Manifest | None:
    """Read the manifest of a dump; None if there is none.

    Raises:
        BackupError: it is unreadable.
    """
    try:
        with manifest_path(path).open("rb") as file:
            content = file.read(LONGEST_MANIFEST)
    except FileNotFoundError:
        return None
    except PermissionError:
        raise BackupError(f"{manifest_path(path)} belongs to another user, and cannot be read.") from None
    try:
        return _adapter().validate_json(content)
    except ValidationError:
        raise BackupError(
            f"{manifest_path(path)} is not a manifest that this program can read: it is damaged, or a newer version "
            "wrote it."
        ) from None


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write the manifest of a dump atomically. Raises FileError."""
    write_file(manifest_path(path), _adapter().dump_json(manifest, indent=1))


@functools.cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def read_backups(folder: Path) -> Backups:
    """List the backups in a folder, and the names of what else is there. A missing folder has none.

    Raises:
        OSError: the folder cannot be read.
    """
    kept: list[Backup] = []
    foreign: list[str] = []
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith(".")) if folder.exists() else []
    names = {path.name for path in paths}
    for path in paths:
        dump = path.with_name(path.name.removesuffix(MANIFEST_SUFFIX))
        if not _is_name(dump.name) or path.is_symlink() or not path.is_file():
            foreign.append(path.name)
        elif dump != path:
            # Seen with its dump, if that is there.
            if dump.name not in names:
                foreign.append(path.name)
        else:
            try:
                manifest = read_manifest(path)
            except BackupError:
                manifest = None
            if manifest is None:
                foreign.append(path.name)
            else:
                kept.append(Backup(path, manifest, path.stat().st_size))
    kept.sort(key=lambda one: (one.manifest.number, one.path.name))
    return Backups(tuple(kept), tuple(foreign))


def new_path(folder: Path, made_at: datetime) -> Path:
    """Return the path for a backup made at a local time; a second one of a day is named after its time, too."""
    day = f"{NAME_PREFIX}{made_at:%Y-%m-%d}"
    names = itertools.chain(
        [day, f"{day}-{made_at:%H%M%S}"], (f"{day}-{made_at:%H%M%S}-{n}" for n in itertools.count(2))
    )
    paths = (folder / f"{name}.sql.gz" for name in names)
    return next(path for path in paths if not os.path.lexists(path) and not os.path.lexists(manifest_path(path)))


def _is_name(name: str) -> bool:
    found = _NAME.fullmatch(name)
    try:
        return found is not None and date.fromisoformat(found[1]) is not None
    except ValueError:
        return False
