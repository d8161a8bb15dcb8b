"""What is known of a service between runs: whether it answers, and the largest batch that it accepts."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute, read_rows, read_value


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
