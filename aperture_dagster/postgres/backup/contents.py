"""What a database contains, and a restored copy must have too: the schema, and the rows of each table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute, read_rows, read_value

SHOWN = 5
_TABLES = """
    SELECT format('%I.%I', n.nspname, c.relname) AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' AND n.nspname <> 'information_schema'
    AND NOT starts_with(n.nspname, 'pg_') ORDER BY 1"""


@dataclass(frozen=True, slots=True)
class Contents:
    """The revision of a database's schema, and the number of rows of each table, with its schema."""

    schema: str
    rows: Mapping[str, int]

    @property
    def total(self) -> int:
        """The number of rows of all tables."""
        return sum(self.rows.values())


def read_contents(connection: Connection) -> Contents:
    """Count the rows of every table in the connection's transaction, however long that takes."""
    execute(connection, "SET LOCAL statement_timeout = 0")
    schema = read_value(connection, "SELECT version_num FROM public.alembic_version")
    names = [row["name"] for row in read_rows(connection, _TABLES)]
    return Contents(schema, {name: read_value(connection, f"SELECT count(*) FROM ONLY {name}") for name in names})


def estimate_rows(connection: Connection) -> int | None:
    """Return about how many rows all tables have, which waits for nobody; None if no table was ever analyzed."""
    statement = f"SELECT sum(reltuples)::bigint FROM pg_class c JOIN ({_TABLES}) t ON to_regclass(t.name) = c.oid"
    return read_value(connection, f"{statement} WHERE reltuples > 0") or None


def differences(dumped: Contents, restored: Contents) -> str | None:
    """Say in what a restored database differs from the one that was dumped; None if it has the same contents."""
    problems: list[str] = []
    if dumped.schema != restored.schema:
        problems.append(f"the schema is {restored.schema} instead of {dumped.schema}")
    for name in sorted(dumped.rows.keys() | restored.rows.keys()):
        before, now = dumped.rows.get(name), restored.rows.get(name)
        if now is None:
            problems.append(f"table {name} is missing")
        elif before is None:
            problems.append(f"table {name} was not in the dumped database")
        elif before != now:
            problems.append(f"table {name} has {now:,} rows instead of {before:,}")
    if not problems:
        return None
    more = f", and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    return f"{'; '.join(problems[:SHOWN])}{more}"
