"""Execution of SQL statements with named parameters, such as ``:user``."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any, LiteralString

from sqlalchemy import Connection, CursorResult, text

if TYPE_CHECKING:
    import pandas as pd


def execute(connection: Connection, statement: str, **values: Any) -> CursorResult[*tuple[Any, ...]]:
    """Execute a statement with the values of its parameters."""
    return connection.execute(text(statement), values)


def define(connection: Connection, statement: LiteralString, *names: str, **texts: str) -> None:
    """Execute a statement that takes no parameters, such as ``CREATE DATABASE {} ENCODING {encoding}``.

    Each ``{}`` becomes one of the names, quoted as an identifier, and each ``{keyword}`` a text, quoted as a literal.
    """
    from psycopg import sql

    literals = {name: sql.Literal(value) for name, value in texts.items()}
    composed = sql.SQL(statement).format(*map(sql.Identifier, names), **literals)
    # The driver takes a percent sign for the beginning of a parameter.
    connection.exec_driver_sql(composed.as_string(None).replace("%", "%%"))


def read_rows(connection: Connection, statement: str, **values: Any) -> list[dict[str, Any]]:
    """Return the rows of a query as dicts."""
    result = execute(connection, statement, **values)
    names = tuple(result.keys())
    return [dict(zip(names, row, strict=True)) for row in result.all()]


def array_of(values: Collection[Any]) -> str:
    """Return numbers, ids or times as an array for ``= ANY(:name)``.

    Written out here, because the driver takes as long for each value as for a row. Values must not hold quotes,
    backslashes or NUL.
    """
    return '{"' + '","'.join(map(str, values)) + '"}' if values else "{}"


def read_value(connection: Connection, statement: str, **values: Any) -> Any:
    """Return the first column of a query's first row; None if there is no row."""
    return execute(connection, statement, **values).scalar()


def read_frame(connection: Connection, statement: str, **values: Any) -> pd.DataFrame:
    """Return the rows of a query as a frame."""
    import pandas as pd

    result = execute(connection, statement, **values)
    return pd.DataFrame([tuple(row) for row in result.all()], columns=list(result.keys()))


def database_time(connection: Connection) -> datetime:
    """Return the time by the clock of the database, which all processes share; not that of the transaction's begin."""
    return read_value(connection, "SELECT clock_timestamp()")


def lock_until_commit(connection: Connection, name: str, *, shared: bool = False) -> None:
    """Take the lock of this name, which all processes that use the database share, for the rest of the transaction."""
    kind = "_shared" if shared else ""
    execute(connection, f"SELECT pg_advisory_xact_lock{kind}(hashtext(:name))", name=name)
