"""Titles that members put aside for later, in the library or not, until they watch them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.members.hidden import not_hidden
from aperture_dagster.postgres.queries import execute, read_rows


def put_aside(connection: Connection, user_id: str, work_id: int, title: str, *, now: datetime) -> bool:
    """Put a title aside for a user; False if it is already there, which keeps its date.

    What was put aside, and watched since, begins anew.
    """
    statement = f"DELETE FROM for_later l WHERE (user_id, work_id) = (:user, :work) AND {_WATCHED}"
    execute(connection, statement, user=user_id, work=work_id)
    statement = """
        INSERT INTO for_later (user_id, work_id, title, was_missing, added_at)
        VALUES (:user, :work, :title, NOT EXISTS (SELECT 1 FROM present_titles WHERE work_id = :work), :now)
        ON CONFLICT DO NOTHING"""
    return execute(connection, statement, user=user_id, work=work_id, title=title, now=now).rowcount > 0


def take_off(connection: Connection, user_id: str, work_id: int) -> None:
    """Take a title off what a user put aside."""
    execute(connection, "DELETE FROM for_later WHERE (user_id, work_id) = (:user, :work)", user=user_id, work=work_id)


_WATCHED = """(EXISTS (SELECT 1 FROM plays p
      WHERE (p.user_id, p.work_id) = (l.user_id, l.work_id) AND p.played_at > l.added_at)
    OR EXISTS (SELECT 1 FROM watched_together t
      WHERE (t.user_id, t.work_id) = (l.user_id, l.work_id) AND t.watched_at > l.added_at))"""


def titles_for_later(connection: Connection, user_id: str) -> list[dict[str, Any]]:
    """List what a user put aside, neither watched since nor hidden, the latest first.

    Rows have ``work_id``, ``title``, ``was_missing`` (it was not in the library then) and ``added_at``.
    """
    statement = f"""
        SELECT work_id, title, was_missing, added_at FROM for_later l WHERE user_id = :user AND NOT {_WATCHED}
        AND {not_hidden("l.user_id", "l.work_id")}
        ORDER BY added_at DESC, title, work_id"""
    return read_rows(connection, statement, user=user_id)
