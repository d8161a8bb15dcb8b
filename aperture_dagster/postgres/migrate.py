"""Automatic upgrade of the schema, under a lock, by the first process that opens the database."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from aperture_dagster.postgres.errors import DatabaseError, describe_connection_error
from aperture_dagster.postgres.queries import execute, read_value

if TYPE_CHECKING:
    from alembic.config import Config


# Lock for creating databases and changing schemas.


# An arbitrary number, the same in all processes.
KEY = 0x0A9E27


@contextmanager
def schema_lock(
    connection: Connection, *, waiting: Callable[[], None] | None = None, patience_seconds: float | None = None
) -> Iterator[None]:
    """Hold the lock during the block; uncommitted changes of the block are rolled back.

    Args:
        waiting: called once if another process holds the lock.
        patience_seconds: limit of the wait; by default, that of the session.

    Raises:
        OperationalError: another process held the lock for longer.
    """
    if waiting is None or not read_value(connection, f"SELECT pg_try_advisory_lock({KEY})"):
        if waiting is not None:
            waiting()
        if patience_seconds is not None:
            execute(connection, f"SET LOCAL lock_timeout = {round(patience_seconds * 1000)}")
        execute(connection, f"SELECT pg_advisory_lock({KEY})")
        # The lock belongs to the session and stays; the limit ends with the transaction.
        connection.commit()
    try:
        yield
    finally:
        connection.rollback()
        execute(connection, f"SELECT pg_advisory_unlock({KEY})")
        connection.commit()


LOCK_NOT_AVAILABLE = "55P03"
# They are in the room that knows all tables, and Alembic loads them by their path.
MIGRATIONS = Path(__file__).parents[1] / "schema" / "migrations"
HEAD_REVISION = max(
    (path.stem.partition("_")[0] for path in (MIGRATIONS / "versions").glob("v*_*.py")),
    key=lambda revision: int(revision[1:]),
)
"""The newest migration; a database at this revision needs no migration."""
PATIENCE_SECONDS = 3600.0
"""Limit of the wait for another process that migrates: longer than the backup before it may take."""
_up_to_date: set[str] = set()
log = logging.getLogger(__name__)


def ensure_schema(
    engine: Engine, *, before_migration: Callable[[str], None] | None = None, embedded: bool = False
) -> None:
    """Apply missing migrations. Costs one query if there are none, and nothing on later calls in a process.

    Of several processes one migrates, and the others wait for it, each with a line in its log.

    ``before_migration`` is called with the revision of a database that is not empty, under the lock of the schema.
    ``embedded``: the server is the one that this program starts itself.

    Raises:
        DatabaseError: the server cannot be reached, the schema is newer than this program or older than its first
            release, or another process has been migrating it for an hour.
    """
    url = engine.url.render_as_string(hide_password=False)
    if url in _up_to_date:
        return
    try:
        with engine.connect() as connection:
            found = _revision(connection)
            if found != HEAD_REVISION:
                connection.rollback()
                with _lock(connection, found):
                    revision = _revision(connection)
                    if revision != HEAD_REVISION:
                        refuse_unknown_schema(revision)
                        if before_migration is not None and revision is not None:
                            connection.rollback()
                            before_migration(revision)
                        _upgrade(connection)
    except SQLAlchemyError as error:
        raise DatabaseError(describe_connection_error(error, embedded=embedded)) from None
    _up_to_date.add(url)


def forget_schema(url: str) -> None:
    """Make the next :func:`ensure_schema` check this database again."""
    _up_to_date.discard(url)


def alembic_config() -> Config:
    """Return Alembic's configuration, which needs no ini file."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


@contextmanager
def _lock(connection: Connection, revision: str | None) -> Iterator[None]:
    """Hold the lock of the schema during the block; say so once if another process has it."""

    def waiting() -> None:
        log.warning(
            "The database has the schema %s, and this version needs %s. Another process is migrating it, or is making "
            "a backup before that; waiting for it to end.",
            revision or "of an empty database", HEAD_REVISION,
        )  # fmt: skip

    with ExitStack() as stack:
        try:
            stack.enter_context(schema_lock(connection, waiting=waiting, patience_seconds=PATIENCE_SECONDS))
        except OperationalError as error:
            if getattr(error.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                raise
            raise DatabaseError(
                f"Another process has kept the schema of the database locked for {PATIENCE_SECONDS / 60:.0f} minutes, "
                f"and it is still {revision or 'empty'}. Nothing was done. See what that process logs, end it if it "
                "hangs, and start this again."
            ) from None
        yield


def _revision(connection: Connection) -> str | None:
    if read_value(connection, "SELECT to_regclass('alembic_version')") is None:
        return None
    return read_value(connection, "SELECT version_num FROM alembic_version")


def why_unknown(revision: str) -> str | None:
    """Say who may have written a schema that no migration of this program starts from; None for one of its own."""
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    try:
        if ScriptDirectory.from_config(alembic_config()).get_revision(revision) is not None:
            return None
    except CommandError:
        pass
    number, newest = (re.fullmatch(r"v(\d+)", name) for name in (revision, HEAD_REVISION))
    if number and newest and int(number[1]) > int(newest[1]):
        return f"of a newer version of this program, which knows schemas up to {HEAD_REVISION}"
    return "which no release of this program can upgrade: a version before the first one wrote it, or another program"


def refuse_unknown_schema(revision: str | None) -> None:
    """Refuse a database with the schema of another program, or of a version of this one that is too old or too new.

    Raises:
        DatabaseError: it cannot be migrated.
    """
    if revision is None or (why := why_unknown(revision)) is None:
        return
    raise DatabaseError(
        f"The database has the schema {revision}, {why}. Nothing was changed, and the backups are kept. Install the "
        "version that wrote it again; or restore a backup that was made before: `aperture backup list` shows them, and "
        "`aperture restore FILE` keeps the present database under another name. A home from before the first release "
        "must be made anew: set APERTURE_HOME to a new folder (or APERTURE_DATABASE_URL to an empty database), keep "
        "the settings, and start `aperture up`, which reads titles, plays and ratings from your services again. What "
        "only the old home holds, such as what members hid and plays of titles that are gone, stays there."
    )


def _upgrade(connection: Connection) -> None:
    from alembic import command

    config = alembic_config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
    connection.commit()
