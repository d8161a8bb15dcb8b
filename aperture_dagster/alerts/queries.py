"""Stored problems, and which messages about them each address has received."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime

from sqlalchemy import Connection

from aperture_dagster.alerts.rules import Problem, Report, Told
from aperture_dagster.alerts.tables import alert_problems
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import execute, read_rows


def read_problems(connection: Connection) -> list[Problem]:
    """Return the problems that are open or were until a moment ago."""
    names = ", ".join(alert_problems.columns.keys())
    return [Problem(**row) for row in read_rows(connection, f"SELECT {names} FROM alert_problems ORDER BY key")]


def write_problems(connection: Connection, problems: Iterable[Problem]) -> None:
    """Replace all problems, and delete the records of messages about those that are gone."""
    rows = [asdict(problem) for problem in problems]
    upsert(connection, alert_problems, rows)
    keys = [row["key"] for row in rows]
    execute(connection, "DELETE FROM alert_problems WHERE key <> ALL(CAST(:keys AS text[]))", keys=keys)


def read_told(connection: Connection) -> dict[str, dict[str, Told]]:
    """Return the records of messages, by address and by the key of the problem."""
    told: dict[str, dict[str, Told]] = {}
    for row in read_rows(connection, "SELECT address, key, tried_at, told_at, count FROM alerts_told"):
        told.setdefault(row["address"], {})[row["key"]] = Told(row["tried_at"], row["told_at"], row["count"])
    return told


def keep_addresses(connection: Connection, addresses: Iterable[str]) -> None:
    """Delete the records of addresses that are no longer configured."""
    statement = "DELETE FROM alerts_told WHERE address <> ALL(CAST(:addresses AS text[]))"
    execute(connection, statement, addresses=list(addresses))


def note_attempt(connection: Connection, address: str, reports: Iterable[Report], *, now: datetime) -> None:
    """Record an attempt to send. Commit it before sending: after a crash the message is then not repeated at once."""
    statement = """
        INSERT INTO alerts_told (key, address, tried_at) VALUES (:key, :address, :now)
        ON CONFLICT (key, address) DO UPDATE SET tried_at = excluded.tried_at"""
    for report in reports:
        execute(connection, statement, key=report.problem.key, address=address, now=now)


def note_told(connection: Connection, address: str, reports: Iterable[Report], *, now: datetime) -> None:
    """Record that an address received a message. Once the end of a problem was sent, its record is deleted."""
    for report in reports:
        problem, which = report.problem, "WHERE key = :key AND address = :address"
        if report.occasion == "over":
            execute(connection, f"DELETE FROM alerts_told {which}", key=problem.key, address=address)
        else:
            statement = f"UPDATE alerts_told SET tried_at = :now, told_at = :now, count = :count {which}"
            execute(connection, statement, key=problem.key, address=address, now=now, count=problem.count)
