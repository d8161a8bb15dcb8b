"""Make a backup: dump, check, prove, rename, and only then delete old ones."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Literal
from uuid import uuid4
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from aperture_dagster.resources.clock import Clock
from aperture_dagster.settings import Settings
from aperture_dagster.storage.backup.dump_file import CHUNK, DumpContents, check_dump
from aperture_dagster.storage.backup.errors import BackupError, ToolFailed
from aperture_dagster.storage.backup.fingerprint import Fingerprint, read_fingerprint
from aperture_dagster.storage.backup.lock import backup_lock
from aperture_dagster.storage.backup.manifest import (
    Backup,
    Manifest,
    manifest_path,
    new_path,
    read_backups,
    write_manifest,
)
from aperture_dagster.storage.backup.places import (
    MARKER,
    backup_folder,
    in_container,
    open_folder,
    read_mounts,
    require_room,
    shares_disk,
    sync_folder,
    why_not_lasting,
)
from aperture_dagster.storage.backup.proof import Proof, prove
from aperture_dagster.storage.backup.retention import expired, is_future
from aperture_dagster.storage.backup.scratch import EXTENSION, with_driver
from aperture_dagster.storage.backup.tools import (
    OLDEST,
    PgDump,
    Version,
    find_pg_dump,
    major_and_minor,
    running_tool,
    version_in_words,
)
from aperture_dagster.storage.connection import product_database_url
from aperture_dagster.storage.errors import describe_connection_error, describe_full_disk, is_full_disk
from aperture_dagster.storage.files import FileError
from aperture_dagster.storage.queries import execute, read_value
from aperture_dagster.storage.schema_lock import schema_lock

Reason = Literal["schedule", "command", "migration"]
Progress = Callable[[str, int, int], None]
# Higher levels take several times as long for a file that is a little smaller.
COMPRESSION = 1
LOCK_WAIT_SECONDS = 60
# pg_dump limits its statements while it takes locks.
LOCK_TIMEOUTS = ("canceling statement due to statement timeout", "canceling statement due to lock timeout")
# Tables with vectors, which can be computed again.
VECTOR_TABLES = ("public.embeddings", "public.discovery_vectors")
# Of a dump, and of what is written atomically beside it.
_PARTIAL = re.compile(
    rf"\.aperture-backup-(?:[0-9a-f]{{32}}\.partial|[-0-9]+\.sql\.gz\.json-\w{{8}})|{re.escape(MARKER)}-\w{{8}}"
)


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What :func:`create_backup` did.

    Attributes:
        backup: the new backup.
        notes: what the operator should know about it or its folder, in sentences.
        deleted: names of the old backups that were deleted.
        kept: all backups of the folder by number, oldest first.
        seconds: how long each stage took.
    """

    backup: Backup
    notes: tuple[str, ...]
    deleted: tuple[str, ...]
    kept: tuple[Backup, ...]
    seconds: dict[str, float]


