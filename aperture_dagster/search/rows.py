"""Read what the search looks through: every title of the library and of the discovery pool, and the episodes."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.search.titles import EpisodeRow, TitleRow

BATCH = 2_000
MOST_EPISODES = 300_000
"""Episodes whose names are known; of larger libraries the newest ones."""
# One copy speaks for a work, as in the view ``work_copies``; each copy may have another name.
_LIBRARY = """
    SELECT c.work_id, c.media_type, coalesce(e.title, c.title) AS title, coalesce(e.year, c.year) AS year,
    array_remove(n.names || ARRAY[e.title, e.original_title], NULL) AS names, coalesce(e."cast", '{}') AS "cast",
    coalesce(e.directors || e.creators, '{}') AS makers, coalesce(e.genres, c.genres) AS genres,
    coalesce(e.keywords, '{}') AS keywords, coalesce(e.tagline, c.tagline) AS tagline,
    coalesce(e.overview, c.overview) AS overview, coalesce(e.countries, '{}') AS countries, e.language,
    coalesce(e.runtime_minutes, c.runtime_minutes) AS minutes,
    coalesce(e.official_rating, c.official_rating) AS rated, e.vote_average, e.vote_count, true AS is_owned
    FROM (SELECT DISTINCT ON (work_id) * FROM present_titles WHERE work_id > :last ORDER BY work_id, item_id
      LIMIT :n) c
    LEFT JOIN enriched_metadata e USING (work_id) CROSS JOIN LATERAL (SELECT array_agg(title) ||
      array_agg(original_title) AS names FROM present_titles t WHERE t.work_id = c.work_id) n ORDER BY work_id"""
_POOL = """
    SELECT work_id, media_type, title, extract(year FROM release_date)::int AS year,
    array_remove(ARRAY[original_title], NULL) AS names, coalesce("cast", '{}') AS "cast",
    coalesce(directors || creators, '{}') AS makers, coalesce(genres, '{}') AS genres,
    coalesce(keywords, '{}') AS keywords, tagline, overview, coalesce(countries, '{}') AS countries,
    original_language AS language, NULL::int AS minutes, NULL::text AS rated, vote_average, vote_count,
    false AS is_owned FROM discovery_pool p WHERE wanted_at IS NOT NULL AND fetched_at IS NOT NULL AND title IS NOT NULL
    AND work_id > :last
    AND NOT EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = p.work_id) ORDER BY work_id LIMIT :n"""
_EPISODES = """
    SELECT item_id, work_id, title FROM present_episodes ORDER BY air_date DESC NULLS LAST, item_id DESC LIMIT :n"""
_STATE = """
    SELECT concat_ws(' ', (SELECT concat(count(*), ' ', max(updated_at)) FROM present_titles),
    (SELECT concat(count(*), ' ', max(updated_at)) FROM present_episodes),
    (SELECT concat(count(*), ' ', max(updated_at)) FROM enriched_metadata),
    (SELECT concat(count(fetched_at), ' ', count(wanted_at), ' ', max(fetched_at)) FROM discovery_pool))"""


def read_search_titles(connection: Connection) -> Iterator[TitleRow]:
    """Yield the titles of the library, then those of the pool."""
    for statement in (_LIBRARY, _POOL):
        last = 0
        while rows := read_rows(connection, statement, last=last, n=BATCH):
            last = rows[-1]["work_id"]
            yield from (TitleRow(**row) for row in rows)


def read_search_episodes(connection: Connection) -> Iterator[EpisodeRow]:
    """Yield the episodes of the library."""
    for row in execute(connection, _EPISODES, n=MOST_EPISODES):
        yield EpisodeRow(row.item_id, row.work_id, row.title)


def state_of_titles(connection: Connection) -> str:
    """Return a text that changes whenever what is looked through does; it reads no text, and takes milliseconds."""
    return read_value(connection, _STATE)
