"""The manifest beside each dump, which says what the dump holds and whether it was proven.

A backup is two files, ``aperture-backup-2026-05-17.sql.gz`` and the same with ``.json``; copying both moves it. Every
other file in a folder is foreign, and is never touched.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from aperture_dagster.storage.backup.errors import BackupError
from aperture_dagster.storage.backup.fingerprint import Fingerprint
from aperture_dagster.storage.files import write_file

NAME = re.compile(r"aperture-backup-(\d{4}-\d\d-\d\d)(?:-(\d{6})(?:-\d+)?)?\.sql\.gz")
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
    """A dump in a folder, with its manifest."""

    path: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True)
class Backups:
    """The contents of a folder for backups.

    Attributes:
        kept: the backups by number, oldest first.
        foreign: names of everything else, and of dumps whose manifest is missing or unreadable.
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
    names = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    for name in names:
        path = folder / name
        if not NAME.fullmatch(name) or path.is_symlink() or not path.is_file():
            foreign.append(name)
            continue
        try:
            manifest = read_manifest(path)
        except BackupError:
            manifest = None
        if manifest is None:
            foreign.append(name)
        else:
            kept.append(Backup(path, manifest))
    ours = {manifest_path(one.path).name for one in kept}
    kept.sort(key=lambda one: (one.manifest.number, one.path.name))
    return Backups(tuple(kept), tuple(name for name in foreign if name not in ours))
