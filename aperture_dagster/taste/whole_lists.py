"""Everything that could be on a user's list, in order, as it was ranked last, without what they have seen since."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import array_of, execute, read_rows
from aperture_dagster.ratings.in_force import ratings_in_force

LOW_RATING = 4
"""From 1 to 10: what is rated so, or lower, nobody wants to see again."""
# A list that was made by an earlier version has no whole one yet.
RANKED = """
    SELECT w.user_id, w.media_type, r.work_id, r.score, r.place FROM whole_lists w
    CROSS JOIN LATERAL unnest(w.works, w.scores) WITH ORDINALITY AS r (work_id, score, place)
    WHERE w.user_id = ANY(CAST(:users AS text[]))
    UNION ALL SELECT r.user_id, r.media_type, r.work_id, r.score, r.rank FROM recommendations r
    WHERE r.user_id = ANY(CAST(:users AS text[])) AND NOT EXISTS (
      SELECT 1 FROM whole_lists w WHERE (w.user_id, w.media_type) = (r.user_id, r.media_type))"""
# As for lists, a film that was begun once and left is not seen.
SEEN = """
    SELECT DISTINCT user_id, work_id FROM watch_state WHERE user_id = ANY(CAST(:users AS text[]))
    AND (played OR play_count > CASE WHEN position_share > 0 AND NOT is_episode THEN 1 ELSE 0 END)
    UNION SELECT user_id, work_id FROM watched_together WHERE user_id = ANY(CAST(:users AS text[]))
    UNION SELECT user_id, work_id FROM plays
    WHERE imported_from IS NOT NULL AND user_id = ANY(CAST(:users AS text[]))
    UNION SELECT user_id, work_id FROM seen_elsewhere
    WHERE work_id IS NOT NULL AND times > 0 AND user_id = ANY(CAST(:users AS text[]))"""
# How long a film is, or most episodes of a series.
LENGTHS = """
    SELECT work_id, percentile_disc(0.5) WITHIN GROUP (ORDER BY runtime_minutes) AS minutes FROM present_episodes
    WHERE runtime_minutes > 0 AND coalesce(season, 1) > 0 GROUP BY work_id"""
FACTS = f"""
    SELECT DISTINCT ON (t.work_id) t.work_id, t.media_type, coalesce(e.year, t.year) AS year,
    coalesce(e.genres, t.genres) AS genres,
    nullif(coalesce(l.minutes, e.runtime_minutes, t.runtime_minutes), 0) AS minutes,
    coalesce(e.official_rating, t.official_rating) AS official_rating
    FROM present_titles t LEFT JOIN enriched_metadata e USING (work_id) LEFT JOIN ({LENGTHS}) l USING (work_id)
    ORDER BY t.work_id, t.item_id"""


def fitting_works(
    connection: Connection,
    user_id: str,
    *,
    longest: int | None = None,
    media_types: Sequence[str] = (),
    genres: Sequence[str] = (),
    first_year: int | None = None,
    last_year: int | None = None,
) -> list[dict[str, Any]]:
    """Return the works of a user's whole list that fit, best first within each media type, with what is known of them.

    A title whose length or year is unknown fits no limit of these. ``genres``: it has one of them at least.
    """
    statement = f"""
        WITH facts AS MATERIALIZED ({FACTS}), ranked AS ({RANKED}), seen AS ({SEEN})
        SELECT f.work_id, f.media_type, f.year, f.genres, f.minutes, r.place
        FROM ranked r JOIN facts f USING (work_id) LEFT JOIN seen s USING (user_id, work_id)
        WHERE s.work_id IS NULL
        AND (CAST(:longest AS int) IS NULL OR f.minutes <= :longest)
        AND (CAST(:first AS int) IS NULL OR f.year >= :first) AND (CAST(:last AS int) IS NULL OR f.year <= :last)
        AND (CAST(:genres AS text[]) = '{{}}' OR f.genres && CAST(:genres AS text[]))
        AND (CAST(:types AS text[]) = '{{}}' OR f.media_type = ANY(CAST(:types AS text[])))
        ORDER BY f.media_type, r.place"""
    return read_rows(
        connection, statement, users=[user_id], longest=longest, genres=list(genres),
        types=list(media_types), first=first_year, last=last_year,
    )  # fmt: skip


def scores_of(connection: Connection, user_ids: Sequence[str]) -> dict[tuple[str, str], dict[int, float]]:
    """Return by user and media type the scores of the works on their whole list."""
    found: dict[tuple[str, str], dict[int, float]] = {}
    statement = f"SELECT user_id, media_type, work_id, score::float8 FROM ({RANKED}) r"
    for user_id, media_type, work, score in execute(connection, statement, users=list(user_ids)):
        found.setdefault((user_id, media_type), {})[work] = score
    return found


def unwanted_works(
    connection: Connection, user_ids: Sequence[str]
) -> tuple[dict[str, frozenset[int]], dict[str, frozenset[int]]]:
    """Return by user the works that they have seen, and those that they hid or rated low."""
    seen: dict[str, set[int]] = {user_id: set() for user_id in user_ids}
    for user_id, work in execute(connection, SEEN, users=list(user_ids)):
        seen[user_id].add(work)
    barred: dict[str, set[int]] = {}
    for user_id in user_ids:
        hidden = execute(connection, "SELECT work_id FROM hidden_works WHERE user_id = :user", user=user_id).scalars()
        ratings = ratings_in_force(connection, user_id)
        low = {work for work, rating in ratings.items() if rating.value is not None and rating.value <= LOW_RATING}
        barred[user_id] = {*hidden, *low}
    return {user: frozenset(works) for user, works in seen.items()}, {
        user: frozenset(works) for user, works in barred.items()
    }


def facts_of(connection: Connection, works: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return what is known of works in the library: ``year``, ``genres``, ``minutes``, ``official_rating``."""
    statement = f"SELECT * FROM ({FACTS}) f WHERE work_id = ANY(CAST(:works AS bigint[]))"
    return {row["work_id"]: row for row in read_rows(connection, statement, works=array_of(works))}


def library_genres(connection: Connection) -> list[str]:
    """Return the genres of the titles in the library, by name."""
    statement = f"SELECT DISTINCT unnest(genres) FROM ({FACTS}) f"
    return sorted(execute(connection, statement).scalars())
