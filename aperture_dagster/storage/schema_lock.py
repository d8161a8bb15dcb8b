"""Lock for creating databases and changing schemas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from aperture_dagster.storage.queries import execute

# An arbitrary number, the same in all processes.
KEY = 0x0A9E27


@contextmanager
def schema_lock(connection: Connection) -> Iterator[None]:
    """Hold the lock during the block; uncommitted changes of the block are rolled back."""
    execute(connection, f"SELECT pg_advisory_lock({KEY})")
    try:
        yield
    finally:
        connection.rollback()
        execute(connection, f"SELECT pg_advisory_unlock({KEY})")
        connection.commit()
