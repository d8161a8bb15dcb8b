"""The lock that lets one process at a time make, verify or restore backups of a database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from aperture_dagster.storage.backup.errors import BackupError
from aperture_dagster.storage.backup.scratch import maintenance
from aperture_dagster.storage.queries import read_value

# Beside that of the schema.
KEY = 0x0A9E29


@contextmanager
def backup_lock(url: str) -> Iterator[Connection]:
    """Hold the lock during the block, without waiting for it; yields the connection that holds it, in autocommit.

    The lock ends with the connection, so also when the process is killed.

    Raises:
        BackupError: another process holds it.
        SQLAlchemyError: the database cannot be reached.
    """
    with maintenance(url) as connection:
        if not read_value(connection, f"SELECT pg_try_advisory_lock({KEY})"):
            raise BackupError(
                "A backup of this database is being made, verified or restored right now: wait until that has ended."
            )
        yield connection
