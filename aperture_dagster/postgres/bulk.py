"""Bulk writes that touch only rows that differ. Many rows are sent by COPY into a temporary table."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    DateTime,
    Executable,
    Integer,
    Table,
    column,
    func,
    literal_column,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from aperture_dagster.postgres.queries import read_value
from aperture_dagster.postgres.tables import written_columns

if TYPE_CHECKING:
    import numpy as np


MANY_ROWS = 500
# Fewer rows are sent as parameters: a temporary table would cost more than the write, and bloat the system catalogs.
FEW_ROWS = 50
_STORED_AS_THEY_ARE = frozenset({int, bool, type(None), date, datetime})


@dataclass(slots=True)
class WriteCounts:
    """Result of a write: rows inserted, updated and deleted."""

    inserted: int = 0
    updated: int = 0
    deleted: int = 0

    @property
    def written(self) -> int:
        """Total number of rows written."""
        return self.inserted + self.updated + self.deleted

    def __add__(self, other: WriteCounts) -> WriteCounts:
        """Add field by field."""
        return WriteCounts(self.inserted + other.inserted, self.updated + other.updated, self.deleted + other.deleted)


def upsert(
    connection: Connection, target: Table, rows: Iterable[dict[str, Any]], *, columns: Sequence[str] | None = None
) -> WriteCounts:
    """Insert ``rows`` into ``target`` or update existing ones by primary key; equal rows are not written.

    A row has a value for each of ``columns``, by default all without a server default; if a key is repeated, the last
    row wins. ``updated_at``, if the table has it, is set to the time of the transaction.
    """
    columns = tuple(columns or written_columns(target))
    return upsert_values(connection, target, columns, map(itemgetter(*columns), rows))


def upsert_values(
    connection: Connection, target: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> WriteCounts:
    """Do what :func:`upsert` does, with rows that are values in the order of ``columns``."""
    key_of = itemgetter(*map(columns.index, target.primary_key.columns.keys()))
    unique = list({key_of(row): row for row in rows}.values())
    if not unique:
        return WriteCounts()
    if len(unique) <= FEW_ROWS:
        source = f"jsonb_populate_recordset(NULL::{target.name}, CAST(:rows AS jsonb))"
        values = as_json([dict(zip(columns, row, strict=True)) for row in unique])
        return merge(connection, target, source, columns, rows=values)
    staged = stage(connection, target, unique, columns)
    counts = merge(connection, target, staged, columns)
    connection.exec_driver_sql(f"DROP TABLE {staged}")
    return counts


def stage(connection: Connection, target: Table, rows: Iterable[Sequence[Any]], columns: Sequence[str]) -> str:
    """Write rows of the given columns of ``target`` to a new temporary table, dropped with the transaction."""
    name = f"incoming_{target.name}"
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS SELECT {_quoted(columns)} FROM {target.name} WITH NO DATA"
    )
    rows = list(rows)
    made = {place: _converter(target.columns[one], rows, place) for place, one in enumerate(columns)}
    converters = [(place, convert) for place, convert in made.items() if convert is not None]

    def stored(row: Sequence[Any]) -> list[Any]:
        values = list(row)
        for place, convert in converters:
            values[place] = convert(values[place])
        return values

    copy_rows(connection, name, columns, map(stored, rows) if converters else rows)
    return name


def _converter(target: Column[Any], rows: Sequence[Sequence[Any]], place: int) -> Callable[[Any], Any] | None:
    """Return what makes the values of a column storable; None if all can be copied as they are."""
    if isinstance(target.type, JSONB):
        return _json_or_null
    # Whole numbers, truth values and times are stored as they are.
    if isinstance(target.type, (Integer, Boolean, DateTime)):
        return None
    # Few columns need a repair, and looking at one as a whole is much faster than at each of its values.
    values = [row[place] for row in rows]
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {str}:
        texts = "".join(filter(None, values))
        return None if texts.isascii() and "\x00" not in texts else as_copied
    if kinds == {float}:
        return as_copied if any(map(math.isnan, filter(None, values))) else None
    return as_copied


def copy_rows(connection: Connection, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """COPY ``rows`` (values in the order of ``columns``) into a table, in constant memory."""
    with driver_cursor(connection) as cursor, cursor.copy(f"COPY {name} ({_quoted(columns)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


def storable(value: Any) -> Any:
    """Return ``value``, or the values in a list, tuple or dict, in a form that PostgreSQL can store.

    NaN becomes None. NUL and unpaired surrogates are removed from text: one bad text must not fail a whole listing.
    """
    if isinstance(value, str):
        if "\x00" in value:
            value = value.replace("\x00", "")
        return value if value.isascii() else value.encode("utf-8", "ignore").decode()
    if isinstance(value, float):
        return None if value != value else value
    if isinstance(value, list):
        return [storable(part) for part in value]
    if isinstance(value, tuple):
        return tuple([storable(part) for part in value])
    if isinstance(value, dict):
        return {storable(name): storable(part) for name, part in value.items()}
    return value


def as_copied(value: Any) -> Any:
    """Return ``value`` in a form that COPY can store; see :func:`storable`.

    An array of texts is written out here, because the driver takes much longer for it.
    """
    kind = type(value)
    if kind is str:
        return value if value.isascii() and "\x00" not in value else storable(value)
    if kind in _STORED_AS_THEY_ARE or (kind is float and value == value):
        return value
    if kind is list or kind is tuple:
        if not value:
            return "{}"
        if all(type(text) is str for text in value):
            quoted = '","'.join([as_copied(text).replace("\\", r"\\").replace('"', r"\"") for text in value])
            return f'{{"{quoted}"}}'
    return storable(value)


def as_json(value: Any) -> str:
    """Return ``value`` as JSON that PostgreSQL can store; see :func:`storable`. Dates and infinity become texts."""
    with suppress(ValueError):
        text = json.dumps(value, default=str, ensure_ascii=False, allow_nan=False)
        # Few texts need repair, and checking all of them at once is much faster.
        text.encode()
        if r"\u0000" not in text:
            return text
    return json.dumps(_finite(storable(value)), default=str)


def _finite(value: Any) -> Any:
    """Return ``value`` with texts for infinities. JSON has none; PostgreSQL reads them from a text."""
    if isinstance(value, (list, tuple)):
        return [_finite(part) for part in value]
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return str(value) if isinstance(value, float) and math.isinf(value) else value


def _json_or_null(value: Any) -> str | None:
    return None if value is None else as_json(value)


def merge(connection: Connection, target: Table, source: str, columns: Sequence[str], **parameters: Any) -> WriteCounts:
    """Merge ``source``, a table or function, into ``target`` by primary key; equal rows are not written."""
    statement = _merge_statement(target, source, tuple(columns))
    inserted, updated = connection.execute(statement, parameters).one()
    if inserted >= MANY_ROWS:
        # Autovacuum updates the statistics minutes later; until then the planner would assume an empty table and choose
        # nested loops.
        estimate = "SELECT reltuples FROM pg_class WHERE oid = CAST(:name AS regclass)"
        if read_value(connection, estimate, name=target.name) < 2 * inserted:
            connection.exec_driver_sql(f"ANALYZE {target.name}")
    return WriteCounts(inserted=inserted, updated=updated)


@functools.cache
def _merge_statement(target: Table, source: str, columns: tuple[str, ...]) -> Executable:
    """Return a statement that merges ``source`` and counts inserts and updates; cached, since building it is slow."""
    key = target.primary_key.columns.keys()
    statement = insert(target).from_select(columns, select(*map(column, columns)).select_from(text(source)))
    changing = [name for name in columns if name not in key]
    if changing:
        new = {name: statement.excluded[name] for name in changing}
        now = {"updated_at": func.now()} if "updated_at" in target.columns else {}
        differs = tuple_(*(target.columns[name] for name in changing)).is_distinct_from(tuple_(*new.values()))
        statement = statement.on_conflict_do_update(index_elements=key, set_=new | now, where=differs)
    else:
        statement = statement.on_conflict_do_nothing()
    # xmax is zero for an inserted row, and the current transaction for a row that ON CONFLICT updated.
    written = statement.returning(literal_column("xmax = 0", Boolean).label("is_new")).cte("written")
    return select(func.count().filter(written.c.is_new), func.count().filter(~written.c.is_new)).select_from(written)


def driver_cursor(connection: Connection, **options: Any) -> Any:
    """Return a psycopg cursor, for COPY and streaming. ``options`` are those of psycopg's ``Connection.cursor``."""
    driver = connection.connection.dbapi_connection
    assert driver is not None
    return driver.cursor(**options)


