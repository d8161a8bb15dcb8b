"""State of outside services: leases, health, quota and batch size, shared by all processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from aperture_dagster.storage.queries import execute, read_rows, read_value

# The first key of the advisory lock; the second is a hash of the service's name.
SERVICE_LOCK = 0x0A9E28
POLL_SECONDS = 1.0
_LIMIT = 'coalesce(CAST(:own AS integer), q."limit")'


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


def spend(connection: Connection, service: str, *, day: date, limit: int, reported: bool, requests: int = 1) -> int:
    """Count up to so many requests against the day's quota; return how many of them are left, 0 if it is used up.

    ``reported``: ``limit`` applies only until the service reports its own (:func:`correct`). Otherwise it is a setting,
    which may have changed since the first request of the day.
    """
    own = None if reported else limit
    statement = """
        INSERT INTO quota AS q (service, day, used, "limit") VALUES (:service, :day, 0, :limit)
        ON CONFLICT (service, day) DO NOTHING"""
    execute(connection, statement, service=service, day=day, limit=limit)
    # Locked first, so that what is left stays so until it is taken.
    statement = f"""
        WITH day AS (SELECT service, day, {_LIMIT} AS allowed, least(:requests, {_LIMIT} - used) AS taken FROM quota q
          WHERE service = :service AND day = :day FOR UPDATE)
        UPDATE quota q SET used = q.used + d.taken, "limit" = d.allowed, updated_at = now() FROM day d
        WHERE q.service = d.service AND q.day = d.day AND d.taken > 0 RETURNING d.taken"""
    return execute(connection, statement, service=service, day=day, requests=requests, own=own).scalar() or 0


def give_back(connection: Connection, service: str, *, day: date, requests: int) -> None:
    """Take back the count of requests that were not sent."""
    statement = """
        UPDATE quota SET used = greatest(used - :requests, 0), updated_at = now()
        WHERE service = :service AND day = :day"""
    execute(connection, statement, service=service, day=day, requests=requests)


def correct(connection: Connection, service: str, *, day: date, limit: int, used: int) -> None:
    """Record the day's limit and usage as reported by the service."""
    statement = """
        INSERT INTO quota AS q (service, day, used, "limit") VALUES (:service, :day, :used, :limit)
        ON CONFLICT (service, day) DO UPDATE SET used = :used, "limit" = :limit, updated_at = now()
        WHERE (q.used, q."limit") IS DISTINCT FROM (excluded.used, excluded."limit")"""
    execute(connection, statement, service=service, day=day, used=used, limit=limit)


def exhaust(connection: Connection, service: str, *, day: date, limit: int, reported: bool) -> None:
    """Record that the service reports the day's quota as used up. ``limit``, ``reported``: as in :func:`spend`."""
    used, limit = quota_of(connection, service, day=day, limit=limit, reported=reported)
    correct(connection, service, day=day, limit=limit, used=max(used, limit))


def quota_of(connection: Connection, service: str, *, day: date, limit: int, reported: bool) -> tuple[int, int]:
    """Return the requests used on this day, and the limit. ``limit``, ``reported``: as in :func:`spend`."""
    statement = f"SELECT used, {_LIMIT} FROM quota q WHERE service = :service AND day = :day"
    row = execute(connection, statement, service=service, day=day, own=None if reported else limit).one_or_none()
    return (row[0], row[1]) if row else (0, limit)


def note_answers(connection: Connection, service: str, *, now: datetime) -> None:
    """Record that the service is working."""
    statement = """
        INSERT INTO services (service, answered_at) VALUES (:service, :now)
        ON CONFLICT (service) DO UPDATE SET answered_at = :now, failing_since = NULL, trouble = NULL"""
    execute(connection, statement, service=service, now=now)


def note_trouble(connection: Connection, service: str, *, now: datetime, trouble: str) -> None:
    """Record that the service is failing, and the error; ``failing_since`` is kept if it was failing before."""
    statement = """
        INSERT INTO services (service, failing_since, trouble) VALUES (:service, :now, :trouble)
        ON CONFLICT (service) DO UPDATE
        SET failing_since = coalesce(services.failing_since, :now), trouble = :trouble"""
    execute(connection, statement, service=service, now=now, trouble=trouble[:500])


def failing_services(connection: Connection) -> list[dict[str, Any]]:
    """List the failing services, with the time of the first failure, the last error and the last success."""
    statement = """
        SELECT service, failing_since, answered_at, trouble FROM services WHERE failing_since IS NOT NULL ORDER BY 1"""
    return read_rows(connection, statement)


def batch_size(connection: Connection, service: str) -> int | None:
    """Return the largest batch that the service accepts, if it has refused a larger one; else None."""
    return read_value(connection, "SELECT batch_size FROM services WHERE service = :service", service=service)


def remember_batch_size(connection: Connection, service: str, size: int) -> None:
    """Record the largest batch that the service accepts."""
    statement = """
        INSERT INTO services (service, batch_size) VALUES (:service, :size)
        ON CONFLICT (service) DO UPDATE SET batch_size = :size"""
    execute(connection, statement, service=service, size=size)
