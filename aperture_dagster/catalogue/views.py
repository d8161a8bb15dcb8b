"""Views, created after the tables.

A migration that changes a column used by a view must drop the view first and create it again afterwards.
"""

from sqlalchemy import DDL, event

from aperture_dagster.catalogue.tables import titles
from aperture_dagster.postgres.metadata import metadata

VIEWS = {
    "present_titles": "SELECT * FROM titles WHERE removed_at IS NULL",
    "present_episodes": "SELECT * FROM episodes WHERE removed_at IS NULL",
    "present_users": "SELECT * FROM users WHERE removed_at IS NULL",
    # One copy per work: the oldest present one, or else the oldest. LATERAL with LIMIT, since a query for a few works
    # would otherwise read all titles.
    "work_copies": f"SELECT w.work_id, {', '.join(f'c.{one.name}' for one in titles.columns if one.name != 'work_id')} "
    "FROM works w CROSS JOIN LATERAL (SELECT * FROM titles t WHERE t.work_id = w.work_id "
    "ORDER BY removed_at IS NOT NULL, item_id LIMIT 1) c",
    # Ids of works at other services, from the media server or else from TMDb.
    "work_ids": "SELECT w.work_id, w.media_type, coalesce(w.tmdb_id, m.tmdb_id) AS tmdb_id, "
    "coalesce(w.imdb_id, m.imdb_id) AS imdb_id, coalesce(w.tvdb_id, m.tvdb_id) AS tvdb_id FROM works w "
    "LEFT JOIN tmdb_metadata m USING (work_id)",
    # Display names of works.
    "work_names": "SELECT w.work_id, coalesce(e.title, c.title) AS title, coalesce(e.year, c.year) AS year, "
    "coalesce(e.tmdb_id, c.tmdb_id) AS tmdb_id, coalesce(e.imdb_id, c.imdb_id) AS imdb_id FROM works w "
    "LEFT JOIN enriched_metadata e USING (work_id) LEFT JOIN work_copies c USING (work_id)",
    # All server ids: titles, episodes and their alternate versions. The watch state of a version has its own item_id,
    # its plays have that of the title or episode. A version is removed if its primary item is.
    "items": "SELECT server_item_id, item_id, item_id AS logged_as, work_id, false AS is_episode, NULL::int AS season, "
    "NULL::int AS number, title AS name, NULL::text AS series_name, removed_at, false AS is_version, "
    "false AS is_published FROM titles "
    "UNION ALL SELECT e.server_item_id, e.item_id, e.item_id, e.work_id, true, e.season, e.number, e.title, s.title, "
    "e.removed_at, false, false FROM episodes e JOIN titles s ON s.item_id = e.series_item_id "
    "UNION ALL SELECT v.server_item_id, v.item_id, v.primary_item_id, t.work_id, false, NULL, NULL, NULL, NULL, "
    "t.removed_at, true, v.is_published FROM item_versions v JOIN titles t ON t.item_id = v.primary_item_id "
    "UNION ALL SELECT v.server_item_id, v.item_id, v.primary_item_id, e.work_id, true, e.season, e.number, NULL, NULL, "
    "e.removed_at, true, v.is_published FROM item_versions v JOIN episodes e ON e.item_id = v.primary_item_id",
}
for _name, _query in VIEWS.items():
    event.listen(metadata, "after_create", DDL(f"CREATE VIEW {_name} AS {_query}"))
