"""What discovery plans with: what users like, its traits, and what is recommended from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.library.discovery import LikedTitle
from aperture_dagster.storage.queries import execute, read_rows, read_value


def liked_titles(connection: Connection, user_ids: Sequence[str]) -> dict[str, list[LikedTitle]]:
    """Return by user the titles in the library that they like and that TMDb knows, with the time of the last play."""
    statement = """
        WITH watched AS (SELECT user_id, work_id, max(last_played_at) AS last_played_at FROM watch_state
          WHERE user_id = ANY(:users) GROUP BY user_id, work_id)
        SELECT t.user_id, t.work_id, t.media_type, m.tmdb_id, t.weight::float8 AS weight, w.last_played_at
        FROM taste_weights t JOIN tmdb_metadata m USING (work_id) LEFT JOIN watched w USING (user_id, work_id)
        WHERE t.user_id = ANY(:users) AND t.weight > 0 ORDER BY t.user_id, t.work_id"""
    found: dict[str, list[LikedTitle]] = {user_id: [] for user_id in user_ids}
    for row in execute(connection, statement, users=list(user_ids)):
        found[row.user_id].append(LikedTitle(row.work_id, row.media_type, row.tmdb_id, row.weight, row.last_played_at))
    return found


def first_pages(connection: Connection, works: Iterable[int]) -> dict[int, list[int]]:
    """Return the TMDb ids of the first page of what TMDb recommends from each of these works."""
    statement = "SELECT work_id, recommended_tmdb_ids FROM tmdb_metadata WHERE work_id = ANY(:works)"
    return {row.work_id: row.recommended_tmdb_ids for row in execute(connection, statement, works=list(works))}


def people_of(connection: Connection, works: Iterable[int]) -> dict[int, dict[str, int]]:
    """Return the leading people of works by name, with their ids on TMDb."""
    statement = """
        SELECT work_id, trait_ids->'people' AS people FROM tmdb_metadata
        WHERE work_id = ANY(:works) AND jsonb_typeof(trait_ids->'people') = 'object'"""
    return {row.work_id: row.people for row in execute(connection, statement, works=list(works))}


def people_in_library(connection: Connection) -> dict[int, int]:
    """Count the films of the library by leading person (TMDb's id); people with one film are left out."""
    statement = """
        SELECT CAST(p.value AS bigint) AS person, count(*) AS films FROM tmdb_metadata m
        JOIN works w ON w.work_id = m.work_id AND w.media_type = 'movie', jsonb_each_text(m.trait_ids->'people') p
        WHERE jsonb_typeof(m.trait_ids->'people') = 'object' GROUP BY 1 HAVING count(*) > 1"""
    return {row.person: row.films for row in execute(connection, statement)}


def trait_ids(connection: Connection, kind: str, names: Iterable[str]) -> dict[tuple[str, str], int]:
    """Return TMDb's ids of genres or keywords (``kind``) by media type and name in lower case.

    TMDb has other genres for series than for films.
    """
    statement = """
        SELECT DISTINCT w.media_type, lower(t.key) AS name, CAST(t.value AS bigint) AS id FROM tmdb_metadata m
        JOIN works w USING (work_id), jsonb_each_text(m.trait_ids->:kind) t
        WHERE jsonb_typeof(m.trait_ids->:kind) = 'object' AND lower(t.key) = ANY(:names)"""
    wanted = sorted({name.lower() for name in names})
    return {(row.media_type, row.name): row.id for row in execute(connection, statement, kind=kind, names=wanted)}


def profiles(connection: Connection, user_ids: Sequence[str]) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return the summary of each user's taste by user and media type."""
    statement = "SELECT user_id, media_type, summary FROM taste_profiles WHERE user_id = ANY(:users)"
    rows = read_rows(connection, statement, users=list(user_ids))
    return {(row["user_id"], row["media_type"]): row["summary"] for row in rows}


def language_counts(connection: Connection, user_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the titles in each user's history by original language, films and series together."""
    statement = """
        SELECT t.user_id, m.original_language AS language, count(*) AS titles FROM taste_weights t
        JOIN tmdb_metadata m USING (work_id) WHERE t.user_id = ANY(:users) AND m.original_language IS NOT NULL
        GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2"""
    found: dict[str, dict[str, int]] = {user_id: {} for user_id in user_ids}
    for row in execute(connection, statement, users=list(user_ids)):
        found[row.user_id][row.language] = row.titles
    return found


def library_sizes(connection: Connection) -> dict[str, int]:
    """Count the works of the library by media type."""
    statement = "SELECT media_type, count(DISTINCT work_id) AS works FROM present_titles GROUP BY 1"
    return {row.media_type: row.works for row in execute(connection, statement)}


def without_trait_ids(connection: Connection) -> int:
    """Count the titles of the library that TMDb knows, but which have not been fetched since traits have ids."""
    statement = """
        SELECT count(*) FROM tmdb_metadata m WHERE trait_ids IS NULL
        AND EXISTS (SELECT 1 FROM present_titles t WHERE t.work_id = m.work_id)"""
    return read_value(connection, statement)
