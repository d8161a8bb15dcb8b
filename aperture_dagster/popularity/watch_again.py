"""What to watch again, for users who do: children ask for the same film twenty times."""

from __future__ import annotations

from datetime import date
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import read_rows

LEAST_TITLES = 3
"""Titles that a user has seen twice, at least: with fewer, there is no row."""
LEAST_SHARE = 0.25
"""Share of what a user has seen that they have seen twice, at least. Servers count a play at each start, so a film that
somebody watched on two evenings looks the same."""
DAYS = 60
"""Days for which a title is left alone after it was watched."""
LENGTH = 24


def watch_again(connection: Connection, user_id: str, today: date) -> list[dict[str, Any]]:
    """List what a user has seen at least twice, and not lately: ``work_id``, ``times`` and ``last``.

    A series was seen as often as most of its watched episodes. What was seen most often comes first, then what was last
    seen longest ago. The list is empty for those who seldom watch anything again.
    """
    # The states of copies count as one, as in the histories.
    statement = """
        WITH seen AS (
          SELECT w.work_id, coalesce(v.primary_item_id, CASE WHEN w.is_episode THEN w.item_id END) AS part,
          max(CASE WHEN w.played THEN greatest(w.play_count, 1) ELSE w.play_count END) AS plays,
          max(w.last_played_at) AS last
          FROM watch_state w LEFT JOIN item_versions v ON v.item_id = w.item_id AND w.is_episode
          WHERE w.user_id = :user GROUP BY 1, 2),
        works AS (
          SELECT work_id, percentile_disc(0.5) WITHIN GROUP (ORDER BY plays) AS times, max(last) AS last
          FROM seen WHERE plays > 0 GROUP BY work_id),
        habit AS (SELECT count(*) FILTER (WHERE times > 1) AS again, count(*) AS titles FROM works)
        SELECT work_id, times, last FROM works, habit
        WHERE times > 1 AND last < CAST(:today AS date) - CAST(:days AS integer)
        AND again >= :least AND again >= CAST(:share AS float8) * titles
        ORDER BY times DESC, last, work_id LIMIT :length"""
    return read_rows(
        connection, statement, user=user_id, today=today, days=DAYS, least=LEAST_TITLES, share=LEAST_SHARE,
        length=LENGTH,
    )  # fmt: skip