def _quoted(columns: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in columns)


# Queries of many numbers: the database packs them, and numpy reads them, without a Python object for each.


# Rows that the database packs into one value, which may not exceed a gigabyte.
BLOCK = 8_192
# By kind: the function that makes bytes of a value, and the type as which numpy reads them.
INTEGER, DOUBLE = ("int8send", ">i8"), ("float8send", ">f8")


def read_packed(
    connection: Connection,
    query: str,
    columns: Mapping[str, tuple[str, Any]],
    parameters: Sequence[Any] | Mapping[str, Any] = (),
) -> Iterator[np.ndarray]:
    """Yield the rows of a query in blocks, as structured arrays, whose order is arbitrary.

    Args:
        connection: inside a transaction.
        query: a SELECT with placeholders of the driver (``%s``, or ``%(name)s``). No value may be null.
        columns: for each column that is read the function that packs it, and numpy's type of what that returns.
        parameters: the values of the placeholders.
    """
    import numpy as np

    packed = " || ".join(f'{function}("{name}")' for name, (function, _) in columns.items())
    statement = (
        f"SELECT string_agg({packed}, ''::bytea) FROM (SELECT *, row_number() OVER () / {BLOCK} AS block "
        f"FROM ({query}) q) numbered GROUP BY block"
    )
    dtype = np.dtype([(name, kind) for name, (_, kind) in columns.items()])
    with driver_cursor(connection, binary=True) as cursor:
        for (block,) in cursor.stream(statement, parameters or None):
            yield np.frombuffer(block, dtype=dtype)
