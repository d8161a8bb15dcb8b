"""Restore a backup: beside the database, proven and migrated there, and then put in its place.

The old database is never dumped, since that fails for one that is damaged; it is renamed and kept.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from aperture_dagster.errors import OperatorError
from aperture_dagster.settings import Settings
from aperture_dagster.storage.backup.dump_file import DumpContents, DumpFile, check_dump
from aperture_dagster.storage.backup.errors import BackupError
from aperture_dagster.storage.backup.lock import backup_lock
from aperture_dagster.storage.backup.manifest import Manifest, manifest_path, read_manifest
from aperture_dagster.storage.backup.places import in_words
from aperture_dagster.storage.backup.proof import restore_and_compare
from aperture_dagster.storage.backup.restore_into import restore_into
from aperture_dagster.storage.backup.scratch import CannotCreate, create_empty_database, with_driver
from aperture_dagster.storage.catalogue import catalogue_size
from aperture_dagster.storage.connection import close_engine, product_database_url
from aperture_dagster.storage.errors import describe_reason
from aperture_dagster.storage.maintenance import Maintenance, RestoreInProgress, SwitchUncertain, maintenance
from aperture_dagster.storage.migrate import ensure_schema, forget_schema, why_unknown
from aperture_dagster.storage.queries import execute, read_value
from aperture_dagster.storage.tables import HEAD_REVISION

# PostgreSQL's own format is more compact than text, but the indexes take as much.
SPARE_BYTES = 1 << 30
UNCHANGED = "Nothing was changed."
_SERVER = re.compile(rb"^-- Dumped from database version (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class RestorableFile:
    """A dump that was read to its end and may be restored; ``manifest`` is None for one that is only trusted."""

    path: Path
    contents: DumpContents
    manifest: Manifest | None
    server_major: int | None

    @property
    def made_at(self) -> datetime | None:
        """When it was made, if that is known."""
        return self.manifest.made_at if self.manifest else None

    def rows_of(self, table: str) -> int | None:
        """Return the number of rows of a table in it; None if that is not known."""
        rows = self.manifest.fingerprint.tables.get(f"public.{table}") if self.manifest else None
        return rows.count if rows else None


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did.

    Attributes:
        kept: the name of the database that was replaced; None if there was none.
        schema: revision of the schema in the file; it has been migrated since.
        titles: films and series in the database now.
        void_accounts: users who must connect Trakt again.
    """

    kept: str | None
    schema: str
    titles: int
    void_accounts: int


def examine_file(path: Path, *, trust: bool) -> RestorableFile:
    """Read a dump to its end, and decide whether it may be restored.

    ``trust``: accept one whose checksum is not the one in its manifest, or that has no manifest.

    Raises:
        BackupError: the file is damaged, unsafe or unknown, or its schema cannot be used.
    """
    try:
        contents = check_dump(path)
    except OSError as error:
        raise BackupError(f"{path} cannot be read: {error.strerror}.") from None
    try:
        manifest = read_manifest(path)
    except BackupError:
        if not trust:
            raise
        manifest = None
    if manifest is not None and manifest.sha256 == contents.sha256:
        _refuse_schema(path, manifest.revision)
        return RestorableFile(path, contents, manifest, manifest.server_major)
    if trust:
        return RestorableFile(path, contents, None, _dumped_from(path))
    name = manifest_path(path).name
    what = f"has no manifest ({name}) beside it" if manifest is None else f"is not the file that {name} is about"
    raise BackupError(
        f"{path} {what}, so nothing proves that it is a backup as this program made it. {UNCHANGED} Copy both files of "
        "the backup again, or add --trust if you know where it comes from."
    )


def restore(
    settings: Settings,
    file: RestorableFile,
    *,
    now: datetime,
    refuse_runs: Callable[[], None],
    report: Callable[[str], None] = lambda message: None,
    make_void: Callable[[Connection, datetime | None], int] = lambda connection, made_at: 0,
) -> Restored:
    """Put the database in a file in the place of the present one, which is kept under another name.

    Until the last moment the old database stays in place, but closed; if anything fails, it is opened again.

    Args:
        refuse_runs: called twice, before and after everybody else is kept out; raises if a run is in progress.
        report: called with each step, in words.
        make_void: called with the new database and the time of the backup; records what is no longer valid, and returns
            the number of users who must connect to Trakt again.

    Raises:
        RestoreInProgress: another process is restoring.
        SwitchUncertain: the connection was lost at the last moment; the old database or the new one is in place.
        BackupError: it cannot be restored; the old database is as it was.
    """
    url = product_database_url(settings)
    refuse_runs()
    close_engine(url)
    try:
        _refuse_backup_in_progress(url)
        with maintenance(url) as work:
            _require_server(work, file)
            _require_space(settings, file)
            new_url = _create(work, url)
            report("Closing the database for everybody else.")
            work.close()
            # A run may have begun since.
            refuse_runs()
            report("Restoring into a new database.")
            schema = _fill(new_url, file, report)
            void_accounts, titles = _prepare(new_url, file, make_void)
            kept = work.switch(make_url(new_url).database or "", now=now)
    except (RestoreInProgress, SwitchUncertain):
        raise
    except (OperatorError, SQLAlchemyError) as error:
        message = str(error) if isinstance(error, OperatorError) else f"{describe_reason(error)}."
        raise BackupError(f"{message} The database is as it was before the restore.") from None
    return Restored(kept, schema, titles, void_accounts)


