"""What the services of facts are asked about: the titles of the library, and studios."""

from __future__ import annotations

from aperture_dagster.worklist.source import Population

TITLES = Population(
    kinds=("movie", "series"),
    members="SELECT w.media_type AS kind, w.work_id AS item, min(t.added_at) AS added_at FROM work_ids w "
    "JOIN present_titles t USING (work_id) WHERE {askable} GROUP BY 1, 2",
    has_member="EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = f.item)",
    name="SELECT title AS name, year FROM work_copies t WHERE t.work_id = f.item AND t.removed_at IS NULL",
    # An id found by a lookup takes precedence over the server's, which may be outdated.
    columns=("coalesce(f.found_id, w.tmdb_id) AS tmdb_id", "w.imdb_id", "w.tvdb_id"),
    joins="JOIN work_ids w ON w.work_id = f.item",
    askable={
        "any_known": "w.tmdb_id IS NOT NULL OR w.imdb_id IS NOT NULL "
        "OR (w.media_type = 'series' AND w.tvdb_id IS NOT NULL)",
        "imdb": "w.imdb_id IS NOT NULL",
        "imdb_or_tmdb": "w.imdb_id IS NOT NULL OR w.tmdb_id IS NOT NULL",
    },
    is_askable="EXISTS (SELECT 1 FROM work_ids w WHERE w.work_id = f.item AND ({askable}))",
)
STUDIOS = Population(
    kinds=("company", "network"),
    members="SELECT s.kind, s.studio_id AS item, NULL::timestamptz AS added_at FROM studio_logos s "
    "WHERE s.titles > 0 AND {askable}",
    has_member="EXISTS (SELECT 1 FROM studio_logos s WHERE s.kind = f.kind AND s.studio_id = f.item AND s.titles > 0)",
    name="SELECT name, NULL::int AS year FROM studio_logos s WHERE s.kind = f.kind AND s.studio_id = f.item",
    columns=("s.logo_path",),
    joins="JOIN studio_logos s ON s.kind = f.kind AND s.studio_id = f.item",
)
