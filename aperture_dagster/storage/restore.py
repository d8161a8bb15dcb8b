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

from sqlalchemy import Engine, create_engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from aperture_dagster.settings import Settings
from aperture_dagster.storage.backup.dump_file import DumpContents, DumpFile, check_dump
from aperture_dagster.storage.backup.errors import BackupError
from aperture_dagster.storage.backup.fingerprint import read_fingerprint
from aperture_dagster.storage.backup.manifest import Manifest, manifest_path, read_manifest
from aperture_dagster.storage.backup.proof import restore_and_compare
from aperture_dagster.storage.backup.restore_into import restore_into
from aperture_dagster.storage.backup.scratch import create_empty_database, with_driver
from aperture_dagster.storage.catalogue import catalogue_size
from aperture_dagster.storage.connection import close_engine, product_database_url
from aperture_dagster.storage.maintenance import Maintenance, maintenance, server_connection
from aperture_dagster.storage.migrate import ensure_schema, forget_schema, is_before_first_release, refuse_unknown_schema
from aperture_dagster.storage.queries import read_value
from aperture_dagster.storage.trakt import void_all_tokens

SPARE_BYTES = 1 << 30
_SERVER = re.compile(rb"^-- Dumped from database version (\d+)", re.MULTILINE)
# Of the database once it has been restored.
VOID_TOKENS = "the database was restored from a backup{of}, and the tokens in it are no longer valid"


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
        schema: revision of the schema in the file.
        titles: films and series in the database now.
        void_accounts: users who must connect Trakt again.
    """

    kept: str | None
    schema: str | None
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
    manifest = read_manifest(path) if not trust else _any_manifest(path)
    if manifest is None or manifest.sha256 != contents.sha256:
        if not trust:
            raise BackupError(_why_unknown(path, manifest))
        return RestorableFile(path, contents, None, _dumped_from(path))
    _refuse_schema(path, manifest.revision)
    return RestorableFile(path, contents, manifest, manifest.server_major)


def restore(
    settings: Settings,
    file: RestorableFile,
    *,
    now: datetime,
    refuse_runs: Callable[[], None],
    report: Callable[[str], None] = lambda message: None,
) -> Restored:
    """Put the database in a file in the place of the present one, which is kept under another name.

    Until the last moment the old database stays in place, but closed; if anything fails, it is opened again.

    Args:
        refuse_runs: called twice, before and after everybody else is kept out; raises if a run is in progress.
        report: called with each step, in words.

    Raises:
        RestoreInProgress: another process is restoring.
        BackupError, DatabaseError: it cannot be restored; the old database is as it was.
    """
    url = product_database_url(settings)
    refuse_runs()
    close_engine(url)
    with maintenance(url) as work:
        _require_server(work, file)
        _require_space(settings, file)
        new_url = _create(work, url)
        work.close()
        # A run may have begun since.
        refuse_runs()
        report("Restoring into a new database")
        if file.manifest is not None:
            restore_and_compare(new_url, file.path, file.manifest.fingerprint)
            report("Every table is equal to what was backed up")
        else:
            restore_into(new_url, file.path)
        with _engine(new_url) as engine:
            schema = _schema_of(engine, file.path)
            ensure_schema(engine)
            of = f" of {file.made_at:%Y-%m-%d}" if file.made_at else ""
            with engine.begin() as connection:
                void_accounts = void_all_tokens(connection, VOID_TOKENS.format(of=of), now=now)
                size = catalogue_size(connection)
        kept = work.switch(_name_of(new_url), now=now)
    return Restored(kept, schema, size["movies"] + size["series"], void_accounts)
