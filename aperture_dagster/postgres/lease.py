"""Leases: one process at a time uses what has a name, such as an outside service, whichever host it is on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from aperture_dagster.postgres.queries import execute, read_value

# The first key of the advisory lock; the second is a hash of the service's name.
SERVICE_LOCK = 0x0A9E28
POLL_SECONDS = 1.0


@contextmanager
def service_lease(
    engine: Engine,
    service: str,
    *,
    waiting: Callable[[float], None] = lambda seconds: None,
    patience_seconds: float | None = None,
) -> Iterator[None]:
    """Use ``service`` exclusively among all processes, so that its limits hold and no request is made twice.

    The lock belongs to a connection, so it is released at once if the process is killed.

    Args:
        waiting: called about every second with the seconds waited so far.
        patience_seconds: None waits without a limit.

    Raises:
        TimeoutError: another process still uses the service.
    """
    lock = f"({SERVICE_LOCK}, hashtext(:service))"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        started = time.monotonic()
        while not read_value(connection, f"SELECT pg_try_advisory_lock{lock}", service=service):
            waited = time.monotonic() - started
            if patience_seconds is not None and waited >= patience_seconds:
                raise TimeoutError(f"another run is using {service} now")
            waiting(waited)
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            # If the database was restarted meanwhile, the lock has been released with the connection.
            with suppress(SQLAlchemyError):
                execute(connection, f"SELECT pg_advisory_unlock{lock}", service=service)
