"""Examine the database, and whether clocks agree with it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from aperture_dagster.catalogue.queries import catalogue_size
from aperture_dagster.cli.doctor.finding import Finding
from aperture_dagster.maintenance.clock import future_dates
from aperture_dagster.model import SKEW, Clock, describe_future, duration
from aperture_dagster.postgres.connection import describe_server
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import database_time


def examine_database(database: Database) -> Iterator[Finding]:
    """Whether the database can be used, what it holds, and with which rights the program uses it."""
    with database.transaction() as connection:
        server, size = describe_server(connection), catalogue_size(connection)
    versions = f"PostgreSQL {server['postgresql']}, schema {server['schema']}"
    sizes = f"{size['movies']:,} films, {size['series']:,} series, {size['episodes']:,} episodes"
    yield Finding("database", "ok", f"{versions}; {sizes}")
    if server["is_superuser"]:
        yield Finding(
            "database role",
            "warning",
            f"the role {server['role']} of APERTURE_DATABASE_URL is a superuser of PostgreSQL, and the program needs "
            "no such right: use a role that owns the two databases (docs/backup.md, An external server)",
        )


def examine_clock(database: Database, clock: Clock) -> Iterator[Finding]:
    """Whether this machine and the database agree on the time, and what a clock that was ahead has written."""
    import dagster as dg

    from aperture_dagster.instance import wrong_clock

    now = clock.now()
    with database.transaction() as connection:
        apart, found = database_time(connection) - now, future_dates(connection, now=now)
    if abs(apart) > SKEW:
        yield Finding("clock", "failed", describe_apart("the database", apart))
    with dg.DagsterInstance.get() as instance:
        found += wrong_clock.future_dates(instance, now=now)
    sentence = describe_future(found, now)
    yield Finding("clock", "warning" if sentence else "ok", sentence or "nothing is dated in the future")


def describe_apart(other: str, by: timedelta) -> str:
    """Say how far two clocks are apart."""
    span = duration(abs(by).total_seconds())
    return f"the clocks of this machine and of {other} are {span} apart: set the wrong one"
