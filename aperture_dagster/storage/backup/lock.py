"""The lock that lets one process at a time make, verify or restore backups of a database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sqlalchemy import Connection, make_url
from sqlalchemy.exc import OperationalError

from aperture_dagster.storage.backup.errors import BackupError
from aperture_dagster.storage.backup.scratch import maintenance
from aperture_dagster.storage.maintenance import reopen
from aperture_dagster.storage.queries import read_value

# Beside that of the schema.
KEY = 0x0A9E29
POLL_SECONDS = 1.0


@contextmanager
def backup_lock(url: str, *, patience_seconds: float = 0) -> Iterator[Connection]:
    """Hold the lock during the block; yields the connection that holds it, in autocommit.

    The lock ends with the connection, so also when the process is killed.

    Raises:
        BackupError: another process still holds it after ``patience_seconds``.
        RestoreInProgress: the database is being restored.
        SQLAlchemyError: the database cannot be reached.
    """
    with _open_again(url) as connection:
        deadline = time.monotonic() + patience_seconds
        while not read_value(connection, f"SELECT pg_try_advisory_lock({KEY})"):
            if time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                continue
            raise BackupError(
                "A backup of this database is being made, verified or restored right now: wait until that has ended."
            )
        yield connection


@contextmanager
def _open_again(url: str) -> Iterator[Connection]:
    """Open a connection as :func:`maintenance`, also to a database that a killed restore left closed."""
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(maintenance(url))
        except OperationalError as error:
            # A server that does not answer says nothing of the database.
            if (make_url(url).database or "") not in str(error.orig) or not reopen(url):
                raise
            connection = stack.enter_context(maintenance(url))
        yield connection
