"""Lock for creating databases and changing schemas."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute, read_value

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
