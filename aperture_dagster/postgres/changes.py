"""Whether anything was written to the product's database, so that a process can keep what it has read or made.

PostgreSQL counts transactions of the whole server, and Dagster's are among them every few seconds. Here each commit
through :func:`~aperture_dagster.postgres.connection.open_engine` that wrote anything is counted in its own transaction:
a reader who sees the rows sees the count, too.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, event

from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster.postgres.tables import metadata

SLOTS = 64
"""Sessions that commit at the same time count in rows of their own, so that they rarely wait for each other."""
changes = sa.Table(
    "changes",
    metadata,
    sa.Column("slot", sa.SmallInteger, primary_key=True, comment="of the sessions that share the row"),
    sa.Column("commits", sa.BigInteger, nullable=False, comment="transactions that wrote anything"),
    comment="How many transactions have changed this database, so that others see whether anything is new.",
)
_COUNT = f"""
    INSERT INTO changes (slot, commits) SELECT pg_backend_pid() % {SLOTS}, 1
    WHERE pg_current_xact_id_if_assigned() IS NOT NULL
    ON CONFLICT (slot) DO UPDATE SET commits = changes.commits + 1"""


def count_commits(engine: Engine) -> None:
    """Count from now on what this engine commits."""
    event.listen(engine, "commit", _count)


def _count(connection: Connection) -> None:
    from psycopg.pq import TransactionStatus

    # Neither with autocommit, nor where an error was caught, which makes a commit roll back.
    session: Any = connection.connection.dbapi_connection
    if session.info.transaction_status == TransactionStatus.INTRANS:
        execute(connection, _COUNT)


def state_of_product(connection: Connection) -> str:
    """Return a text that is the same while no transaction has changed what this connection sees in the database.

    It also changes when the database is replaced by a restored one.
    """
    statement = """
        SELECT concat((SELECT sum(commits) FROM changes), ' ', oid) FROM pg_database
        WHERE datname = current_database()"""
    return read_value(connection, statement)