@dataclass(slots=True)
class _Stages:
    """Reports the progress of stages and measures how long each takes."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[int, int], None]]:
        started = time.monotonic()
        self.progress(name, 0, 0)
        yield lambda done, total: self.progress(name, done, total)
        self.seconds[name] = round(time.monotonic() - started, 2)


def create_backup(
    settings: Settings,
    clock: Clock,
    *,
    reason: Reason,
    accept_folder: bool = False,
    migrating: bool = False,
    patience_seconds: float = 0,
    progress: Progress = lambda stage, done, total: None,
) -> BackupReport:
    """Make a backup of the product's database in the configured folder, prove it, and delete expired ones.

    A backup that cannot be proven, because a right, room or a lasting folder is missing, is kept and marked as such;
    nothing is deleted for it.

    Args:
        reason: what the backup is made for.
        accept_folder: use the folder although it is new or was emptied.
        migrating: whether the caller holds the lock of the schema.
        patience_seconds: how long to wait for another backup that is being made.
        progress: called with the name of a stage, and what was done of how much in bytes; 0 where that is unknown.

    Raises:
        BackupError: no backup was made; existing ones are unchanged.
        DatabaseError: the server cannot be started, or the database is being restored.
    """
    url = product_database_url(settings)
    try:
        with backup_lock(url, patience_seconds=patience_seconds) as connection:
            execute(connection, f"SET lock_timeout = '{LOCK_WAIT_SECONDS}s'")
            if read_value(connection, "SELECT to_regclass('public.alembic_version')") is None:
                raise BackupError("The database holds no schema of this program yet: there is nothing to back up.")
            owner = open_folder(connection, settings, accept=accept_folder)
            return _create(settings, clock, url, connection, owner, reason, migrating, _Stages(progress))
    except BackupError as error:
        why = str(error)
    except SQLAlchemyError as error:
        why = describe_full_disk(error) if is_full_disk(error) else describe_connection_error(error)
    except OSError as error:
        why = (
            f"{backup_folder(settings)} cannot be written ({error.strerror or error}): make room there, or set "
            "APERTURE_BACKUP_FOLDER to another folder."
        )
    if any(one in why for one in LOCK_TIMEOUTS):
        why = f"Another session has locked a table for more than {LOCK_WAIT_SECONDS} seconds: end it first."
    raise BackupError(f"No backup was made; existing ones are kept. {why}")


def _create(
    settings: Settings,
    clock: Clock,
    url: str,
    connection: Connection,
    owner: str,
    reason: Reason,
    migrating: bool,
    stages: _Stages,
) -> BackupReport:
    folder = backup_folder(settings)
    _remove_partial_files(folder)
    before = read_backups(folder).kept
    require_room(folder, max((one.bytes for one in before[-1:]), default=0))
    server = major_and_minor(int(read_value(connection, "SHOW server_version_num")))
    pg_dump = find_pg_dump(server)
    notes: list[str] = []
    partial = folder / f".aperture-backup-{uuid4().hex}.partial"
    try:
        with _lock_schema(connection, held=migrating):
            # Within the lock, since a migration may have waited for the last one.
            made_at = clock.now()
            written, expected = _dump(url, pg_dump.path, partial, settings.backup_vectors, stages, notes)
        with stages.stage("check"):
            contents = check_dump(partial)
        if (contents.bytes, contents.sha256) != (written.bytes, written.sha256):
            raise BackupError(f"{folder} does not give back what was written to it: examine its disk.")
        expected = _with_sequences(expected, contents)
        with stages.stage("proof") as report:
            try:
                proof = _prove(settings, url, connection, partial, expected, report)
            except ToolFailed as error:
                raise BackupError(_why_not_restorable(str(error), pg_dump, server)) from None
        local = made_at.astimezone(ZoneInfo(settings.schedule_timezone))
        manifest = Manifest(
            owner=owner,
            number=max((one.manifest.number for one in before), default=0) + 1,
            sha256=contents.sha256,
            bytes=contents.bytes,
            text_bytes=contents.text_bytes,
            made_at=made_at,
            day=local.date(),
            reason=reason,
            server_major=server[0],
            client_major=pg_dump.version[0],
            pgvector=expected.extensions.get(EXTENSION),
            proven=proof.place,
            unproven_because=proof.reason,
            left_out=() if settings.backup_vectors else VECTOR_TABLES,
            fingerprint=expected,
        )
        backup = _publish(partial, new_path(folder, local), manifest)
    except BackupError as error:
        # The file is gone when its name is read.
        raise BackupError(str(error).replace(str(partial), "The new dump")) from None
    finally:
        partial.unlink(missing_ok=True)
    notes += _notes(settings, folder, before, local.date())
    # Only a proven backup replaces an older one.
    deleted = (
        _delete_expired(folder, owner, settings.backup_keep, local.date(), notes) if proof.place is not None else []
    )
    return BackupReport(backup, tuple(notes), tuple(deleted), read_backups(folder).kept, stages.seconds)


@contextmanager
def _lock_schema(connection: Connection, *, held: bool) -> Iterator[None]:
    """Keep migrations away during the block; wait for one that is under way."""
    if held:
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(schema_lock(connection))
        except OperationalError:
            raise BackupError(
                f"The database's schema has been changing for more than {LOCK_WAIT_SECONDS} seconds: make a backup "
                "when that has ended."
            ) from None
        yield


def _dump(
    url: str, program: Path, file: Path, vectors: bool, stages: _Stages, notes: list[str]
) -> tuple[DumpContents, Fingerprint]:
    """Dump the database into a new file, and read its fingerprint in the same snapshot."""
    engine = create_engine(with_driver(url), isolation_level="REPEATABLE READ", poolclass=NullPool)
    arguments = ["--format=plain", "--no-owner", "--no-privileges", f"--exclude-extension={EXTENSION}"]
    arguments += [f"--lock-wait-timeout={LOCK_WAIT_SECONDS * 1000}"]
    arguments += [] if vectors else [f"--exclude-table-data={table}" for table in VECTOR_TABLES]
    with engine.connect() as snapshot:
        execute(snapshot, "SET LOCAL idle_in_transaction_session_timeout = 0")
        execute(snapshot, f"SET LOCAL lock_timeout = '{LOCK_WAIT_SECONDS}s'")
        name = read_value(snapshot, "SELECT pg_export_snapshot()")
        with (
            stages.stage("dump") as report,
            running_tool(program, *arguments, f"--snapshot={name}", url=url) as pg_dump,
        ):
            assert pg_dump.stdout is not None
            read = functools.partial(pg_dump.stdout.read, CHUNK)
            written = _write(file, iter(read, b""), report, notes)
        with stages.stage("fingerprint"):
            found = read_fingerprint(snapshot)
    return written, found if vectors else found.without_rows(VECTOR_TABLES)


def _write(file: Path, chunks: Iterator[bytes], progress: Callable[[int, int], None], notes: list[str]) -> DumpContents:
    """Compress a text into a new file that only its owner can read, and bring it to the disk."""
    compressor, digest, size, text = zlib.compressobj(COMPRESSION, wbits=31), hashlib.sha256(), 0, 0
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as output:

        def write(data: bytes) -> None:
            nonlocal size
            size += len(data)
            digest.update(data)
            output.write(data)

        for chunk in chunks:
            text += len(chunk)
            write(compressor.compress(chunk))
            progress(text, 0)
        write(compressor.flush())
        output.flush()
        os.fsync(descriptor)
        mode = os.fstat(descriptor).st_mode & 0o777
        if mode & 0o077:
            notes.append(f"The file system of {file.parent} lets others read the backups (mode {mode:04o}).")
        # Read it back from the disk.
        with suppress(AttributeError, OSError):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    return DumpContents(size, digest.hexdigest(), text, {})


def _with_sequences(found: Fingerprint, contents: DumpContents) -> Fingerprint:
    """Take the values of sequences from the dump: they belong to no snapshot, and may have gone on since."""
    if set(contents.sequences) != set(found.sequences):
        raise BackupError("The dump and the database have different sequences.")
    return replace(found, sequences=contents.sequences)


def _prove(
    settings: Settings,
    url: str,
    connection: Connection,
    file: Path,
    expected: Fingerprint,
    progress: Callable[[int, int], None],
) -> Proof:
    if not settings.backup_accept_unmounted:
        mounts = read_mounts()
        reason = why_not_lasting(file.parent.resolve(), mounts, in_container=in_container(mounts))
        if reason is not None:
            return Proof(None, f"{reason} APERTURE_BACKUP_ACCEPT_UNMOUNTED=true accepts it as it is.")
    return prove(
        url,
        file,
        expected,
        home=settings.home_path,
        is_embedded=settings.database_url is None,
        database_bytes=read_value(connection, "SELECT pg_database_size(current_database())"),
        progress=progress,
    )


def _why_not_restorable(reason: str, pg_dump: PgDump, server: Version) -> str:
    """Say that a complete dump cannot be restored, and what could make one that can."""
    sentence = f"The new dump cannot be restored. {reason}"
    if pg_dump.suits(server):
        return sentence
    package = f"install postgresql-client-{server[0]} of the server's version, or " if server[0] >= OLDEST[0] else ""
    return (
        f"{sentence} It was made by pg_dump {version_in_words(pg_dump.version)} of a server of version "
        f"{version_in_words(server)}. If a difference between the two is the reason, {package}update this program."
    )


def _publish(partial: Path, path: Path, manifest: Manifest) -> Backup:
    """Give a dump its name. The manifest comes first: a dump of that name without one would be foreign."""
    try:
        write_manifest(path, manifest)
    except FileError as error:
        raise BackupError(str(error)) from None
    try:
        partial.rename(path)
    except BaseException:
        manifest_path(path).unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
    return Backup(path, manifest, manifest.bytes)


def _delete_expired(folder: Path, owner: str, keep: int, today: date, notes: list[str]) -> list[str]:
    deleted: list[str] = []
    for backup in expired(read_backups(folder).kept, owner=owner, keep=keep, today=today):
        try:
            backup.path.unlink()
            manifest_path(backup.path).unlink(missing_ok=True)
            deleted.append(backup.path.name)
        except OSError as error:
            notes.append(f"{backup.path.name} could not be deleted ({error.strerror}).")
    sync_folder(folder)
    return deleted


def _remove_partial_files(folder: Path) -> None:
    """Remove what interrupted runs left. The caller holds the lock, so none of it is in use."""
    for path in folder.iterdir():
        if _PARTIAL.fullmatch(path.name):
            path.unlink(missing_ok=True)


def _notes(settings: Settings, folder: Path, before: tuple[Backup, ...], today: date) -> list[str]:
    notes: list[str] = []
    if settings.database_url is None and shares_disk(folder, settings.home_path):
        notes.append(f"{folder} is on the disk of APERTURE_HOME: the backups do not survive this disk.")
    future = [one.path.name for one in before if is_future(one, today)]
    if future:
        notes.append(f"Dated in the future, and kept: {', '.join(future)}. The clock was wrong then, or is now.")
    return notes
