"""State of outside services: health, quota and batch size, shared by all processes."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute, read_rows, read_value

_LIMIT = 'coalesce(CAST(:own AS integer), q."limit")'


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
