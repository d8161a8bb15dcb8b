"""Restore a backup: beside the database, migrated there, and then put in its place.

The old database is never dumped, since that fails for one that is damaged; it is renamed and kept. Until that moment
nothing has happened to it, so a process that is killed leaves either the old database in place or the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Generic, TypeVar

from sqlalchemy import Connection, Engine, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from aperture_dagster.postgres.backup.dump import inspect_dump, restore_dump
from aperture_dagster.postgres.backup.errors import BackupError
from aperture_dagster.postgres.backup.folder import why_no_room
from aperture_dagster.postgres.connection import close_engine, product_database_url
from aperture_dagster.postgres.databases import exclusive_maintenance, scratch_database, switch
from aperture_dagster.postgres.errors import describe_reason
from aperture_dagster.postgres.migrate import HEAD_REVISION, ensure_schema, forget_schema, why_unknown
from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster.settings import Settings

# What a compressed dump may take in a database.
LARGEST_GROWTH = 8
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Restored(Generic[T]):
    """What a restore did.

    Attributes:
        kept: the name of the database that was replaced; None if there was none.
        schema: revision of the schema in the file; it has been migrated since.
        voided: what ``void`` returned.
    """

    kept: str | None
    schema: str
    voided: T


def restore(
    settings: Settings,
    file: Path,
    *,
    now: datetime,
    refuse_runs: Callable[[], None],
    void: Callable[[Connection, Connection | None], T],
    report: Callable[[str], None] = lambda message: None,
) -> Restored[T]:
    """Put the database in a file in the place of the present one, which is kept under another name.

    Args:
        refuse_runs: called at the beginning and just before the end; raises if a run is in progress.
        void: given the restored database, before anybody else uses it, and the one that it replaces, if that can be
            reached, voids what is not valid in the first; returns what that is.
        report: called with each step, in words.

    Raises:
        OperatorError: it cannot be restored; the message says what became of the old database.
    """
    size, url = _size(file), product_database_url(settings)
    refuse_runs()
    inspect_dump(file)
    close_engine(url)
    with exclusive_maintenance(url, report) as server:
        # The disks of other servers are not known.
        if settings.database_url is None and (full := why_no_room(settings.home_path, LARGEST_GROWTH * size)):
            raise BackupError(full)
        try:
            with scratch_database(server, url) as new:
                report("Restoring into a new database.")
                restore_dump(new, file)
                with _present(url) as present:
                    schema, voided = _bring_up_to_date(new, file, lambda restored: void(restored, present), report)
                refuse_runs()
                report("Putting it in the place of the old one.")
                kept = switch(server, make_url(url).database or "", make_url(new).database or "", now=now)
        except SQLAlchemyError as error:
            raise BackupError(f"{describe_reason(error)}. The database is as it was before the restore.") from None
    return Restored(kept, schema, voided)


@contextmanager
def _present(url: str) -> Iterator[Connection | None]:
    """Connect to the present database for reading; None if it is not there, or damaged."""
    engine = create_engine(url, poolclass=NullPool, execution_options={"postgresql_readonly": True})
    try:
        connection = engine.connect()
    except SQLAlchemyError:
        yield None
        return
    with connection:
        yield connection


def _bring_up_to_date(
    url: str, file: Path, void: Callable[[Connection], T], report: Callable[[str], None]
) -> tuple[str, T]:
    """Migrate a restored database, and void what is not valid; return the revision of its schema, and what that is."""
    engine = create_engine(url, poolclass=NullPool)
    try:
        schema = _read_schema(engine, file)
        if schema != HEAD_REVISION:
            report(f"Migrating the schema from {schema} to {HEAD_REVISION}.")
        ensure_schema(engine)
        with engine.begin() as connection:
            # A dump has no statistics, and without them the first queries would take long.
            execute(connection, "ANALYZE")
            voided = void(connection)
    finally:
        engine.dispose()
        forget_schema(url)
    return schema, voided


def _read_schema(engine: Engine, path: Path) -> str:
    """Return the revision of the schema in a restored dump. Raises BackupError: it cannot be used."""
    with engine.connect() as connection:
        exists = read_value(connection, "SELECT to_regclass('public.alembic_version')") is not None
        revision = read_value(connection, "SELECT version_num FROM alembic_version") if exists else None
    if revision is None:
        raise BackupError(f"{path} holds no database of this program. Nothing was changed.")
    if why := why_unknown(revision):
        raise BackupError(
            f"{path} has the schema {revision}, {why}. Nothing was changed. Restore it with the version that made it."
        )
    return revision


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise BackupError(f"{file} cannot be read: {error.strerror}.") from None
