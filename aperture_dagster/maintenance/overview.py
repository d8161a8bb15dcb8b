"""What is there, in a few figures and for one user: for people and monitors who only look."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import read_rows, read_value


def household_rows(connection: Connection) -> list[dict[str, Any]]:
    """Return each present user with the lengths and the date of their lists."""
    statement = """
        SELECT u.user_id, u.name, u.first_seen_at,
        count(r.rank) FILTER (WHERE r.media_type = 'movie') AS films,
        count(r.rank) FILTER (WHERE r.media_type = 'series') AS series, max(r.generated_at) AS listed_at
        FROM present_users u LEFT JOIN recommendations r USING (user_id)
        GROUP BY u.user_id, u.name, u.first_seen_at ORDER BY u.name"""
    return read_rows(connection, statement)


def server_identity(connection: Connection) -> dict[str, Any] | None:
    """Return the media server that the home belongs to: its id, name, product and version; None before it was read."""
    return read_value(connection, "SELECT value FROM facts WHERE name = 'media_server'")


def taste_of(connection: Connection, user_id: str) -> list[dict[str, Any]]:
    """Return a user's taste per media type: how many titles it is based on, in words, and the distinctive genres."""
    statement = """
        SELECT media_type, titles, liked, disliked, summary->>'sentence' AS sentence,
        coalesce(summary->'genres', '[]') AS genres FROM taste_profiles WHERE user_id = :user ORDER BY media_type"""
    return read_rows(connection, statement, user=user_id)


def recently_watched(connection: Connection, user_id: str, *, count: int) -> list[dict[str, Any]]:
    """List the titles that a user watched last, each once: with the latest episode of a series, and when."""
    statement = """
        SELECT title, year, media_type, season, number, played_at FROM (
          SELECT DISTINCT ON (t.work_id) n.title, n.year, t.media_type, e.season, e.number, p.played_at FROM plays p
          LEFT JOIN episodes e ON e.item_id = p.item_id
          JOIN titles t ON t.item_id = coalesce(e.series_item_id, p.item_id) JOIN work_names n ON n.work_id = t.work_id
          WHERE p.user_id = :user ORDER BY t.work_id, p.played_at DESC, e.season DESC, e.number DESC) latest
        ORDER BY played_at DESC, title LIMIT :count"""
    return read_rows(connection, statement, user=user_id, count=count)
