"""Everything that could be on a user's list, in order, as it was ranked last, without what they have seen since."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.postgres.bulk import DOUBLE, INTEGER, read_packed
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
    SELECT user_id, work_id FROM watch_state
    WHERE played OR play_count > CASE WHEN position_share > 0 AND NOT is_episode THEN 1 ELSE 0 END
    UNION ALL SELECT user_id, work_id FROM watched_together
    UNION ALL SELECT user_id, work_id FROM plays WHERE imported_from IS NOT NULL
    UNION ALL SELECT user_id, work_id FROM seen_elsewhere WHERE work_id IS NOT NULL AND times > 0"""
# As sources say it; the length of a series is often that of its first episode, see `facts_of`.
FACTS = """
    SELECT t.work_id, t.media_type, coalesce(e.year, t.year) AS year, coalesce(e.genres, t.genres) AS genres,
    nullif(coalesce(e.runtime_minutes, t.runtime_minutes), 0) AS minutes,
    coalesce(e.official_rating, t.official_rating) AS official_rating, t.item_id
    FROM present_titles t LEFT JOIN enriched_metadata e USING (work_id)"""


def fitting_works(
    connection: Connection,
    user_id: str,
    *,
    media_type: str,
    longest: int | None = None,
    genres: Sequence[str] = (),
    first_year: int | None = None,
    last_year: int | None = None,
    most: int | None = None,
) -> list[dict[str, Any]]:
    """Return the works of a user's whole list that fit, best first, with what is known of them.

    A title whose length or year is unknown fits no limit of these. ``genres``: it has one of them at least.
    ``longest`` limits films alone: lengths of series come from all of their episodes, which takes too long for a whole
    list, so ask :func:`facts_of` for the few that are shown. ``most``: the first so many.
    """
    # Nothing is looked up of titles that come after these. Without OFFSET, the planner would read all that was seen.
    statement = f"""
        SELECT r.work_id, r.media_type, f.year, f.genres, f.minutes, r.place
        FROM (SELECT * FROM ({RANKED}) w WHERE w.media_type = :type ORDER BY place OFFSET 0) r
        CROSS JOIN LATERAL (SELECT * FROM ({FACTS}) known WHERE known.work_id = r.work_id ORDER BY item_id LIMIT 1) f
        WHERE (CAST(:longest AS int) IS NULL OR r.media_type = 'series' OR f.minutes <= :longest)
        AND (CAST(:first AS int) IS NULL OR f.year >= :first) AND (CAST(:last AS int) IS NULL OR f.year <= :last)
        AND (CAST(:genres AS text[]) = '{{}}' OR f.genres && CAST(:genres AS text[]))
        AND NOT EXISTS (SELECT 1 FROM ({SEEN}) s WHERE s.user_id = r.user_id AND s.work_id = r.work_id OFFSET 0)
        ORDER BY r.place LIMIT :most"""
    return read_rows(
        connection, statement, users=[user_id], type=media_type, longest=longest, genres=list(genres),
        first=first_year, last=last_year, most=most,
    )  # fmt: skip


def scores_of(connection: Connection, user_ids: Sequence[str]) -> dict[tuple[str, str], dict[int, float]]:
    """Return by user and media type the scores of the works on their whole list."""
    # Packed: ten thousand titles each, for which rows as objects would take longer than all else.
    ranked, columns = RANKED.replace(":users", "%(users)s"), {"work_id": INTEGER, "score": DOUBLE}
    query = f"SELECT work_id, score::float8 AS score FROM ({ranked}) r WHERE media_type = %(type)s"
    found: dict[tuple[str, str], dict[int, float]] = {}
    for user_id, media_type in product(user_ids, MEDIA_TYPES):
        for block in read_packed(connection, query, columns, {"users": [user_id], "type": media_type}):
            scores = zip(block["work_id"].tolist(), block["score"].tolist(), strict=True)
            found.setdefault((user_id, media_type), {}).update(scores)
    return found


def unwanted_works(
    connection: Connection, user_ids: Sequence[str]
) -> tuple[dict[str, frozenset[int]], dict[str, frozenset[int]]]:
    """Return by user the works that they have seen, and those that they hid or rated low.

    Whole genres that they excluded are not among these: whoever shows a title asks whether it is hidden.
    """
    seen: dict[str, set[int]] = {user_id: set() for user_id in user_ids}
    statement = f"SELECT DISTINCT user_id, work_id FROM ({SEEN}) s WHERE user_id = ANY(CAST(:users AS text[]))"
    for user_id, work in execute(connection, statement, users=list(user_ids)).all():
        seen[user_id].add(work)
    barred: dict[str, set[int]] = {}
    for user_id in user_ids:
        hidden = execute(connection, "SELECT work_id FROM dismissals WHERE user_id = :user", user=user_id).scalars()
        ratings = ratings_in_force(connection, user_id)
        low = {work for work, rating in ratings.items() if rating.value is not None and rating.value <= LOW_RATING}
        barred[user_id] = {*hidden, *low}
    return {user: frozenset(works) for user, works in seen.items()}, {
        user: frozenset(works) for user, works in barred.items()
    }


def facts_of(connection: Connection, works: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return what is known of works in the library: ``year``, ``genres``, ``minutes``, ``official_rating``.

    A series is as long as most of its episodes, specials left aside.
    """
    if not works:
        return {}
    of_works = "WHERE work_id = ANY(CAST(:works AS bigint[]))"
    statement = f"SELECT DISTINCT ON (work_id) * FROM ({FACTS}) f {of_works} ORDER BY work_id, item_id"
    found = {row["work_id"]: row for row in read_rows(connection, statement, works=array_of(works))}
    statement = f"""
        SELECT work_id, percentile_disc(0.5) WITHIN GROUP (ORDER BY runtime_minutes) AS minutes FROM present_episodes
        {of_works} AND runtime_minutes > 0 AND coalesce(season, 1) > 0 GROUP BY work_id"""
    series = [work for work, row in found.items() if row["media_type"] == "series"]
    for work, minutes in execute(connection, statement, works=array_of(series)).all() if series else ():
        found[work]["minutes"] = minutes
    return found
