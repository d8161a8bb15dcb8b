"""The catalogue: films, series and episodes of the media server.

A row of a title or an episode is never deleted, since it carries the identity that plays and states refer to. It is

- *present* while ``removed_at`` is null: only then can it be played, counted, listed or recommended;
- a *tombstone* for ``tombstone_days``: where the past is shown (the latest plays) it still has its name;
- *gone* after that (:data:`GONE`): nothing shows it any more.

Whatever its state, it is recognised when the server lists it again, and its history counts on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from aperture_dagster.resources.media_server.records import MediaType

# Of a row with a tombstone, given the setting as :tombstone_days.
GONE = "removed_at < now() - make_interval(days => :tombstone_days)"


def catalogue_size(connection: Connection) -> dict[str, int]:
    """Count the present films, series and episodes."""
    row = connection.exec_driver_sql(
        "SELECT count(*) FILTER (WHERE media_type = 'movie') AS movies, "
        "count(*) FILTER (WHERE media_type = 'series') AS series, (SELECT count(*) FROM present_episodes) AS episodes "
        "FROM present_titles"
    ).one()
    return dict(row._mapping)


def tombstones(connection: Connection, counted: str, days: int) -> int:
    """Count removed films, series or episodes that are not gone yet. ``counted``: a key of :func:`catalogue_size`."""
    table = "episodes" if counted == "episodes" else "titles"
    media_type = {"movies": "media_type = 'movie'", "series": "media_type = 'series'"}.get(counted, "TRUE")
    statement = text(f"SELECT count(*) FROM {table} WHERE {media_type} AND removed_at IS NOT NULL AND NOT ({GONE})")
    return connection.execute(statement, {"tombstone_days": days}).scalar() or 0


def known_libraries(connection: Connection) -> set[str]:
    """Return the ids of all libraries that titles or episodes came from."""
    statement = "SELECT library_id FROM titles UNION SELECT library_id FROM episodes"
    return set(connection.exec_driver_sql(statement).scalars())


def has_library_for(connection: Connection, media_type: MediaType) -> bool:
    """Tell whether the server has a library that may hold films or series; mixed libraries hold both."""
    kinds = {"movie": "movies", "series": "tvshows"}
    statement = text(
        "SELECT EXISTS (SELECT 1 FROM libraries WHERE coalesce(collection_type, 'mixed') IN (:of_its_own, 'mixed'))"
    )
    return bool(connection.execute(statement, {"of_its_own": kinds[media_type]}).scalar())


def titles_without_ids(connection: Connection, limit: int = 10) -> tuple[int, int, list[dict[str, Any]]]:
    """Return how many titles have no id of another service, the number of all titles, and examples."""
    bare = "tmdb_id IS NULL AND imdb_id IS NULL AND tvdb_id IS NULL"
    without, total = connection.exec_driver_sql(
        f"SELECT count(*) FILTER (WHERE {bare}), count(*) FROM present_titles"
    ).one()
    rows = connection.execute(
        text(f"SELECT title, year, path FROM present_titles WHERE {bare} ORDER BY title LIMIT :n"),
        {"n": limit},
    ).mappings()
    return without, total, [dict(row) for row in rows]


def newest_titles(connection: Connection, media_type: MediaType, limit: int = 20) -> list[dict[str, Any]]:
    """List the titles added last, for the asset's page."""
    rows = connection.execute(
        text(
            "SELECT title, year, genres, runtime_minutes, added_at::date AS added FROM present_titles "
            "WHERE media_type = :kind ORDER BY added_at DESC NULLS LAST, item_id LIMIT :n"
        ),
        {"kind": media_type, "n": limit},
    ).mappings()
    return [dict(row) for row in rows]


def largest_series(connection: Connection, limit: int = 20) -> list[dict[str, Any]]:
    """List the series with most episodes, for the asset's page."""
    rows = connection.execute(
        text(
            "SELECT t.title, t.year, count(DISTINCT e.season) AS seasons, count(*) AS episodes, "
            "max(e.air_date) AS last_aired FROM present_episodes e "
            "JOIN present_titles t ON t.item_id = e.series_item_id GROUP BY t.item_id, t.title, t.year "
            "ORDER BY episodes DESC, t.title LIMIT :n"
        ),
        {"n": limit},
    ).mappings()
    return [dict(row) for row in rows]
