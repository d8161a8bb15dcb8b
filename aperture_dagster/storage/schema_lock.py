"""Lock for changes of databases and schemas: one process at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

# Any number, the same in every process.
KEY = 0x0A9E27


@contextmanager
def schema_lock(connection: Connection) -> Iterator[None]:
    """Hold the lock for a block, however many processes want it; what the block leaves uncommitted is undone."""
    from sqlalchemy import text

    connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": KEY})
    try:
        yield
    finally:
        connection.rollback()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": KEY})
        connection.commit()
