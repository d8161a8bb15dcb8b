"""Data versions: hashes of the content that downstream assets read."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    tuple_,
)

from aperture_dagster.postgres.metadata import metadata

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
