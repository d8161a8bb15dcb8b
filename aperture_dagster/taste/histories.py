"""Histories as the ranking reads them: what each user watched, with the ratings in force."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from aperture_dagster.postgres.bulk import DOUBLE, INTEGER, read_packed
from aperture_dagster.postgres.queries import execute
from aperture_dagster.ratings.in_force import COUNTED_RATINGS

if TYPE_CHECKING:
    import pandas as pd

# What somebody has seen in another place, or rated, whether the library has it or not.
KNOWN_ELSEWHERE = """
    SELECT work_id FROM seen_elsewhere WHERE work_id IS NOT NULL
    UNION SELECT work_id FROM ratings WHERE rating IS NOT NULL"""
# A row per user and work; see read_histories().
HISTORIES = f"""
    WITH totals AS (
      SELECT work_id, count(DISTINCT (coalesce(season, -1), coalesce(number, -item_id)))::float8 AS episodes_total
      FROM present_episodes WHERE coalesce(season, 1) > 0 GROUP BY work_id),
    states AS (
      SELECT w.*, coalesce(e.season, -1) AS season,
      CASE WHEN w.is_episode THEN coalesce(e.number, -coalesce(v.primary_item_id, w.item_id)) END AS number,
      CASE WHEN w.played THEN greatest(w.play_count, 1) ELSE w.play_count END AS plays
      FROM watch_state w LEFT JOIN item_versions v USING (item_id)
      LEFT JOIN episodes e ON e.item_id = coalesce(v.primary_item_id, w.item_id)
      UNION ALL SELECT p.user_id, p.item_id, p.work_id, p.is_episode, true, p.play_count, 0, p.played_at, false,
      p.seen_at, coalesce(e.season, -1), CASE WHEN p.is_episode THEN coalesce(e.number, -p.item_id) END, p.play_count
      FROM plays p LEFT JOIN episodes e USING (item_id) WHERE p.imported_from IS NOT NULL
      UNION ALL SELECT user_id, 0, work_id, false, times > 0, times, 0, seen_at, is_liked, NULL, -1, NULL, times
      FROM seen_elsewhere WHERE work_id IS NOT NULL
      UNION ALL SELECT o.user_id, NULL, o.work_id, false, true, 1, 0, o.watched_at, false, o.watched_at, -1, NULL, 1
      FROM watched_together o WHERE NOT EXISTS (
        SELECT 1 FROM watch_state w WHERE (w.user_id, w.work_id) = (o.user_id, o.work_id) AND w.play_count > 0)),
    moments AS (
      SELECT user_id, work_id, is_episode, season, number, last_played_at, max(plays) AS plays,
      max(CASE WHEN played THEN 1 ELSE position_share END)::float8 AS completion, bool_or(favorite) AS favorite,
      bool_or(played) AND last_played_at IS NOT NULL AS was_finished
      FROM states GROUP BY user_id, work_id, is_episode, season, number, last_played_at),
    subjects AS (
      SELECT user_id, work_id, is_episode, season, max(completion) AS completion, bool_or(favorite) AS favorite,
      greatest(max(plays), count(*) FILTER (WHERE was_finished)) AS plays, max(last_played_at) AS last_played_at
      FROM moments GROUP BY user_id, work_id, is_episode, season, number),
    watched AS (
      SELECT user_id, work_id, sum(plays)::float8 AS plays, bool_or(favorite) AS favorite,
      max(last_played_at) AS last_played_at, bool_or(favorite OR plays > 0 OR completion > 0) AS has_activity,
      CASE WHEN NOT bool_or(is_episode) THEN max(completion) END AS completion,
      CASE WHEN bool_or(is_episode) THEN count(*) FILTER (WHERE is_episode AND season <> 0
        AND (plays > 0 OR completion > 0))::float8 END AS episodes_played
      FROM subjects GROUP BY user_id, work_id),
    of_episodes AS (
      SELECT r.user_id, r.work_id, avg(rating) AS rating FROM ratings r LEFT JOIN item_versions v USING (item_id)
      JOIN episodes e ON e.item_id = coalesce(v.primary_item_id, r.item_id) GROUP BY r.user_id, r.work_id),
    rated AS (
      SELECT user_id, work_id, coalesce(f.rating, o.rating) AS rating
      FROM ({COUNTED_RATINGS}) f FULL JOIN of_episodes o USING (user_id, work_id))
    SELECT user_id, work_id, coalesce(plays, 0) AS plays, completion, coalesce(favorite, false) AS favorite, rating,
    m.asked_at IS NOT NULL AS wants_more, last_played_at, episodes_played, episodes_total
    FROM watched FULL JOIN rated USING (user_id, work_id) FULL JOIN more_like_this m USING (user_id, work_id)
    LEFT JOIN totals USING (work_id)
    WHERE (has_activity OR rating IS NOT NULL OR m.asked_at IS NOT NULL)
    AND user_id IN (SELECT user_id FROM present_users)"""

# The same as numbers: the place of the user in a list, NaN for null, and for a moment that is not known NaT.
_NUMBERS = ("plays", "completion", "rating", "episodes_played", "episodes_total")
_PACKED_HISTORIES = f"""
    SELECT u.place AS "user", work_id, favorite::int::int8 AS favorite, wants_more::int::int8 AS wants_more,
    coalesce((extract(epoch FROM last_played_at) * 1000000)::int8, {-(2**63)}) AS microsecond,
    {", ".join(f"coalesce({name}, 'NaN')::float8 AS {name}" for name in _NUMBERS)}
    FROM ({HISTORIES.replace(":without", "%(without)s")}) h
    JOIN unnest(%(users)s::text[]) WITH ORDINALITY AS u (user_id, place) USING (user_id)"""
_PACKED_COLUMNS: dict[str, tuple[str, Any]] = {
    **dict.fromkeys(("user", "work_id", "favorite", "wants_more", "microsecond"), INTEGER),
    **dict.fromkeys(_NUMBERS, DOUBLE),
}


def read_histories(connection: Connection, *, without: Collection[str] = ()) -> pd.DataFrame:
    """Read the histories of present users, a row per user and work, in the columns of the ranking.

    Whoever left the server no longer shapes the lists of the others. Works that were only rated, or that the user wants
    more of, are part of the histories, in the library or not. Imported plays, and what was seen elsewhere, count
    beside the states of the server. Ratings from sources in ``without`` do not count.

    All copies of a film or episode count as one. Some servers share the state between copies and others do not, so
    ``plays`` is the largest count of a copy, or the number of dates on which a copy was finished if that is larger.
    ``episodes_played`` and ``episodes_total`` count by season and number, without specials. ``rating`` is the one in
    force or, for a series without one, the mean of its episodes'. Series have no completion, films no episodes.
    """
    import numpy as np
    import pandas as pd

    users = list(execute(connection, "SELECT user_id FROM present_users").scalars())
    parameters = {"users": users, "without": list(without)}
    empty = np.zeros(0, np.dtype([(name, kind) for name, (_, kind) in _PACKED_COLUMNS.items()]))
    rows = np.concatenate([empty, *read_packed(connection, _PACKED_HISTORIES, _PACKED_COLUMNS, parameters)])
    numbers = {name: rows[name].astype(np.float64) for name in _NUMBERS}
    moments = rows["microsecond"].astype(np.int64).view("datetime64[us]")
    return pd.DataFrame(
        {
            "user_id": pd.Series(users, dtype="str").take(rows["user"] - 1).array,
            "work_id": rows["work_id"].astype(np.int64),
            "plays": numbers["plays"],
            "completion": numbers["completion"],
            "favorite": rows["favorite"].astype(bool),
            "rating": numbers["rating"],
            "wants_more": rows["wants_more"].astype(bool),
            "last_played_at": pd.Series(moments).dt.tz_localize("UTC"),
            "episodes_played": numbers["episodes_played"],
            "episodes_total": numbers["episodes_total"],
        }
    )
