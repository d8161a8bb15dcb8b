"""Ratings on Trakt as they were last read, and ratings that wait to be pushed there."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.library.identity import ProviderIds
from aperture_dagster.library.moments import SKEW, is_future
from aperture_dagster.ratings.in_force import OWN, give_rating, ratings_in_force, write_server_ratings
from aperture_dagster.ratings.merge import Edit, SyncedRating, is_same_rating, whole_second, whole_step
from aperture_dagster.ratings.tables import trakt_ratings
from aperture_dagster.resources.media_server.records import MediaType
from aperture_dagster.storage.bulk import upsert
from aperture_dagster.storage.history import SeenRating, lock_history
from aperture_dagster.storage.queries import execute, read_rows, read_value


@dataclass(frozen=True, slots=True)
class Waiting:
    """An entry of the outbox: a rating (None: a removal) that Trakt has not confirmed yet."""

    work_id: int
    rating: int | None
    rated_at: datetime
    queued_at: datetime
    attempts: int
    attempted_at: datetime | None
    due_at: datetime
    detail: str | None

    def is_due(self, now: datetime) -> bool:
        """Return whether it is time to push it, or its last attempt is dated in the future."""
        return self.due_at <= now or is_future(self.attempted_at or self.queued_at, now)


@dataclass(frozen=True, slots=True)
class WorkIds:
    """How other services know a work."""

    work_id: int
    media_type: MediaType
    ids: ProviderIds
    title: str


def read_base(connection: Connection, user_id: str) -> dict[int, SyncedRating]:
    """Return a user's ratings on Trakt as they were last read and merged, by work."""
    statement = "SELECT work_id, rating, rated_at, trakt_id, media_type FROM trakt_ratings WHERE user_id = :user"
    rows = execute(connection, statement, user=user_id)
    return {
        row.work_id: SyncedRating(row.rating, whole_second(row.rated_at), row.trakt_id, row.media_type) for row in rows
    }


def change_base(
    connection: Connection,
    user_id: str,
    changed: Mapping[int, SyncedRating],
    gone: Collection[int],
    media_types: Mapping[int, str],
) -> int:
    """Write and delete ratings of the base, by work; return the number of rows. ``media_types``: of ``changed``."""
    rows = [
        {
            "user_id": user_id,
            "work_id": work,
            "media_type": media_types[work],
            "rating": one.value,
            "rated_at": one.rated_at,
            "trakt_id": one.trakt_id,
        }
        for work, one in changed.items()
    ]
    statement = "DELETE FROM trakt_ratings WHERE user_id = :user AND work_id = ANY(:works)"
    deleted = execute(connection, statement, user=user_id, works=list(gone)).rowcount
    return deleted + upsert(connection, trakt_ratings, rows).written


def read_outbox(connection: Connection, user_id: str) -> dict[int, Waiting]:
    """Return a user's ratings that wait to be pushed, by work."""
    statement = """
        SELECT work_id, rating, rated_at, queued_at, attempts, attempted_at, due_at, detail FROM rating_outbox
        WHERE user_id = :user ORDER BY queued_at, work_id"""
    rows = execute(connection, statement, user=user_id)
    return {row.work_id: Waiting(**row._mapping) for row in rows}


def write_outbox(
    connection: Connection, user_id: str, push: Mapping[int, Edit], *, keep: Collection[int], now: datetime
) -> int:
    """Make ``push`` what waits to be pushed; works in ``keep`` stay as they are. Return the number of rows written.

    An entry that waits already keeps its date, attempts and due time.
    """
    statement = "DELETE FROM rating_outbox WHERE user_id = :user AND NOT work_id = ANY(:works)"
    deleted = execute(connection, statement, user=user_id, works=[*push, *keep]).rowcount
    return deleted + sum(_queue(connection, user_id, work, edit, now) for work, edit in push.items())


def queue_rating(connection: Connection, user_id: str, work_id: int, edit: Edit, *, now: datetime) -> None:
    """Let a rating, or its removal, wait to be pushed at once; what waited before may have been pushed already."""
    _queue(connection, user_id, work_id, edit, now)


