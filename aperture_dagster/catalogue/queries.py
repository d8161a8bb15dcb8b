"""The catalogue: films, series and episodes of the media server.

A row is *present* while ``removed_at`` is null: only then is it counted, listed and recommended. It is a *tombstone*
for 30 days after its removal, while lists of past plays still show its name, and *gone* after that.

No row is ever deleted: the item is recognised when the server lists it again, and its history continues.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.identity import ProviderIds
from aperture_dagster.catalogue.references import KnownTitle
from aperture_dagster.media_server.records import MediaType
from aperture_dagster.postgres.queries import execute, read_rows, read_value

# Condition on a removed row.
GONE = "removed_at < now() - interval '30 days'"
# Condition on a row ``e`` with a work_id: the library has a copy of the work.
PRESENT = "EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = e.work_id)"


def catalogue_size(connection: Connection) -> dict[str, int]:
    """Count the present films, series and episodes."""
    statement = """
        SELECT count(*) FILTER (WHERE media_type = 'movie') AS movies,
        count(*) FILTER (WHERE media_type = 'series') AS series,
        (SELECT count(*) FROM present_episodes) AS episodes FROM present_titles"""
    return read_rows(connection, statement)[0]


def known_libraries(connection: Connection) -> set[str]:
    """Return the ids of all libraries that titles or episodes came from."""
    statement = "SELECT library_id FROM titles UNION SELECT library_id FROM episodes"
    return set(execute(connection, statement).scalars())


def has_library_for(connection: Connection, media_type: MediaType) -> bool:
    """Return whether the server has a library for films or for series; mixed libraries hold both."""
    collection_type = {"movie": "movies", "series": "tvshows"}[media_type]
    statement = "SELECT count(*) FROM libraries WHERE coalesce(collection_type, 'mixed') IN (:collection_type, 'mixed')"
    return read_value(connection, statement, collection_type=collection_type) > 0


def titles_without_ids(connection: Connection) -> tuple[int, int, list[dict[str, Any]]]:
    """Return the number of titles without a provider id, the number of all titles, and ten examples."""
    bare = "tmdb_id IS NULL AND imdb_id IS NULL AND tvdb_id IS NULL"
    statement = f"SELECT count(*) FILTER (WHERE {bare}), count(*) FROM present_titles"
    without, total = execute(connection, statement).one()
    statement = f"SELECT title, year, path FROM present_titles WHERE {bare} ORDER BY title LIMIT 10"
    return without, total, read_rows(connection, statement)


def newest_titles(connection: Connection, media_type: MediaType) -> list[dict[str, Any]]:
    """List the 20 most recently added titles, for the asset's page."""
    statement = """
        SELECT title, year, genres, runtime_minutes, added_at::date AS added FROM present_titles
        WHERE media_type = :media_type ORDER BY added_at DESC NULLS LAST, item_id LIMIT 20"""
    return read_rows(connection, statement, media_type=media_type)


# When titles were added to the library.


def read_added(connection: Connection) -> dict[int, datetime]:
    """Read when the first copy of each work in the library was added to it, where the media server says so."""
    statement = """
        SELECT work_id, min(added_at) FROM titles WHERE removed_at IS NULL AND added_at IS NOT NULL GROUP BY work_id"""
    return {work_id: moment for work_id, moment in execute(connection, statement)}


def last_addition(connection: Connection) -> datetime | None:
    """Read when a title or an episode was last new to the catalogue, by the clock of the database."""
    statement = """
        SELECT greatest((SELECT max(first_seen_at) FROM titles), (SELECT max(first_seen_at) FROM episodes))"""
    return read_value(connection, statement)


# All titles that a command may name.


def read_titles_to_name(connection: Connection) -> list[KnownTitle]:
    """Read all works with every name that the library, TMDb, the discovery pool or a user's own lists know them by."""
    statement = """
        SELECT work_id, media_type, title, year, tmdb_id, imdb_id, tvdb_id, in_library, names, years
        FROM known_titles ORDER BY work_id"""
    return [
        KnownTitle(
            row.work_id,
            row.media_type,
            row.title,
            row.year,
            ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id),
            row.in_library,
            frozenset(name for name in row.names if name),
            frozenset(year for year in row.years if year),
        )
        for row in execute(connection, statement)
    ]
