"""Make a backup: dump, restore into a scratch database, compare, give it its name, and only then delete old ones."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from aperture_dagster.files.private import sync_folder
from aperture_dagster.model import Progress
from aperture_dagster.postgres.backup.contents import Contents, differences, estimate_rows, read_contents
from aperture_dagster.postgres.backup.dump import restore_dump, write_dump
from aperture_dagster.postgres.backup.errors import BackupError, UnexpectedContent
from aperture_dagster.postgres.backup.folder import (
    backup_folder,
    expired,
    new_path,
    open_folder,
    read_backups,
    require_room,
    unproven,
    why_no_room,
)
from aperture_dagster.postgres.connection import product_database_url
from aperture_dagster.postgres.databases import CannotCreate, exclusive_maintenance, scratch_database
from aperture_dagster.postgres.errors import (
    DatabaseError,
    describe_connection_error,
    describe_full_disk,
    is_full_disk,
)
from aperture_dagster.postgres.identity import ensure_owner
from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster.settings import Settings

LOCK_WAIT_SECONDS = 60
PARTIAL = ".partial"
LACKS_RIGHT = ("permission denied", "must be owner")
# A migration that fails is tried again by every process, and each new backup would expire an older one.
REUSED_WITHIN = timedelta(days=1)
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What :func:`create_backup` did.

    Attributes:
        unproven_because: why it could not be restored for a proof; None for a proven backup.
        rows: of all tables.
        deleted: names of the old backups that were deleted.
        seconds: how long it took.
    """

    path: Path
    unproven_because: str | None
    rows: int
    bytes: int
    deleted: tuple[str, ...]
    seconds: float


def create_backup(
    settings: Settings,
    now: datetime,
    *,
    before_migration_from: str | None = None,
    accept_folder: bool = False,
    report: Callable[[str], None] = lambda message: None,
    log: logging.Logger = _LOG,
) -> BackupReport:
    """Make a backup of the product's database in the configured folder, prove it, and delete expired ones.

    A backup that cannot be proven, because a right or room is missing, is kept and named as such; nothing is deleted
    for it.

    Args:
        before_migration_from: the present schema, if a migration is the reason.
        accept_folder: use the folder although it is new or was emptied.
        report: called with each step and what the operator should know, in words.
        log: for progress.

    Raises:
        BackupError: no backup was made; existing ones are unchanged.
    """
    try:
        url = product_database_url(settings)
        with exclusive_maintenance(url, report) as server:
            with create_engine(url, poolclass=NullPool).begin() as connection:
                if read_value(connection, "SELECT to_regclass('public.alembic_version')") is None:
                    raise BackupError("The database holds no schema of this program yet: there is nothing to back up.")
                folder = open_folder(settings, functools.partial(ensure_owner, connection), accept=accept_folder)
            path = new_path(folder, now.astimezone(ZoneInfo(settings.schedule_timezone)), before_migration_from)
            return _create(settings, server, url, path, report, log)
    except (BackupError, DatabaseError) as error:
        why = str(error)
    except SQLAlchemyError as error:
        why = describe_full_disk(error) if is_full_disk(error) else describe_connection_error(error)
    except OSError as error:
        why = (
            f"{backup_folder(settings)} cannot be written ({error.strerror or error}): make room there, or set "
            "APERTURE_BACKUP_FOLDER to another folder."
        )
    raise BackupError(f"No backup was made; existing ones are kept. {why}")


def back_up_before_migration(settings: Settings, revision: str) -> None:
    """Make a backup of a database with a schema of this revision, unless the operator does without.

    One that an earlier attempt at the same migration made within a day is used again. The caller holds the lock of the
    schema.

    Raises:
        DatabaseError: no backup could be made.
    """
    if not settings.backup_before_migration:
        return
    now = datetime.now(ZoneInfo(settings.schedule_timezone))
    try:
        if (earlier := _earlier_attempt(settings, revision, now.date())) is not None:
            _LOG.warning(
                "The backup before the migration from %s was made by an earlier attempt: %s.", revision, earlier
            )
            return
        _LOG.warning("The schema of the database is to be migrated from %s: making a backup first.", revision)
        made = create_backup(settings, now, before_migration_from=revision)
    except BackupError as error:
        raise DatabaseError(
            f"The schema of the database has to be migrated from {revision}, and the backup before that failed, so "
            f"nothing was migrated. {error} Put that right, or set APERTURE_BACKUP_BEFORE_MIGRATION=false to migrate "
            "without a backup."
        ) from None
    state = f"dumped, not proven: {made.unproven_because}" if made.unproven_because else "proven"
    _LOG.warning("The backup before the migration is %s (%s).", made.path, state)


