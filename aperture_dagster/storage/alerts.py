"""Open problems, and the messages about them that have not been delivered."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from aperture_dagster.library.alerts import Message, Problem
from aperture_dagster.library.moments import SKEW
from aperture_dagster.storage.bulk import upsert
from aperture_dagster.storage.queries import execute, read_rows
from aperture_dagster.storage.tables import alert_problems

# What could not be delivered in this time is no news any more; a problem that lasts is reported again.
UNDELIVERED_FOR = timedelta(days=1)
# After a process ended between sending and recording that, the message is sent once more, and then no more.
MOST_UNCONFIRMED = 2


@dataclass(frozen=True, slots=True)
class QueuedMessage:
    """A message on its way to an address, given by its digest."""

    address: str
    queued_at: datetime
    message: Message


def read_problems(connection: Connection) -> list[Problem]:
    """Return the problems that are open or were until a moment ago."""
    names = ", ".join(alert_problems.columns.keys())
    return [Problem(**row) for row in read_rows(connection, f"SELECT {names} FROM alert_problems ORDER BY key")]


def write_problems(connection: Connection, problems: Iterable[Problem], *, closed: Collection[str]) -> None:
    """Write problems, and delete those whose keys are ``closed``."""
    upsert(connection, alert_problems, (asdict(problem) for problem in problems))
    if closed:
        execute(connection, "DELETE FROM alert_problems WHERE key = ANY(:closed)", closed=list(closed))


def queue_message(connection: Connection, addresses: Iterable[str], message: Message, *, now: datetime) -> None:
    """Queue a message for each of some addresses."""
    statement = """
        INSERT INTO alert_outbox (address, queued_at, title, body, is_good, due_at)
        VALUES (:address, :now, :title, :body, :is_good, :now) ON CONFLICT DO NOTHING"""
    for address in addresses:
        execute(connection, statement, address=address, now=now, **asdict(message))


def claim_messages(connection: Connection, addresses: Collection[str], *, now: datetime) -> list[QueuedMessage]:
    """Return the oldest message of each address if it is due, and count the attempt.

    Commit before sending: if this process then dies, the message counts as possibly sent. The next attempt is due after
    a time that doubles from a minute to an hour.
    """
    statement = """
        UPDATE alert_outbox SET attempts = attempts + 1, unconfirmed = unconfirmed + 1,
            due_at = :now + least(interval '1 minute' * power(2, least(attempts, 10)), interval '1 hour')
        WHERE (due_at <= :now OR due_at > :longest OR queued_at > :latest) AND (address, queued_at) IN (
            SELECT address, min(queued_at) FROM alert_outbox WHERE address = ANY(:addresses) GROUP BY address)
        RETURNING address, queued_at, title, body, is_good"""
    # A longer wait than an hour was written by a clock that was ahead.
    limits = {"now": now, "latest": now + SKEW, "longest": now + timedelta(hours=1) + SKEW}
    rows = read_rows(connection, statement, addresses=list(addresses), **limits)
    return [
        QueuedMessage(row["address"], row["queued_at"], Message(row["title"], row["body"], row["is_good"]))
        for row in rows
    ]


def confirm_sent(connection: Connection, queued: QueuedMessage) -> None:
    """Delete a message that was sent."""
    statement = "DELETE FROM alert_outbox WHERE address = :address AND queued_at = :queued_at"
    execute(connection, statement, address=queued.address, queued_at=queued.queued_at)


def confirm_not_sent(connection: Connection, queued: QueuedMessage) -> None:
    """Record that an attempt failed, so that it does not count as possibly sent."""
    statement = "UPDATE alert_outbox SET unconfirmed = 0 WHERE address = :address AND queued_at = :queued_at"
    execute(connection, statement, address=queued.address, queued_at=queued.queued_at)


def drop_messages(connection: Connection, addresses: Collection[str], *, now: datetime) -> list[str]:
    """Delete messages that are too old, that may have arrived twice, or whose address is no longer configured.

    Returns:
        The titles of those that were never delivered.
    """
    statement = """
        DELETE FROM alert_outbox
        WHERE queued_at < :oldest OR unconfirmed >= :most OR NOT address = ANY(:addresses)
        RETURNING title, unconfirmed"""
    rows = read_rows(
        connection, statement, oldest=now - UNDELIVERED_FOR, most=MOST_UNCONFIRMED, addresses=list(addresses)
    )
    return [row["title"] for row in rows if row["unconfirmed"] < MOST_UNCONFIRMED]
