"""Views: those of the catalogue, and those that join tables of several rooms."""

from sqlalchemy import DDL, event

from aperture_dagster.catalogue import tables as catalogue
from aperture_dagster.schema.tables import metadata

VIEWS = catalogue.VIEWS | {
    # Ids of works at other services, from the media server or else from TMDb.
    "work_ids": "SELECT w.work_id, w.media_type, coalesce(w.tmdb_id, m.tmdb_id) AS tmdb_id, "
    "coalesce(w.imdb_id, m.imdb_id) AS imdb_id, coalesce(w.tvdb_id, m.tvdb_id) AS tvdb_id FROM works w "
    "LEFT JOIN tmdb_metadata m USING (work_id)",
    # Display names of works, in the library or not.
    "work_names": "SELECT w.work_id, coalesce(e.title, c.title, p.title) AS title, "
    "coalesce(e.year, c.year, extract(year FROM p.release_date)::int) AS year, "
    "coalesce(e.tmdb_id, c.tmdb_id, p.tmdb_id) AS tmdb_id, coalesce(e.imdb_id, c.imdb_id, p.imdb_id) AS imdb_id "
    "FROM works w LEFT JOIN enriched_metadata e USING (work_id) LEFT JOIN work_copies c USING (work_id) "
    "LEFT JOIN discovery_pool p USING (work_id)",
    # Works with every name that the library, the sources, the discovery pool or a user's own lists know them by.
    "known_titles": "WITH copies AS (SELECT work_id, bool_or(removed_at IS NULL) AS present, "
    "array_agg(title) || array_agg(original_title) AS names, array_agg(year) AS years FROM titles GROUP BY work_id), "
    "noted AS (SELECT work_id, array_agg(title) AS names FROM (SELECT work_id, title FROM seerr_requests "
    "UNION SELECT work_id, title FROM dismissals UNION SELECT work_id, title FROM for_later) n GROUP BY work_id) "
    "SELECT w.work_id, w.media_type, coalesce(w.tmdb_id, m.tmdb_id, p.tmdb_id) AS tmdb_id, "
    "coalesce(w.imdb_id, m.imdb_id, p.imdb_id) AS imdb_id, coalesce(w.tvdb_id, m.tvdb_id, p.tvdb_id) AS tvdb_id, "
    "coalesce(e.title, n.title, p.title, noted.names[1]) AS title, "
    "coalesce(e.year, n.year, extract(year FROM p.release_date)::int) AS year, "
    "coalesce(c.present, false) AS in_library, c.names || noted.names || ARRAY[e.title, e.original_title, m.title, "
    "m.original_title, p.title, p.original_title] AS names, c.years || ARRAY[e.year, "
    "extract(year FROM m.release_date)::int, extract(year FROM p.release_date)::int] AS years "
    "FROM works w LEFT JOIN copies c USING (work_id) LEFT JOIN work_copies n USING (work_id) "
    "LEFT JOIN enriched_metadata e USING (work_id) LEFT JOIN tmdb_metadata m USING (work_id) "
    "LEFT JOIN discovery_pool p USING (work_id) LEFT JOIN noted USING (work_id)",
    # What the media server last showed of a user and an item: the watch state, and the rating there.
    "shown_states": "SELECT w.*, r.rating FROM watch_state w LEFT JOIN ratings r ON r.user_id = w.user_id "
    "AND r.source = 'server' AND r.work_id = w.work_id AND r.item_id = w.item_id",
    # Users who connected Trakt, whether that works now or not: what they rate waits to be sent there.
    "trakt_users": "SELECT user_id FROM trakt_accounts",
    # What users do not want on any list: titles, and all of the genres that they excluded.
    "hidden_works": "SELECT user_id, work_id FROM dismissals UNION SELECT c.user_id, g.work_id FROM member_choices c "
    "JOIN (SELECT t.work_id, coalesce(e.genres, t.genres) AS genres FROM present_titles t "
    "LEFT JOIN enriched_metadata e USING (work_id) "
    "UNION ALL SELECT work_id, genres FROM discovery_pool) g ON g.genres && c.excluded_genres "
    # Most exclude none, and all titles would be looked at for them.
    "WHERE c.excluded_genres <> '{}'",
}
# After the tables. A migration that changes a column of a view drops the view first, and creates it again afterwards.
for _name, _query in VIEWS.items():
    event.listen(metadata, "after_create", DDL(f"CREATE VIEW {_name} AS {_query}"))
