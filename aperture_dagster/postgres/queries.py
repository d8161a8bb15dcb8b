"""Execution of SQL statements with named parameters, such as ``:user``."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, LiteralString

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    text,
    tuple_,
)

from aperture_dagster.postgres.tables import metadata

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


# Data versions: hashes of the content that downstream assets read.


# Columns about the writing of a row, not its content.
BOOKKEEPING = frozenset({"created_at", "first_seen_at", "generated_at", "last_activity_at", "seen_at", "updated_at"})
# What the query returns without rows.
_EMPTY = (0, Decimal(0))


def content_version(connection: Connection, *tables: str, columns: Sequence[str] = (), **where: object) -> str:
    """Return a hash of the rows of ``tables`` that is independent of their order.

    ``columns`` are those to hash, by default all but the bookkeeping columns; ``where`` are required values of columns.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name in tables:
        statement = _digest_of_rows(name, tuple(columns), tuple(where))
        digest.update(repr(tuple(connection.execute(statement, where).one())).encode())
    return digest.hexdigest()


@functools.cache
def _digest_of_rows(name: str, columns: tuple[str, ...], where: tuple[str, ...]) -> Select[*tuple[Any, ...]]:
    """Return a statement with a parameter for each column in ``where``; cached, since building it is slow."""
    table = metadata.tables[name]
    required = (table.c[column] == bindparam(column, type_=table.c[column].type) for column in where)
    return select(*_digest(table, columns)).select_from(table).where(and_(True, *required))


def content_versions(connection: Connection, *tables: str, by: str, of: Iterable[str]) -> dict[str, str]:
    """Return the :func:`content_version` for each value ``of`` the column ``by``, with one query for each table."""
    digests = {value: hashlib.blake2b(digest_size=8) for value in of}
    for name in tables:
        table = metadata.tables[name]
        statement = select(table.c[by], *_digest(table)).group_by(table.c[by])
        found = {value: (count, total) for value, count, total in connection.execute(statement)}
        for value, digest in digests.items():
            digest.update(repr(found.get(value, _EMPTY)).encode())
    return {value: digest.hexdigest() for value, digest in digests.items()}


def count_rows_by(connection: Connection, table: str, column: str) -> dict[str, int]:
    """Count the rows of a table for each value of a column."""
    by = metadata.tables[table].c[column]
    return {value: count for value, count in connection.execute(select(by, func.count()).group_by(by))}


def _digest(table: Table, columns: Sequence[str] = ()) -> tuple[ColumnElement[int], ColumnElement[Decimal]]:
    """Return the number of rows and the sum of their hashes."""
    hashed = [table.c[column] for column in columns] or [one for one in table.c if one.name not in BOOKKEEPING]
    row = func.hashtextextended(cast(tuple_(*hashed), Text), 0)
    return func.count(), func.coalesce(func.sum(row), literal_column("0"))


def change_version(connection: Connection, table: str, **where: object) -> str:
    """Return a hash of keys and modification times, for tables too large to hash; see :func:`content_version`.

    This is sufficient because an upsert leaves equal rows and their ``updated_at`` unchanged.
    """
    columns = [column.name for column in metadata.tables[table].primary_key]
    columns += [name for name in ("updated_at", "removed_at") if name in metadata.tables[table].c]
    return content_version(connection, table, columns=columns, **where)
