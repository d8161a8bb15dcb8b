"""What has come into the library that a user waited for: for later, requested, or the next season of their series."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import read_rows

NEWS_FOR = timedelta(days=14)
SEASONS_FOR = timedelta(days=400)
"""How long after somebody last watched a series its next season is news to them."""


def read_arrivals(connection: Connection, user_id: str, *, now: datetime) -> list[dict[str, Any]]:
    """List what a user waited for, has come within two weeks, and is not begun yet; the latest first.

    Rows have ``work_id``, ``why`` (``later``, ``requested`` or ``season``), ``season`` and ``arrived_at``.
    """
    statement = """
        WITH came AS (
          SELECT work_id, min(first_seen_at) AS arrived_at FROM titles WHERE work_id IN (
            SELECT work_id FROM for_later WHERE user_id = :user AND was_missing
            UNION SELECT work_id FROM seerr_requests WHERE user_id = :user)
          GROUP BY work_id HAVING min(first_seen_at) >= :since AND bool_or(removed_at IS NULL)),
        -- Few series: what came on the first day, with everything else, is no news.
        recent AS MATERIALIZED (
          SELECT DISTINCT work_id FROM present_episodes WHERE first_seen_at >= greatest(CAST(:since AS timestamptz),
            (SELECT min(first_seen_at) FROM episodes) + interval '1 day')),
        waited AS (
          SELECT c.work_id, 'later' AS why, NULL::int AS season, c.arrived_at FROM came c
            JOIN for_later l USING (work_id) WHERE l.user_id = :user AND l.was_missing
          UNION ALL SELECT c.work_id, 'requested', NULL, c.arrived_at FROM came c JOIN seerr_requests r USING (work_id)
            WHERE r.user_id = :user AND r.requested_at < c.arrived_at),
        watched AS (
          SELECT w.work_id, max(e.season) AS season FROM recent JOIN watch_state w USING (work_id)
          JOIN episodes e USING (item_id) WHERE w.user_id = :user AND w.is_episode AND w.played AND e.season > 0
          GROUP BY w.work_id HAVING max(w.last_played_at) >= :watched_since),
        seasons AS (
          SELECT e.work_id, e.season, min(e.first_seen_at) AS arrived_at FROM present_episodes e
          JOIN watched w ON w.work_id = e.work_id AND e.season > w.season
          GROUP BY e.work_id, e.season HAVING min(e.first_seen_at) >= :since),
        first_season AS (SELECT DISTINCT ON (work_id) * FROM seasons ORDER BY work_id, season)
        SELECT DISTINCT ON (arrived_at, work_id) work_id, why, season, arrived_at FROM (
          SELECT * FROM waited WHERE NOT EXISTS (SELECT 1 FROM watch_state w
            WHERE (w.user_id, w.work_id) = (:user, waited.work_id) AND (w.played OR w.position_share > 0))
          -- A season that was there before the series was watched is no news.
          UNION ALL SELECT s.work_id, 'season', s.season, s.arrived_at FROM first_season s
            WHERE EXISTS (SELECT 1 FROM episodes e WHERE e.work_id = s.work_id AND e.season < s.season
              AND e.first_seen_at < s.arrived_at - interval '1 day')) found
        ORDER BY arrived_at DESC, work_id, why DESC"""
    return read_rows(connection, statement, user=user_id, since=now - NEWS_FOR, watched_since=now - SEASONS_FOR)
