"""Move history, and what users said, to the work that an item belongs to now."""

from __future__ import annotations

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute, read_value

# Tables of what users said about works, with the condition that rows ``o`` and ``s`` of a user and work are one.
_SAID = {"ratings": "(o.source, o.item_id) = (s.source, s.item_id)", "dismissals": "TRUE", "more_like_this": "TRUE"}


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
        for table in ("episodes", "watch_state", "plays", "ratings", "rating_changes"):
            connection.exec_driver_sql(
                f"UPDATE {table} h SET work_id = m.work_id FROM moved m "
                "WHERE m.item_id = h.item_id AND m.work_id <> h.work_id"
            )
        # A work without ids was this title before it was identified. Any other may have been another title.
        statement = """
            SELECT DISTINCT w.work_id AS old, m.work_id AS new FROM moved m JOIN works w ON w.work_id = m.left_work_id
            WHERE num_nonnulls(w.tmdb_id, w.imdb_id, w.tvdb_id) = 0
            AND NOT EXISTS (SELECT 1 FROM titles t WHERE t.work_id = w.work_id)"""
        for old, new in execute(connection, statement).all():
            for table, is_same in _SAID.items():
                statement = f"""
                    UPDATE {table} s SET work_id = :new WHERE work_id = :old AND NOT EXISTS (
                      SELECT 1 FROM {table} o WHERE (o.user_id, o.work_id) = (s.user_id, :new) AND {is_same})"""
                execute(connection, statement, old=old, new=new)