def _refuse_backup_in_progress(url: str) -> None:
    """Raise BackupError while another process makes or verifies a backup, which would fail."""
    # A database that cannot be opened is not being backed up.
    with suppress(SQLAlchemyError), backup_lock(url):
        pass


def _fill(url: str, file: RestorableFile, report: Callable[[str], None]) -> str:
    """Restore into an empty database, prove and migrate it; return the revision that the schema had."""
    if file.manifest is not None:
        restore_and_compare(url, file.path, file.manifest.fingerprint)
        report("Every table is equal to what was backed up.")
    else:
        restore_into(url, file.path)
    with _engine(url) as engine:
        schema = _read_schema(engine, file.path)
        if schema != HEAD_REVISION:
            report(f"Migrating the schema from {schema} to {HEAD_REVISION}.")
        ensure_schema(engine)
    return schema


def _prepare(
    url: str, file: RestorableFile, make_void: Callable[[Connection, datetime | None], int]
) -> tuple[int, int]:
    """Record what the restore makes void; return the number of accounts on Trakt, and of titles."""
    with _engine(url) as engine, engine.begin() as connection:
        # A dump has no statistics, and without them the first queries would take long.
        execute(connection, "ANALYZE")
        size = catalogue_size(connection)
        return make_void(connection, file.made_at), size["movies"] + size["series"]


def _create(work: Maintenance, url: str) -> str:
    """Create the new database, like the present one if that can be opened; return its URL."""
    name, beside = work.new_name, work.connection.engine.url.render_as_string(hide_password=False)
    try:
        new_url = create_empty_database(url, name)
    except (SQLAlchemyError, CannotCreate):
        # It may be damaged. A right that is missing is missing there, too.
        new_url = create_empty_database(beside, name)
    work.own(name)
    return new_url


@contextmanager
def _engine(url: str) -> Iterator[Engine]:
    engine = create_engine(with_driver(url), poolclass=NullPool)
    try:
        yield engine
    finally:
        engine.dispose()
        forget_schema(with_driver(url))


def _read_schema(engine: Engine, path: Path) -> str:
    with engine.connect() as connection:
        exists = read_value(connection, "SELECT to_regclass('public.alembic_version')") is not None
        revision = read_value(connection, "SELECT version_num FROM alembic_version") if exists else None
    return _refuse_schema(path, revision)


def _refuse_schema(path: Path, revision: str | None) -> str:
    """Return the revision of the schema in a dump. Raises BackupError: it cannot be used."""
    if revision is None:
        raise BackupError(f"{path} holds no database of this program. {UNCHANGED}")
    if why := why_unknown(revision):
        raise BackupError(
            f"{path} has the schema {revision}, {why}. {UNCHANGED} Restore it with the version that made it."
        )
    return revision


def _require_server(work: Maintenance, file: RestorableFile) -> None:
    major = int(read_value(work.connection, "SHOW server_version_num")) // 10_000
    if file.server_major is not None and file.server_major > major:
        raise BackupError(
            f"{file.path} was made on PostgreSQL {file.server_major}, but this server runs version {major}, and a "
            f"backup can only be restored on the same version or a newer one. Update the server of "
            "APERTURE_DATABASE_URL, or unset it to use the embedded one."
        )


def _require_space(settings: Settings, file: RestorableFile) -> None:
    """Check that a second copy fits on the disk of the embedded database; of other servers, nothing is known."""
    if settings.database_url is not None:
        return
    free, needed = shutil.disk_usage(settings.home_path).free, file.contents.text_bytes + SPARE_BYTES
    if free < needed:
        raise BackupError(
            f"The restore may need {in_words(needed)} on the disk of {settings.home_path}, but {in_words(free)} are "
            "free: make room there."
        )


def _dumped_from(path: Path) -> int | None:
    """Return the major version of the server that a dump says it is from."""
    found = _SERVER.search(next(iter(DumpFile(path))))
    return int(found[1]) if found else None
