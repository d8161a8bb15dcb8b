"""All titles that a command may name."""

from __future__ import annotations

from sqlalchemy import Connection

from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.references import KnownTitle
from aperture_dagster.postgres.queries import execute


def read_titles_to_name(connection: Connection) -> list[KnownTitle]:
    """Read all works with every name that the library, TMDb, the discovery pool or a user's own lists know them by."""
    statement = """
        WITH copies AS (
          SELECT work_id, bool_or(removed_at IS NULL) AS present, array_agg(title) AS names,
          array_agg(original_title) AS originals, array_agg(year) AS years FROM titles GROUP BY work_id),
        noted AS (
          SELECT work_id, array_agg(title) AS names FROM (
            SELECT work_id, title FROM seerr_requests UNION SELECT work_id, title FROM dismissals) n GROUP BY work_id)
        SELECT w.work_id, w.media_type, w.tmdb_id AS tmdb, w.imdb_id AS imdb, w.tvdb_id AS tvdb,
        m.tmdb_id, m.imdb_id, m.tvdb_id, p.tmdb_id AS pool_tmdb, p.imdb_id AS pool_imdb, p.tvdb_id AS pool_tvdb,
        coalesce(e.title, n.title, p.title, noted.names[1]) AS title,
        coalesce(e.year, n.year, extract(year FROM p.release_date)::int) AS year,
        coalesce(c.present, false) AS in_library,
        coalesce(c.names, '{}') || coalesce(c.originals, '{}') || coalesce(noted.names, '{}')
          || ARRAY[e.title, e.original_title, m.title, m.original_title, p.title, p.original_title] AS names,
        coalesce(c.years, '{}') || ARRAY[e.year, extract(year FROM m.release_date)::int,
          extract(year FROM p.release_date)::int] AS years
        FROM works w LEFT JOIN copies c USING (work_id) LEFT JOIN work_copies n USING (work_id)
        LEFT JOIN enriched_metadata e USING (work_id)
        LEFT JOIN tmdb_metadata m USING (work_id) LEFT JOIN discovery_pool p USING (work_id)
        LEFT JOIN noted USING (work_id) ORDER BY w.work_id"""
    return [
        KnownTitle(
            row.work_id,
            row.media_type,
            row.title,
            row.year,
            ProviderIds(row.tmdb, row.imdb, row.tvdb)
            .filled_from(ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id))
            .filled_from(ProviderIds(row.pool_tmdb, row.pool_imdb, row.pool_tvdb)),
            row.in_library,
            frozenset(name for name in row.names if name),
            frozenset(year for year in row.years if year),
        )
        for row in execute(connection, statement)
    ]