def _queue(connection: Connection, user_id: str, work_id: int, edit: Edit, now: datetime) -> int:
    statement = """
        INSERT INTO rating_outbox AS o (user_id, work_id, rating, rated_at, queued_at, due_at)
        VALUES (:user, :work, CAST(:rating AS smallint), :rated_at, :now, :now)
        ON CONFLICT (user_id, work_id) DO UPDATE SET rating = excluded.rating, rated_at = excluded.rated_at,
        queued_at = excluded.queued_at, attempts = 0, due_at = excluded.due_at, detail = NULL
        WHERE o.rating IS DISTINCT FROM excluded.rating
          OR (excluded.rating IS NOT NULL AND o.rated_at <> excluded.rated_at)"""
    values = {"user": user_id, "work": work_id, "rating": edit.value, "rated_at": edit.rated_at, "now": now}
    return execute(connection, statement, **values).rowcount


def rate_here(connection: Connection, user_id: str, work_id: int, rating: int | None, *, now: datetime) -> bool:
    """Give a rating by hand, or remove the one in force, and let it wait for Trakt if the user has an account there.

    Returns:
        False if there is none to remove.
    """
    lock_history(connection, user_id)
    before = ratings_in_force(connection, user_id, works=[work_id]).get(work_id)
    if rating is None and (before is None or before.value is None):
        return False
    edit = Edit(rating, whole_second(now))
    give_rating(connection, user_id, work_id, rating, source=OWN, rated_at=edit.rated_at)
    if has_account(connection, user_id):
        queue_rating(connection, user_id, work_id, edit, now=now)
    return True


def take_server_ratings(
    connection: Connection,
    user_id: str,
    seen: Iterable[SeenRating],
    *,
    now: datetime,
    requested_at: datetime | None = None,
) -> int:
    """Take over the ratings that a history shows, and let those that changed wait for Trakt; return how many changed.

    In the transaction that wrote the history. ``requested_at``: the database's time before the history was requested.
    """
    rated = write_server_ratings(connection, user_id, seen, now=now, requested_at=requested_at)
    queue_server_ratings(connection, user_id, rated.works, now=now)
    return rated.changes


def queue_server_ratings(connection: Connection, user_id: str, works: Sequence[int], *, now: datetime) -> None:
    """Let ratings that changed on the media server wait to be pushed, if the user has a Trakt account."""
    if not works or not has_account(connection, user_id):
        return
    base, waiting = read_base(connection, user_id), read_outbox(connection, user_id)
    in_force = ratings_in_force(connection, user_id, works=works)
    for work in works:
        mine, theirs = in_force.get(work), base.get(work)
        value = mine.value if mine is not None else None
        # A value that waits may have been pushed already, so that going back to the old one is news, too.
        if work in waiting or value != (theirs.value if theirs is not None else None):
            rated_at = mine.rated_at if mine is not None else whole_second(now)
            queue_rating(connection, user_id, work, Edit(value, rated_at), now=now)


def has_account(connection: Connection, user_id: str) -> bool:
    """Return whether a user has connected Trakt, working or not."""
    statement = "SELECT 1 FROM trakt_accounts WHERE user_id = :user"
    return read_value(connection, statement, user=user_id) is not None


def note_sending(connection: Connection, user_id: str, works: Collection[int], *, now: datetime) -> None:
    """Record that ratings are about to be pushed: whoever finds them waiting reads Trakt before pushing again."""
    # Due by now, whatever a clock that was ahead had written.
    statement = """
        UPDATE rating_outbox SET attempted_at = :now, due_at = least(due_at, :now)
        WHERE user_id = :user AND work_id = ANY(:works)"""
    execute(connection, statement, user=user_id, works=list(works), now=now)


def note_attempt(
    connection: Connection, user_id: str, works: Collection[int], *, now: datetime, due_at: datetime, detail: str
) -> None:
    """Record that ratings were not pushed, or not confirmed, and when that is tried again."""
    statement = """
        UPDATE rating_outbox
        SET attempts = least(attempts + 1, 1000), attempted_at = :now, due_at = :due, detail = :detail
        WHERE user_id = :user AND work_id = ANY(:works)"""
    values = {"user": user_id, "works": list(works), "now": now, "due": due_at, "detail": detail[:500]}
    execute(connection, statement, **values)


