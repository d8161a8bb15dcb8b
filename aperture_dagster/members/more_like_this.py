"""Titles of which members asked for more like them; each is part of their taste until they take it back."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute, read_rows


def want_more(connection: Connection, user_id: str, work_id: int, title: str, *, now: datetime) -> None:
    """Note that a user wants more like a title; what was noted before keeps its date."""
    statement = """
        INSERT INTO more_like_this (user_id, work_id, title, asked_at) VALUES (:user, :work, :title, :now)
        ON CONFLICT DO NOTHING"""
    execute(connection, statement, user=user_id, work=work_id, title=title, now=now)


def want_no_more(connection: Connection, user_id: str, work_id: int) -> None:
    """Forget that a user wanted more like a title."""
    execute(
        connection, "DELETE FROM more_like_this WHERE (user_id, work_id) = (:user, :work)", user=user_id, work=work_id
    )


def titles_to_follow(connection: Connection, user_id: str) -> list[dict[str, Any]]:
    """List the titles of which a user wants more, the latest first: ``work_id``, ``title`` and ``asked_at``."""
    statement = """
        SELECT work_id, title, asked_at FROM more_like_this WHERE user_id = :user
        ORDER BY asked_at DESC, title"""
    return read_rows(connection, statement, user=user_id)
