"""What the database remembers of outside services: who uses one now, whether it works, what its quota still allows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

# The first half of an advisory lock's number; the second is made from the service's name.
SERVICE_LOCK = 0x0A9E28
POLL_SECONDS = 1.0
# Days of a service's quota that are kept.
QUOTA_DAYS = 90
_LIMIT = 'coalesce(CAST(:own AS integer), q."limit")'


@contextmanager
def service_lease(
    engine: Engine,
    service: str,
    *,
    waiting: Callable[[float], None] = lambda seconds: None,
    patience_seconds: float | None = None,
) -> Iterator[None]:
    """Use ``service`` alone among all processes, so that its limit is kept and nothing is asked twice.

    The lock belongs to a connection, so a process that is killed gives it back at once.

    Args:
        engine: the product's database.
        service: the service's name.
        waiting: told about once a second, with the seconds waited so far, while another process uses the service.
        patience_seconds: how long to wait for another process; None waits as long as it takes.

    Raises:
        TimeoutError: another process still uses the service after that time.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        lock = {"class": SERVICE_LOCK, "service": service}
        started = time.monotonic()
        while not connection.execute(text("SELECT pg_try_advisory_lock(:class, hashtext(:service))"), lock).scalar():
            waited = time.monotonic() - started
            if patience_seconds is not None and waited >= patience_seconds:
                raise TimeoutError(f"another run is using {service} now")
            waiting(waited)
            time.sleep(POLL_SECONDS)
        try:
            connection.execute(
                text(
                    "DELETE FROM quota WHERE service = :service AND day < "
                    "(SELECT max(day) FROM quota WHERE service = :service) - CAST(:kept AS integer)"
                ),
                {"service": service, "kept": QUOTA_DAYS},
            )
            yield
        finally:
            # When the database was restarted meanwhile, the lock went with the connection.
            with suppress(SQLAlchemyError):
                connection.execute(text("SELECT pg_advisory_unlock(:class, hashtext(:service))"), lock)


def spend(connection: Connection, service: str, *, day: date, limit: int, told: bool) -> bool:
    """Take one request from the day's quota; False when there is none left.

    ``told``: the service says its limit itself, so that ``limit`` counts only until it has (:func:`correct`). Otherwise
    ``limit`` is a setting, which may be another than at the day's first request.
    """
    statement = text(
        'INSERT INTO quota AS q (service, day, used, "limit") VALUES (:service, :day, 1, :limit) '
        f'ON CONFLICT (service, day) DO UPDATE SET used = q.used + 1, "limit" = {_LIMIT}, updated_at = now() '
        f"WHERE q.used < {_LIMIT} RETURNING used"
    )
    return connection.execute(statement, _of_day(service, day, limit, told)).first() is not None


def correct(connection: Connection, service: str, *, day: date, limit: int, used: int) -> None:
    """Take the service's own word for the day's quota."""
    statement = text(
        'INSERT INTO quota AS q (service, day, used, "limit") VALUES (:service, :day, :used, :limit) '
        'ON CONFLICT (service, day) DO UPDATE SET used = :used, "limit" = :limit, updated_at = now() '
        'WHERE (q.used, q."limit") IS DISTINCT FROM (excluded.used, excluded."limit")'
    )
    connection.execute(statement, {"service": service, "day": day, "used": used, "limit": limit})


def exhaust(connection: Connection, service: str, *, day: date, limit: int, told: bool) -> None:
    """Nothing is left of the day's quota: the service has said so. ``limit``, ``told``: as of :func:`spend`."""
    statement = text(
        'INSERT INTO quota AS q (service, day, used, "limit") VALUES (:service, :day, :limit, :limit) '
        f'ON CONFLICT (service, day) DO UPDATE SET used = greatest(q.used, {_LIMIT}), "limit" = {_LIMIT}, '
        "updated_at = now()"
    )
    connection.execute(statement, _of_day(service, day, limit, told))


def quota_of(connection: Connection, service: str, *, day: date, limit: int, told: bool) -> tuple[int, int]:
    """Requests used on this day, and how many are allowed. ``limit``, ``told``: as of :func:`spend`."""
    row = connection.execute(
        text(f"SELECT used, {_LIMIT} FROM quota q WHERE service = :service AND day = :day"),
        _of_day(service, day, limit, told),
    ).one_or_none()
    return (row[0], row[1]) if row else (0, limit)


def _of_day(service: str, day: date, limit: int, told: bool) -> dict[str, Any]:
    return {"service": service, "day": day, "limit": limit, "own": None if told else limit}


def note_answers(connection: Connection, service: str, *, now: datetime) -> None:
    """The service answers."""
    connection.execute(
        text(
            "INSERT INTO services (service, answered_at) VALUES (:service, :now) ON CONFLICT (service) DO UPDATE "
            "SET answered_at = :now, failing_since = NULL, trouble = NULL"
        ),
        {"service": service, "now": now},
    )


def note_trouble(connection: Connection, service: str, *, now: datetime, trouble: str) -> None:
    """The service fails, with this; since when is kept from the first time."""
    connection.execute(
        text(
            "INSERT INTO services (service, failing_since, trouble) VALUES (:service, :now, :trouble) "
            "ON CONFLICT (service) DO UPDATE SET failing_since = coalesce(services.failing_since, :now), "
            "trouble = :trouble"
        ),
        {"service": service, "now": now, "trouble": trouble[:500]},
    )


def failing_services(connection: Connection) -> list[dict[str, Any]]:
    """The services that fail: since when, with what, and when they last answered."""
    statement = text(
        "SELECT service, failing_since, answered_at, trouble FROM services WHERE failing_since IS NOT NULL ORDER BY 1"
    )
    return [dict(row) for row in connection.execute(statement).mappings()]


def batch_size(connection: Connection, service: str) -> int | None:
    """The largest batch that the service took after refusing a larger one; None when it has refused none."""
    return connection.execute(
        text("SELECT batch_size FROM services WHERE service = :service"), {"service": service}
    ).scalar()


def remember_batch_size(connection: Connection, service: str, size: int) -> None:
    """Remember the largest batch that the service takes."""
    connection.execute(
        text(
            "INSERT INTO services (service, batch_size) VALUES (:service, :size) "
            "ON CONFLICT (service) DO UPDATE SET batch_size = :size"
        ),
        {"service": service, "size": size},
    )
