"""What members said that they watched together. The media server is not told; lists here count it as seen."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute, read_rows


def note_watched(connection: Connection, user_ids: Iterable[str], work_id: int, title: str, *, now: datetime) -> None:
    """Note that users watched a title together; what was noted before keeps its date."""
    statement = """
        INSERT INTO watched_together (user_id, work_id, title, watched_at) VALUES (:user, :work, :title, :now)
        ON CONFLICT DO NOTHING"""
    for user_id in user_ids:
        execute(connection, statement, user=user_id, work=work_id, title=title, now=now)


def forget_watched(connection: Connection, user_id: str, work_id: int) -> None:
    """Forget that a user watched a title together with others."""
    statement = "DELETE FROM watched_together WHERE (user_id, work_id) = (:user, :work)"
    execute(connection, statement, user=user_id, work=work_id)


def titles_watched_together(connection: Connection, user_id: str) -> list[dict[str, Any]]:
    """List what a user watched together with others, the latest first: ``work_id``, ``title`` and ``watched_at``."""
    statement = """
        SELECT work_id, title, watched_at FROM watched_together WHERE user_id = :user
        ORDER BY watched_at DESC, title"""
    return read_rows(connection, statement, user=user_id)


def who_joins(connection: Connection) -> set[str]:
    """Return the users who let others count them in for evenings together."""
    return set(execute(connection, "SELECT user_id FROM member_choices WHERE together").scalars())