def _earlier_attempt(settings: Settings, revision: str, today: date) -> Path | None:
    # A folder that cannot be read is reported by the new backup.
    with suppress(OSError):
        for backup in reversed(read_backups(backup_folder(settings))):
            if backup.is_proven and backup.schema == revision and abs(today - backup.day) <= REUSED_WITHIN:
                return backup.path
    return None


def _create(
    settings: Settings,
    server: Connection,
    url: str,
    path: Path,
    report: Callable[[str], None],
    log: logging.Logger,
) -> BackupReport:
    started, folder = time.monotonic(), path.parent
    # What killed processes left.
    for left in folder.glob(f".aperture-backup-*{PARTIAL}"):
        left.unlink(missing_ok=True)
    require_room(folder, max((backup.bytes for backup in read_backups(folder)[-1:]), default=0))
    partial = folder / f".{path.name}{PARTIAL}"
    try:
        report("Dumping the database.")
        dumped = _dump(url, partial, log)
        report("Restoring it into a scratch database and comparing.")
        why_unproven = _prove(settings, server, url, partial, dumped, log)
        made = unproven(path) if why_unproven else path
        size, mode = partial.stat().st_size, partial.stat().st_mode & 0o777
        partial.rename(made)
        sync_folder(folder)
    except BackupError as error:
        # The file is gone when its name is read.
        raise BackupError(str(error).replace(str(partial), "The new dump")) from None
    finally:
        partial.unlink(missing_ok=True)
    if mode & 0o077:
        report(f"The file system of {folder} lets others read the backups (mode {mode:04o}).")
    # Only a proven backup replaces an older one.
    deleted = () if why_unproven else _delete_expired(folder, made, settings.backup_keep, report)
    seconds = round(time.monotonic() - started, 2)
    return BackupReport(made, why_unproven, dumped.total, size, deleted, seconds)


def _dump(url: str, file: Path, log: logging.Logger) -> Contents:
    """Dump the database into a new file, and read its contents in the same snapshot."""
    engine = create_engine(url, isolation_level="REPEATABLE READ", poolclass=NullPool)
    with engine.connect() as snapshot:
        execute(snapshot, "SET LOCAL idle_in_transaction_session_timeout = 0")
        execute(snapshot, f"SET LOCAL lock_timeout = '{LOCK_WAIT_SECONDS}s'")
        name = read_value(snapshot, "SELECT pg_export_snapshot()")
        progress = Progress(log, "rows dumped", estimate_rows(snapshot))
        progress.begin()
        write_dump(
            url,
            file,
            f"--snapshot={name}",
            f"--lock-wait-timeout={LOCK_WAIT_SECONDS * 1000}",
            server_major=int(read_value(snapshot, "SHOW server_version_num")) // 10_000,
            progress=progress,
        )
        return read_contents(snapshot)


def _prove(
    settings: Settings, server: Connection, url: str, file: Path, dumped: Contents, log: logging.Logger
) -> str | None:
    """Restore a dump beside its database and compare the two; return why that is impossible, None if it was done.

    Raises:
        BackupError: the dump cannot be restored, or the restored database differs.
    """
    if settings.database_url is None:
        size = "SELECT pg_database_size(CAST(:name AS name))"
        bytes_ = read_value(server, size, name=create_engine(url).url.database)
        if full := why_no_room(settings.home_path, 2 * bytes_):
            return full
    try:
        with scratch_database(server, url) as scratch:
            progress = Progress(log, "rows restored", dumped.total)
            progress.begin()
            restore_dump(scratch, file, progress)
            with create_engine(scratch, poolclass=NullPool).connect() as connection:
                differs = differences(dumped, read_contents(connection))
    except CannotCreate as error:
        return str(error)
    except UnexpectedContent as error:
        return f"Something was added to the database, and a restore would refuse it: {error}"
    except BackupError as error:
        if is_full_disk(str(error)) or any(words in str(error) for words in LACKS_RIGHT):
            return f"The server could not restore it: {error}"
        raise
    if differs:
        raise BackupError(f"{file} was restored, but differs from the database that was dumped: {differs}.")
    return None


def _delete_expired(folder: Path, newest: Path, keep: int, report: Callable[[str], None]) -> tuple[str, ...]:
    deleted: list[str] = []
    for backup in expired(read_backups(folder), newest=newest, keep=keep):
        try:
            backup.path.unlink()
            deleted.append(backup.path.name)
        except OSError as error:
            report(f"{backup.path.name} could not be deleted ({error.strerror}).")
    sync_folder(folder)
    return tuple(deleted)
