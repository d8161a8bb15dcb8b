"""Move history, and what users said, to the work that an item belongs to now.

Which rows move is declared with their tables: see ``FOLLOWS_ITEM`` and ``FOLLOWS_TITLE`` in ``postgres/tables.py``.
"""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Column, Connection

from aperture_dagster.postgres.queries import execute, read_value
from aperture_dagster.postgres.tables import metadata


def move_history(connection: Connection) -> None:
    """Move the history of items that now belong to another work, including their episodes and versions.

    What users said about a work that had no ids goes with it.
    """
    statement = """
        INSERT INTO moved (item_id, work_id)
        SELECT e.item_id, m.work_id FROM moved m JOIN episodes e ON e.series_item_id = m.item_id
        UNION ALL
        SELECT v.item_id, s.work_id FROM staged_items s JOIN item_versions v ON v.primary_item_id = s.item_id"""
    execute(connection, statement)
    if read_value(connection, "SELECT count(*) FROM moved"):
        for column in columns_that_follow(connection, "item"):
            connection.exec_driver_sql(
                f"UPDATE {column.table.name} h SET {column.name} = m.work_id FROM moved m "
                f"WHERE m.item_id = h.item_id AND m.work_id <> h.{column.name}"
            )
        # A work without ids was this title before it was identified. Any other may have been another title.
        statement = """
            SELECT DISTINCT w.work_id AS old, m.work_id AS new FROM moved m JOIN works w ON w.work_id = m.left_work_id
            WHERE num_nonnulls(w.tmdb_id, w.imdb_id, w.tvdb_id) = 0
            AND NOT EXISTS (SELECT 1 FROM titles t WHERE t.work_id = w.work_id)"""
        identified = execute(connection, statement).all()
        for column in columns_that_follow(connection, "title") if identified else ():
            for old, new in identified:
                execute(connection, _move_said(column), old=old, new=new)


def columns_that_follow(connection: Connection, what: Literal["item", "title"]) -> list[Column[Any]]:
    """Return the columns with works whose rows move with an item, or with a title that was identified.

    The database says which columns there are: a table whose module was not imported is an error here (``KeyError``),
    since its rows would stay behind unnoticed.
    """
    statement = """
        SELECT r.relname AS table_name, a.attname AS column_name FROM pg_constraint c
        JOIN pg_class r ON r.oid = c.conrelid
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        WHERE c.contype = 'f' AND c.confrelid = 'works'::regclass ORDER BY 1, 2"""
    columns = [metadata.tables[row.table_name].columns[row.column_name] for row in execute(connection, statement)]
    return [column for column in columns if what in column.info["follows"]]


def _move_said(column: Column[Any]) -> str:
    """Return the statement that moves what users said of a work, unless they said the same of the new one."""
    table, name = column.table.name, column.name
    key = [part.name for part in column.table.primary_key if part is not column]
    is_same = " AND ".join(f"o.{part} = s.{part}" for part in key)
    return f"""
        UPDATE {table} s SET {name} = :new WHERE {name} = :old
        AND NOT EXISTS (SELECT 1 FROM {table} o WHERE o.{name} = :new AND {is_same})"""
