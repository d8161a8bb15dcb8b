"""Everything that sources say of a title of the library, for its page, and what else its people made."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.enrichment.tables import enriched_metadata
from aperture_dagster.postgres.queries import read_rows
from aperture_dagster.postgres.tables import written_columns

MOST_SHARED = 300
"""Titles of the same people that are looked at; the most popular ones, if there are more."""
_OR_SERVERS = ("tagline", "overview", "genres", "official_rating", "runtime_minutes", "original_title", "status")
_COLUMNS = ", ".join(
    f'coalesce(e."{name}", c."{name}") AS "{name}"' if name in _OR_SERVERS else f'e."{name}"'
    for name in written_columns(enriched_metadata)
)


def read_details(connection: Connection, work_id: int) -> dict[str, Any]:
    """Return the columns of ``enriched_metadata`` of a title of the library, and ``recommended_tmdb_ids``.

    What the media server says stands where a title is not merged yet.
    """
    statement = f"""
        SELECT {_COLUMNS}, m.recommended_tmdb_ids FROM work_copies c LEFT JOIN enriched_metadata e USING (work_id)
        LEFT JOIN tmdb_metadata m USING (work_id) WHERE work_id = :work"""
    rows = read_rows(connection, statement, work=work_id)
    return rows[0] if rows else {}


def read_shared(connection: Connection, work_id: int, names: Collection[str]) -> list[dict[str, Any]]:
    """Return the other titles with any of these people: ``work_id`` and ``names``, the most popular first."""
    statement = """
        SELECT work_id, "cast" || directors || creators AS names FROM enriched_metadata
        WHERE work_id <> :work AND ("cast" && CAST(:names AS text[]) OR directors && CAST(:names AS text[])
          OR creators && CAST(:names AS text[]))
        ORDER BY popularity DESC NULLS LAST, work_id LIMIT :most"""
    return read_rows(connection, statement, work=work_id, names=list(names), most=MOST_SHARED) if names else []


def read_collection(connection: Connection, work_id: int) -> list[int]:
    """Return the other works of the library in a film's collection, in the order in which they were released."""
    statement = """
        SELECT o.work_id FROM tmdb_metadata m JOIN tmdb_metadata o USING (collection_id)
        WHERE m.work_id = :work AND o.work_id <> :work ORDER BY o.release_date NULLS LAST, o.work_id LIMIT :most"""
    return [row["work_id"] for row in read_rows(connection, statement, work=work_id, most=MOST_SHARED)]


def works_of_tmdb(connection: Connection, media_type: str, tmdb_ids: Collection[int]) -> list[int]:
    """Return the works of the library with these ids on TMDb, in their order."""
    statement = """
        SELECT e.work_id FROM unnest(CAST(:ids AS bigint[])) WITH ORDINALITY AS r(tmdb_id, place)
        JOIN enriched_metadata e ON e.media_type = :type AND e.tmdb_id = r.tmdb_id ORDER BY place"""
    return [row["work_id"] for row in read_rows(connection, statement, ids=list(tmdb_ids), type=media_type)]
