"""Titles that members hid, here called dismissed too: they want to find them on no list."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.references import TitleId
from aperture_dagster.postgres.queries import execute, lock_until_commit, read_rows


def not_hidden(user: str, work: str) -> str:
    """Return a condition of SQL, of columns or values: that a user did not hide a work, by itself or by its genres.

    It is asked title by title, because of OFFSET: otherwise the planner reads all that has a hidden genre.
    """
    return f"NOT EXISTS (SELECT 1 FROM hidden_works h WHERE (h.user_id, h.work_id) = ({user}, {work}) OFFSET 0)"


def lock_hidden(connection: Connection, user_id: str) -> None:
    """Make others who change what a user hid, or who write a list without it, wait until this transaction ends."""
    lock_until_commit(connection, f"dismissals:{user_id}")


def hide(connection: Connection, user_id: str, title_id: TitleId, title: str, *, now: datetime) -> bool:
    """Hide a title from a user, under all of its ids; False if it was hidden before, or is no work."""
    lock_hidden(connection, user_id)
    if title_id.media_type is None:
        return False
    statement = """
        INSERT INTO dismissals (user_id, work_id, media_type, tmdb_id, imdb_id, tvdb_id, title, dismissed_at)
        VALUES (:user, :work, :media_type, :tmdb_id, :imdb_id, :tvdb_id, :title, :now) ON CONFLICT DO NOTHING"""
    return execute(connection, statement, user=user_id, title=title, now=now, **_ids(title_id)).rowcount > 0


def show_again(connection: Connection, user_id: str, title_id: TitleId) -> int:
    """Forget that a user hid a title, under whichever id; return how many rows are forgotten."""
    lock_hidden(connection, user_id)
    statement = """
        DELETE FROM dismissals WHERE user_id = :user AND (work_id = :work OR imdb_id = :imdb_id
        OR (media_type = :media_type AND (tmdb_id = :tmdb_id OR tvdb_id = :tvdb_id)))"""
    return execute(connection, statement, user=user_id, **_ids(title_id)).rowcount


def _ids(title_id: TitleId) -> dict[str, Any]:
    return {"work": title_id.work_id, "media_type": title_id.media_type, **asdict(title_id.ids)}


def dismissed_titles(connection: Connection, user_id: str) -> list[dict[str, Any]]:
    """List what a user dismissed, the latest first."""
    statement = """
        SELECT work_id, media_type, title, tmdb_id, imdb_id, dismissed_at FROM dismissals WHERE user_id = :user
        ORDER BY dismissed_at DESC, title"""
    return read_rows(connection, statement, user=user_id)


def hidden_titles(connection: Connection) -> dict[str, frozenset[int]]:
    """Return by user the works of the library that they never want to find on a list."""
    found: dict[str, set[int]] = {}
    statement = "SELECT user_id, work_id FROM hidden_works WHERE work_id IN (SELECT work_id FROM present_titles)"
    for user_id, work_id in execute(connection, statement):
        found.setdefault(user_id, set()).add(work_id)
    return {user_id: frozenset(works) for user_id, works in found.items()}
