"""How far each user's history has been read, and the lock of those who write it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, select

from aperture_dagster.catalogue.tables import history_syncs
from aperture_dagster.postgres.queries import (
    execute,
    lock_until_commit,
    read_rows,
)

FULL_SYNC_EVERY = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class SyncMark:
    """How far a user's history has been read."""

    watermark: datetime | None
    synced_at: datetime | None
    full_synced_at: datetime | None

    def full_is_due(self, now: datetime) -> bool:
        """Return whether the whole history was last compared a day ago or more, or by a clock set back since."""
        age = now - self.full_synced_at if self.full_synced_at is not None else None
        return age is None or not timedelta(0) <= age < FULL_SYNC_EVERY


def read_mark(connection: Connection, user_id: str) -> SyncMark:
    """Return how far the user's history has been read."""
    row = connection.execute(select(history_syncs).where(history_syncs.c.user_id == user_id)).first()
    return SyncMark(row.watermark, row.synced_at, row.full_synced_at) if row else SyncMark(None, None, None)


def write_mark(connection: Connection, user_id: str, watermark: datetime | None, *, now: datetime, full: bool) -> None:
    """Record that the history has been read up to ``watermark``; ``full``: all of it was compared."""
    statement = """
        INSERT INTO history_syncs (user_id, watermark, synced_at, full_synced_at) VALUES (:user, :mark, :now, :full_at)
        ON CONFLICT (user_id) DO UPDATE SET watermark = excluded.watermark, synced_at = excluded.synced_at,
        full_synced_at = coalesce(excluded.full_synced_at, history_syncs.full_synced_at)"""
    execute(connection, statement, user=user_id, mark=watermark, now=now, full_at=now if full else None)


def lock_history(connection: Connection, user_id: str) -> None:
    """Let no other process write this user's history or ratings until the end of the transaction.

    Whoever needs the lock of the catalogue, too, takes it afterwards.
    """
    lock_until_commit(connection, f"history:{user_id}")


def stale_histories(connection: Connection, *, now: datetime) -> list[dict[str, Any]]:
    """List present users whose history was read more than a day ago, or more than a day from now (wrong clock)."""
    statement = """
        SELECT u.partition_key AS partition, u.name, h.synced_at::text AS last_read FROM present_users u
        LEFT JOIN history_syncs h USING (user_id) WHERE h.synced_at IS NULL OR
        h.synced_at NOT BETWEEN :day_before AND :day_after ORDER BY h.synced_at NULLS FIRST, u.name"""
    day = timedelta(days=1)
    return read_rows(connection, statement, day_before=now - day, day_after=now + day)
