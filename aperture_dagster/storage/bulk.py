"""Writing rows: one statement that touches only what differs, which many rows reach by COPY into a temporary table."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects.postgresql import JSONB

if TYPE_CHECKING:
    from psycopg.sql import Composable
    from sqlalchemy import Connection, Table

MANY_ROWS = 500
# Fewer go as parameters: a temporary table for each would be most of the work, and leave its rows in the catalogues.
FEW_ROWS = 20


@dataclass(slots=True)
class WriteCounts:
    """What a write did: rows inserted, rows whose content changed, rows deleted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def written(self) -> int:
        """Rows touched in all."""
        return self.inserted + self.updated + self.deleted

    def __add__(self, other: WriteCounts) -> WriteCounts:
        """Sum, field by field."""
        return WriteCounts(self.inserted + other.inserted, self.updated + other.updated, self.deleted + other.deleted)


def copy_rows(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
    """COPY ``rows`` (values in the order of ``columns``) into ``table``; returns how many. Constant memory."""
    from psycopg import sql

    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns))
    )
    count = 0
    with _cursor(connection) as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
    return count


def staging_table(connection: Connection, table: Table, columns: Sequence[str], name: str | None = None) -> str:
    """Make an empty temporary table with the given columns of ``table``; it goes with the transaction."""
    from psycopg import sql

    name = name or f"incoming_{table.name}"
    statement = sql.SQL(
        "CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS SELECT {columns} FROM {table} WITH NO DATA"
    ).format(
        name=sql.Identifier(name),
        columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        table=sql.Identifier(table.name),
    )
    connection.exec_driver_sql(statement.as_string(None))
    return name


def upsert(
    connection: Connection,
    table: Table,
    rows: Iterable[dict[str, Any]],
    *,
    columns: Sequence[str],
    touch: str | None = "updated_at",
) -> WriteCounts:
    """Insert ``rows`` into ``table``, or change those whose ``columns`` differ; equal rows are not written.

    Args:
        connection: inside a transaction, which the caller commits.
        table: its primary key says which row is which.
        rows: one dict a row with exactly ``columns``; the last of two rows with one key wins.
        columns: the columns written, the primary key among them.
        touch: a column set to now() where a row changed.
    """
    key = [column.name for column in table.primary_key.columns]
    unique: dict[tuple[Any, ...], dict[str, Any]] = {tuple(row[name] for name in key): row for row in rows}
    if not unique:
        return WriteCounts()
    adapted = (adapt_row(table, row, columns) for row in unique.values())
    if len(unique) <= FEW_ROWS:
        return _write_directly(connection, table, list(adapted), columns, touch)
    name = staging_table(connection, table, columns)
    copy_rows(connection, name, columns, adapted)
    counts = merge_staged(connection, table, name, columns=columns, touch=touch)
    connection.exec_driver_sql(f'DROP TABLE "{name}"')
    return counts


def adapt_row(table: Table, row: dict[str, Any], columns: Sequence[str]) -> list[Any]:
    """The row's values in the order of ``columns``, as the driver wants them: JSON wrapped, what PostgreSQL cannot hold
    taken out.
    """
    from psycopg.types.json import Jsonb

    objects = _json_columns(table)
    values = []
    for name in columns:
        value = storable(row[name])
        values.append(Jsonb(value) if name in objects and value is not None else value)
    return values


@functools.cache
def _json_columns(table: Table) -> frozenset[str]:
    return frozenset(column.name for column in table.columns if isinstance(column.type, JSONB))


def storable(value: Any) -> Any:
    """``value`` as PostgreSQL can hold it, lists and objects all the way down.

    NaN becomes None. Text loses NUL and halves of surrogate pairs, which no encoding has; nothing that a person reads
    is lost without them, and one such text must not stop a whole listing.
    """
    if isinstance(value, str):
        if "\x00" in value:
            value = value.replace("\x00", "")
        return value if value.isascii() else value.encode("utf-8", "ignore").decode()
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, list):
        return [storable(part) for part in value]
    if isinstance(value, dict):
        return {storable(name): storable(part) for name, part in value.items()}
    return value


def merge_staged(
    connection: Connection, table: Table, staged: str, *, columns: Sequence[str], touch: str | None = "updated_at"
) -> WriteCounts:
    """Merge a staging table into ``table`` by primary key, writing only rows that are new or differ."""
    from psycopg import sql

    rows = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(staged))
    counts = _merge(connection, table, rows, columns, touch)
    if counts.inserted >= MANY_ROWS:
        _refresh_figures(connection, table, counts.inserted)
    return counts


def _write_directly(
    connection: Connection, table: Table, rows: Sequence[Sequence[Any]], columns: Sequence[str], touch: str | None
) -> WriteCounts:
    from psycopg import sql

    one = sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * len(columns)))
    values = sql.SQL("VALUES {}").format(sql.SQL(", ").join([one] * len(rows)))
    return _merge(connection, table, values, columns, touch, [value for row in rows for value in row])


def _merge(
    connection: Connection,
    table: Table,
    rows: Composable,
    columns: Sequence[str],
    touch: str | None,
    parameters: Sequence[Any] = (),
) -> WriteCounts:
    """Insert what ``rows`` (a SELECT or VALUES of ``columns``) gives; of a row that is there, change what differs."""
    from psycopg import sql

    key = [column.name for column in table.primary_key.columns]
    changing = [name for name in columns if name not in key]
    idents = {name: sql.Identifier(name) for name in columns}
    insert = sql.SQL("INSERT INTO {t} AS old ({c}) {rows} ON CONFLICT ({k})").format(
        t=sql.Identifier(table.name),
        c=sql.SQL(", ").join(idents.values()),
        rows=rows,
        k=sql.SQL(", ").join(idents[name] for name in key),
    )
    if changing:
        sets = [sql.SQL("{0} = excluded.{0}").format(idents[name]) for name in changing]
        if touch:
            sets.append(sql.SQL("{} = now()").format(sql.Identifier(touch)))
        insert += sql.SQL(" DO UPDATE SET {} WHERE ({}) IS DISTINCT FROM ({})").format(
            sql.SQL(", ").join(sets),
            sql.SQL(", ").join(sql.SQL("old.{}").format(idents[name]) for name in changing),
            sql.SQL(", ").join(sql.SQL("excluded.{}").format(idents[name]) for name in changing),
        )
    else:
        insert += sql.SQL(" DO NOTHING")
    # A row that ON CONFLICT updated carries the updating transaction in xmax; a fresh one carries zero.
    statement = sql.SQL(
        "WITH written AS ({} RETURNING (xmax = 0) AS fresh) "
        "SELECT count(*) FILTER (WHERE fresh), count(*) FILTER (WHERE NOT fresh) FROM written"
    ).format(insert)
    inserted, updated = connection.exec_driver_sql(statement.as_string(None), tuple(parameters)).one()
    return WriteCounts(inserted=inserted, updated=updated)


def _refresh_figures(connection: Connection, table: Table, inserted: int) -> None:
    """Let the planner know of a table that has just been filled.

    Its figures come from a background task that is minutes late: a first run would be planned for empty tables, and
    compare every row with every other.
    """
    believed = connection.exec_driver_sql(
        f"SELECT reltuples FROM pg_class WHERE oid = '{table.name}'::regclass"
    ).scalar()
    if (believed or 0) < 2 * inserted:
        connection.exec_driver_sql(f"ANALYZE {table.name}")


def _cursor(connection: Connection) -> Any:
    """The psycopg cursor below a SQLAlchemy connection, for COPY."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    return driver.cursor()
