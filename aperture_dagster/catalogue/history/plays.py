"""The log of plays."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.queries import GONE
from aperture_dagster.postgres.queries import (
    array_of,
    execute,
    read_frame,
    read_rows,
    read_value,
)

if TYPE_CHECKING:
    import pandas as pd


SAME_PLAY = timedelta(hours=4)
"""Dates of one play in two programs are closer than this: one dates its beginning, the other its end."""


def forget_echoes(connection: Connection, user_id: str, items: Sequence[int]) -> None:
    """Delete imported plays of some items that the media server has reported, too."""
    if not items:
        return
    statement = """
        DELETE FROM plays i USING plays s LEFT JOIN episodes e ON e.item_id = s.item_id
        WHERE i.user_id = :user AND i.imported_from IS NOT NULL
        AND s.user_id = :user AND s.imported_from IS NULL AND s.play_count > 0 AND s.work_id = i.work_id
        AND (s.item_id = ANY(:items) OR i.item_id = ANY(:items))
        AND s.played_at BETWEEN i.played_at - CAST(:patience AS interval) AND i.played_at + CAST(:patience AS interval)
        AND (s.item_id = i.item_id OR NOT s.is_episode OR EXISTS (
          SELECT 1 FROM episodes o WHERE o.item_id = i.item_id AND (o.season, o.number) = (e.season, e.number)))"""
    execute(connection, statement, user=user_id, items=array_of(items), patience=SAME_PLAY)


def read_plays(connection: Connection, user_ids: Collection[str], *, since: datetime, until: datetime) -> pd.DataFrame:
    """Read the log of plays of users in (since, until]: ``user_id``, ``work_id``, ``played_at``, ``plays``,
    ``completion``, ``episode_id`` (the same for all copies of an episode; null for films and specials). Users who left
    are skipped.
    """
    statement = """
        SELECT user_id, p.work_id, p.played_at, p.play_count AS plays, p.completion,
        CASE WHEN p.is_episode AND e.season IS DISTINCT FROM 0
          THEN coalesce('S' || coalesce(e.season, 1) || 'E' || e.number, p.item_id::text) END AS episode_id
        FROM plays p JOIN present_users USING (user_id) LEFT JOIN episodes e ON e.item_id = p.item_id
        WHERE user_id = ANY(:users) AND p.played_at > :since AND p.played_at <= :until"""
    return read_frame(connection, statement, users=list(user_ids), since=since, until=until)


def plays_by_week(connection: Connection, *, since: date, timezone: str) -> dict[date, int]:
    """Count the plays of present users by week, from ``since`` on; keys are Mondays in ``timezone``."""
    statement = """
        SELECT date_trunc('week', played_at AT TIME ZONE :zone)::date AS week, sum(play_count)::int AS plays FROM plays
        JOIN present_users USING (user_id) WHERE played_at AT TIME ZONE :zone >= :since GROUP BY week ORDER BY week"""
    return {row["week"]: row["plays"] for row in read_rows(connection, statement, since=since, zone=timezone)}


def first_play(connection: Connection) -> datetime | None:
    """Return the time of the first play in the log."""
    return read_value(connection, "SELECT min(played_at) FROM plays")


def latest_plays(connection: Connection, user_ids: Sequence[str], *, timezone: str = "UTC") -> list[dict[str, Any]]:
    """List the 20 latest plays of users with times in ``timezone``, for the asset's page."""
    statement = f"""
        SELECT u.name AS user, to_char(p.played_at AT TIME ZONE :zone, 'YYYY-MM-DD HH24:MI') AS played_at,
        CASE WHEN t.{GONE} THEN '(no longer in the library)' ELSE t.title END AS title,
        CASE WHEN e.item_id IS NOT NULL THEN format('S%sE%s', e.season, e.number) END AS episode,
        round(p.completion::numeric, 2)::float8 AS completion FROM plays p JOIN users u USING (user_id)
        LEFT JOIN episodes e ON e.item_id = p.item_id
        LEFT JOIN titles t ON t.item_id = coalesce(e.series_item_id, p.item_id)
        WHERE p.user_id = ANY(:users) ORDER BY p.played_at DESC, title LIMIT 20"""
    return read_rows(connection, statement, users=list(user_ids), zone=timezone)