def postpone(
    connection: Connection, user_id: str, *, due_at: datetime, detail: str, works: Collection[int] | None = None
) -> None:
    """Let a user's ratings wait until then, without an attempt; ``works``: only of these."""
    chosen = "" if works is None else "AND work_id = ANY(:works)"
    statement = f"""
        UPDATE rating_outbox SET due_at = greatest(due_at, :due), detail = :detail WHERE user_id = :user {chosen}"""
    values = {"user": user_id, "due": due_at, "detail": detail[:500]}
    execute(connection, statement, **values, **({} if works is None else {"works": list(works)}))


def resume(connection: Connection, user_id: str, *, detail: str, now: datetime) -> None:
    """Make due what was postponed with this detail."""
    statement = """
        UPDATE rating_outbox SET due_at = least(due_at, :now), detail = NULL
        WHERE user_id = :user AND detail = :detail"""
    execute(connection, statement, user=user_id, now=now, detail=detail[:500])


def echoes_of(connection: Connection, user_id: str, ratings: Mapping[int, SyncedRating]) -> set[int]:
    """Return which ratings on Trakt, by work, are earlier ones that were given here."""
    statement = """
        SELECT work_id, rating, rated_at FROM rating_changes
        WHERE user_id = :user AND source <> 'trakt' AND rating IS NOT NULL AND work_id = ANY(:works)"""
    rows = execute(connection, statement, user=user_id, works=list(ratings))
    return {
        row.work_id
        for row in rows
        if is_same_rating(ratings[row.work_id], whole_step(row.rating), whole_second(row.rated_at))
    }


@dataclass(frozen=True, slots=True)
class ReadState:
    """When a user's ratings were last read completely, and what Trakt's last activities were before."""

    read_at: datetime | None
    activities: Mapping[str, str] | None
    is_vip: bool | None


def read_state(connection: Connection, user_id: str) -> ReadState:
    """Return how far a user's ratings on Trakt have been read."""
    statement = "SELECT read_at, activities, is_vip FROM trakt_accounts WHERE user_id = :user"
    row = execute(connection, statement, user=user_id).first()
    return ReadState(row.read_at, row.activities, row.is_vip) if row else ReadState(None, None, None)


def due_partitions(connection: Connection, user_ids: Collection[str], *, now: datetime) -> list[str]:
    """Return the partitions of those users for whom a rating is due to be pushed."""
    statement = """
        SELECT DISTINCT u.partition_key FROM rating_outbox o JOIN present_users u USING (user_id)
        WHERE user_id = ANY(:users)
        AND (o.due_at <= :now OR coalesce(o.attempted_at, o.queued_at) > :latest) ORDER BY 1"""
    return list(execute(connection, statement, users=list(user_ids), now=now, latest=now + SKEW).scalars())


def works_to_push(connection: Connection, works: Collection[int]) -> dict[int, WorkIds]:
    """Return how other services know works, with names to show."""
    statement = """
        SELECT i.work_id, i.media_type, i.tmdb_id, i.imdb_id, i.tvdb_id, coalesce(n.title, p.title) AS title
        FROM work_ids i LEFT JOIN work_names n USING (work_id) LEFT JOIN discovery_pool p USING (work_id)
        WHERE i.work_id = ANY(:works)"""
    return {
        row.work_id: WorkIds(
            row.work_id,
            row.media_type,
            ProviderIds(row.tmdb_id, row.imdb_id, row.tvdb_id),
            row.title or f"{row.media_type} {row.tmdb_id or row.imdb_id or row.tvdb_id or row.work_id}",
        )
        for row in execute(connection, statement, works=list(works))
    }


def waiting_ratings(connection: Connection, *, queued_before: datetime) -> list[dict[str, Any]]:
    """List ratings of present users that have waited since before then, the oldest first."""
    statement = """
        SELECT u.partition_key AS partition, u.name AS user, coalesce(n.title, 'work ' || o.work_id) AS title,
        coalesce(o.rating::text, 'removal') AS rating, o.queued_at, o.attempts, o.detail
        FROM rating_outbox o JOIN present_users u USING (user_id) LEFT JOIN work_names n USING (work_id)
        WHERE o.queued_at < :before ORDER BY o.queued_at, o.work_id"""
    return read_rows(connection, statement, before=queued_before)
