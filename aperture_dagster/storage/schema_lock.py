"""Lock for creating databases and changing schemas."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text

# An arbitrary number, the same in all processes.
KEY = 0x0A9E27


@contextmanager
def schema_lock(connection: Connection) -> Iterator[None]:
    """Hold the lock during the block; uncommitted changes of the block are rolled back."""
    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": KEY})
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": KEY})
        connection.commit()
