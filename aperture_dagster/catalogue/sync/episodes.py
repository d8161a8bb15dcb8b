"""The sync of episodes."""

from __future__ import annotations

from typing import ClassVar

from sqlalchemy import Connection

from aperture_dagster.catalogue.sync.merge import FORMER_ITEM, MISSING, CatalogueSync, Coverage
from aperture_dagster.catalogue.tables import episodes
from aperture_dagster.postgres.queries import execute


class EpisodeSync(CatalogueSync):
    """A sync of episodes, without those whose series is not in the catalogue.

    An episode with a new server id is recognised within its series by its path, then by season and number.
    """

    TABLE = episodes
    ASSIGNED = ("item_id", "series_item_id", "work_id")
    STAGED_ONLY: ClassVar[dict[str, str]] = {"version_ids": "text[]", "series_server_id": "text"}
    ATTRIBUTES: ClassVar[dict[str, str]] = {"series_server_id": "series_item_id"}
    # The guard was already applied to the series.
    FOLLOWS = "EXISTS (SELECT 1 FROM titles s WHERE s.item_id = t.series_item_id AND s.removed_at IS NOT NULL)"

    def __init__(self, connection: Connection) -> None:
        """Create the staging table."""
        super().__init__(connection, "episodes")

    def _identify(self, coverage: Coverage) -> int:
        connection = self._connection
        statement = """
            CREATE TEMPORARY TABLE staged_items ON COMMIT DROP AS
            SELECT NULL::bigint AS item_id, s.item_id AS series_item_id, s.work_id, i.* FROM incoming_items i
            JOIN present_titles s ON s.server_item_id = i.series_server_id AND s.media_type = 'series'"""
        execute(connection, statement)
        connection.exec_driver_sql(
            "INSERT INTO seen_ids SELECT server_item_id, false FROM incoming_items i "
            "WHERE NOT EXISTS (SELECT 1 FROM staged_items s WHERE s.server_item_id = i.server_item_id)"
        )
        connection.exec_driver_sql("ANALYZE staged_items, seen_ids")
        same_number = """{0}.series_item_id = s.series_item_id
            AND coalesce({0}.season = s.season AND {0}.number = s.number, {0}.title = s.title)"""
        # Match by server id, unless both number and path show that the server gave the id to another episode.
        statement = f"""
            UPDATE staged_items s SET item_id = e.item_id FROM episodes e WHERE e.server_item_id = s.server_item_id
            AND (e.path IS NOT DISTINCT FROM s.path OR {same_number.format("e")})"""
        execute(connection, statement)
        # Match versions that are listed as items now because another file became the primary one.
        statement = f"""
            UPDATE staged_items s SET item_id = v.item_id FROM item_versions v
            JOIN episodes p ON p.item_id = v.primary_item_id WHERE v.server_item_id = s.server_item_id
            AND s.item_id IS NULL AND {same_number.format("p")}
            AND NOT EXISTS ({FORMER_ITEM.format(table="episodes")})"""
        execute(connection, statement)
        statement = f"""
            CREATE TEMPORARY TABLE unmatched ON COMMIT DROP AS SELECT t.item_id, t.series_item_id, t.season, t.number,
            t.path, t.library_id, t.removed_at IS NULL AS present, {MISSING} AS missing FROM episodes t
            LEFT JOIN (SELECT DISTINCT id FROM seen_ids) seen_ids ON seen_ids.id = t.server_item_id
            WHERE NOT EXISTS (SELECT 1 FROM staged_items s WHERE s.item_id = t.item_id)"""
        execute(connection, statement, complete=coverage.certain_libraries())
        # The same path is the same file even if its library was not listed completely; anything else could be a copy.
        recognised = self._recognise(("series_item_id", "library_id", "path"))
        recognised += self._recognise(("series_item_id", "path"), only_missing=True)
        recognised += self._recognise(("series_item_id", "season", "number"), only_missing=True)
        connection.exec_driver_sql("UPDATE staged_items SET item_id = nextval('item_id_seq') WHERE item_id IS NULL")
        return recognised

    def _recognise(self, key: tuple[str, ...], *, only_missing: bool = False) -> int:
        """Match new items with unmatched rows that have the same ``key``; several are paired in order."""
        known = " AND ".join(f"{name} IS NOT NULL" for name in key)
        pair = ", ".join(key)
        statement = f"""
            UPDATE staged_items s SET item_id = found.item_id FROM (
              SELECT n.server_item_id, u.item_id FROM (
                SELECT server_item_id, {pair}, row_number() OVER (PARTITION BY {pair} ORDER BY server_item_id) AS nth
                FROM staged_items WHERE item_id IS NULL AND {known}) n
              JOIN (
                SELECT item_id, {pair}, row_number() OVER (PARTITION BY {pair} ORDER BY NOT present, item_id) AS nth
                FROM unmatched WHERE {known}{" AND missing" if only_missing else ""}) u USING ({pair}, nth)
            ) found WHERE found.server_item_id = s.server_item_id"""
        found = execute(self._connection, statement).rowcount
        execute(self._connection, "DELETE FROM unmatched u USING staged_items s WHERE s.item_id = u.item_id")
        execute(self._connection, "ANALYZE unmatched, staged_items")
        return found
