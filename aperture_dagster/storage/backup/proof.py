"""Prove a dump: restore it into a scratch database, and compare that with what was dumped."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from aperture_dagster.storage import locks
from aperture_dagster.storage.backup.errors import BackupError, ToolFailed
from aperture_dagster.storage.backup.fingerprint import Fingerprint, differences, read_fingerprint
from aperture_dagster.storage.backup.places import why_no_room_for_proof
from aperture_dagster.storage.backup.restore_into import restore_into
from aperture_dagster.storage.backup.scratch import EXTENSION, CannotCreate, scratch_database, with_driver
from aperture_dagster.storage.cluster import VERSION
from aperture_dagster.storage.embedded import release_embedded_server, start_embedded_server
from aperture_dagster.storage.errors import DatabaseError, is_full_disk
from aperture_dagster.storage.files import FileError, prepare_home

SHOWN = 5
FULL = "The disk became full during the proof:"
LACKS_RIGHT = ("permission denied", "must be owner")
# A name that the home knows as one of the embedded database's.
THROW_AWAY = "postgres.proof"


class Unequal(BackupError):
    """A restored dump differs from the database that was dumped."""


@dataclass(frozen=True, slots=True)
class Proof:
    """Where a dump was restored and compared, "the same server" or "a temporary server"; if nowhere, why not."""

    place: str | None
    reason: str | None = None


def prove(
    url: str,
    file: Path,
    expected: Fingerprint,
    *,
    home: Path,
    is_embedded: bool,
    database_bytes: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Proof:
    """Restore a dump beside the database of a URL, and compare it with the fingerprint.

    Without the right to create databases there, a temporary embedded server in ``home`` is used. If that does not work
    either, the result says why; that is no fault of the dump. The caller holds the lock for backups.

    Args:
        is_embedded: whether that server is the embedded one, whose disk is that of ``home``.
        database_bytes: size of the database.
        progress: called with the bytes restored so far, and all of them.

    Raises:
        BadDump: the file is damaged, incomplete or unsafe.
        Unequal: the restored database differs from the dumped one.
        ToolFailed: the dump cannot be restored.
    """
    if is_embedded and (full := why_no_room_for_proof(home, database_bytes)):
        return Proof(None, full)
    try:
        with scratch_database(url) as scratch:
            restore_and_compare(scratch, file, expected, progress=progress)
            return Proof("the same server")
    except CannotCreate as error:
        refused = str(error)
    except ToolFailed as error:
        if is_full_disk(str(error)):
            return Proof(None, f"{FULL} {error}")
        # Of an extension that only an administrator may install, for example.
        if not any(words in str(error) for words in LACKS_RIGHT):
            raise
        refused = f"The user of the database lacks a right that the proof needs: {error}"
    try:
        return prove_elsewhere(file, expected, home, database_bytes, progress)
    except CannotCreate as error:
        return Proof(None, f"{refused} A temporary server cannot be used instead: {error}")
    except ToolFailed as error:
        if is_full_disk(str(error)):
            return Proof(None, f"{refused} {FULL} {error}")
        raise ToolFailed(f"{refused} A temporary server of version {VERSION} refused it: {error}") from None


def prove_elsewhere(
    file: Path, expected: Fingerprint, home: Path, database_bytes: int, progress: Callable[[int, int], None]
) -> Proof:
    """Prove a dump on a temporary server. Raises as :func:`prove`, and CannotCreate where that is impossible."""
    foreign = sorted(set(expected.extensions) - {"plpgsql", EXTENSION})
    if foreign:
        raise CannotCreate(f"it lacks the extensions {', '.join(foreign)}.")
    if expected.server_major > VERSION:
        raise CannotCreate(f"the database runs on PostgreSQL {expected.server_major}, which is newer.")
    try:
        prepare_home(home)
        if full := why_no_room_for_proof(home, database_bytes):
            raise CannotCreate(full)
        with throw_away_server(home) as server, scratch_database(server) as scratch:
            restore_and_compare(scratch, file, expected, progress=progress)
            return Proof("a temporary server")
    except (DatabaseError, FileError, SQLAlchemyError, OSError) as error:
        raise CannotCreate(str(error)) from None


def restore_and_compare(
    url: str,
    file: Path,
    expected: Fingerprint,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Fingerprint:
    """Restore a dump into an empty database, and compare the two; return the fingerprint. Raises as :func:`prove`."""
    restore_into(url, file, progress=progress)
    engine = create_engine(with_driver(url), poolclass=NullPool)
    with engine.connect() as connection:
        found = read_fingerprint(connection)
    problems = differences(expected, found)
    if problems:
        more = f", and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise Unequal(
            f"{file} was restored, but differs from the database that was dumped: {'; '.join(problems[:SHOWN])}{more}."
        )
    return found


@contextmanager
def throw_away_server(home: Path) -> Iterator[str]:
    """Start an embedded server with no data in ``home``, and remove it afterwards; yields its URL."""
    prepare_home(home)
    folder = home / THROW_AWAY
    # Also what another process left that was killed: attaching to its server makes this process stop it.
    with locks.exclusive(home / f".{THROW_AWAY}"):
        data = folder / "postgres"
        try:
            yield start_embedded_server(data)
        finally:
            release_embedded_server(data)
            shutil.rmtree(folder, ignore_errors=True)
