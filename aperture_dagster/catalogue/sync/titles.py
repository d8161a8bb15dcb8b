"""The sync of films or of series."""

from __future__ import annotations

import itertools
from collections.abc import Callable

from sqlalchemy import Connection

from aperture_dagster.catalogue.identity import Incoming, Known, ProviderIds, assign_identities
from aperture_dagster.catalogue.sync.merge import FORMER_ITEM, MISSING, CatalogueSync, Coverage
from aperture_dagster.catalogue.tables import titles, works
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.postgres.bulk import copy_rows, upsert
from aperture_dagster.postgres.queries import execute
from aperture_dagster.worklist.fetches import ask_again


class TitleSync(CatalogueSync):
    """A sync of films or of series."""

    TABLE = titles
    ASSIGNED = ("item_id", "work_id")

    def __init__(self, connection: Connection, media_type: MediaType) -> None:
        """Create the staging table for films or for series."""
        super().__init__(
            connection,
            "films" if media_type == "movie" else "series",
            f"t.media_type = '{media_type}'",
            same_for_all={"media_type": media_type},
        )
        self._media_type = media_type

    def _identify(self, coverage: Coverage) -> int:
        connection = self._connection
        ids = "t.tmdb_id, t.imdb_id, t.tvdb_id"
        statement = (
            f"SELECT t.server_item_id, {ids}, t.path, t.library_id, t.title FROM incoming_items t ORDER BY t.ctid"
        )
        incoming = [
            Incoming(server_item_id, ProviderIds(tmdb_id, imdb_id, tvdb_id), path, library_id, title)
            for server_item_id, tmdb_id, imdb_id, tvdb_id, path, library_id, title in execute(
                connection, statement
            ).all()
        ]
        # Include versions, which may be listed as items now because another file became the primary one.
        statement = f"""
            SELECT t.item_id, t.work_id, t.server_item_id, {ids}, t.path, t.library_id, t.title, {MISSING} AS missing,
            t.removed_at IS NOT NULL AS removed FROM titles t
            LEFT JOIN (SELECT DISTINCT id FROM seen_ids) seen_ids ON seen_ids.id = t.server_item_id WHERE {self._scope}
            UNION ALL
            SELECT v.item_id, t.work_id, v.server_item_id, {ids}, NULL, t.library_id, t.title, FALSE, FALSE
            FROM item_versions v JOIN titles t ON t.item_id = v.primary_item_id
            WHERE {self._scope} AND NOT EXISTS ({FORMER_ITEM.format(table="titles")}) ORDER BY removed, item_id"""
        known = [
            Known(item_id, work_id, server_id, ProviderIds(tmdb_id, imdb_id, tvdb_id), path, library_id, title, missing)
            for item_id, work_id, server_id, tmdb_id, imdb_id, tvdb_id, path, library_id, title, missing, _ in execute(
                connection, statement, complete=coverage.certain_libraries()
            ).all()
        ]
        statement = f"SELECT t.work_id, {ids} FROM works t WHERE {self._scope}"
        works_known = {
            work_id: ProviderIds(tmdb_id, imdb_id, tvdb_id)
            for work_id, tmdb_id, imdb_id, tvdb_id in execute(connection, statement).all()
        }
        identities = assign_identities(
            incoming,
            known,
            works_known,
            new_item_id=_next_number(connection, "item_id_seq"),
            new_work_id=_next_number(connection, "works_work_id_seq"),
        )
        changed = [
            {
                "work_id": work_id,
                "media_type": self._media_type,
                "tmdb_id": ids.tmdb_id,
                "imdb_id": ids.imdb_id,
                "tvdb_id": ids.tvdb_id,
            }
            for work_id, ids in identities.works.items()
        ]
        upsert(connection, works, changed, columns=("work_id", "media_type", "tmdb_id", "imdb_id", "tvdb_id"))
        # Answers fetched under the old ids may be wrong.
        ask_again(connection, list(identities.works))
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE assigned (server_item_id text, item_id bigint, work_id bigint) ON COMMIT DROP"
        )
        assigned = ((a.server_item_id, a.item_id, a.work_id) for a in identities.assignments)
        copy_rows(connection, "assigned", ("server_item_id", "item_id", "work_id"), assigned)
        connection.exec_driver_sql(
            "CREATE TEMPORARY TABLE staged_items ON COMMIT DROP AS "
            "SELECT a.item_id, a.work_id, i.* FROM incoming_items i JOIN assigned a USING (server_item_id)"
        )
        return identities.recognised


def _next_number(connection: Connection, sequence: str) -> Callable[[], int]:
    """Return a function that draws numbers from a sequence, in blocks."""
    statement = "SELECT nextval(CAST(:sequence AS regclass)) FROM generate_series(1, 500)"
    blocks = (execute(connection, statement, sequence=sequence).scalars().all() for _ in itertools.count())
    numbers = itertools.chain.from_iterable(blocks)
    return lambda: next(numbers)
