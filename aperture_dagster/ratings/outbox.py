"""The outbox: ratings given here or on the media server, which wait until Trakt shows them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.catalogue.history.states import SeenRating
from aperture_dagster.model import SKEW, is_future
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.ratings.in_force import OWN, give_rating, ratings_in_force, write_server_ratings
from aperture_dagster.ratings.merge import Edit, whole_second
from aperture_dagster.ratings.synced import read_base


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
    return deleted + sum(queue_rating(connection, user_id, work, edit, now=now) for work, edit in push.items())


def queue_rating(connection: Connection, user_id: str, work_id: int, edit: Edit, *, now: datetime) -> int:
    """Let a rating, or its removal, wait to be pushed at once; return the number of rows written.

    What waited before may have been pushed already.
    """
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


def queue_imported(
    connection: Connection, user_id: str, given: Mapping[int, tuple[int, datetime]], *, now: datetime
) -> None:
    """Let ratings of a file that may be shared wait for Trakt, if the user has an account there."""
    if has_account(connection, user_id):
        for work, (rating, rated_at) in given.items():
            queue_rating(connection, user_id, work, Edit(rating, whole_second(rated_at)), now=now)


def queue_removals(connection: Connection, user_id: str, works: Iterable[int], *, now: datetime) -> None:
    """Let the removal of ratings wait for Trakt, if the user has an account there."""
    if has_account(connection, user_id):
        for work in works:
            queue_rating(connection, user_id, work, Edit(None, whole_second(now)), now=now)


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
    changes, works = write_server_ratings(connection, user_id, seen, now=now, requested_at=requested_at)
    queue_server_ratings(connection, user_id, works, now=now)
    return changes


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
    statement = "SELECT 1 FROM trakt_users WHERE user_id = :user"
    return read_value(connection, statement, user=user_id) is not None


def note_sending(connection: Connection, user_id: str, works: Collection[int], *, now: datetime) -> None:
    """Record that ratings are about to be pushed: whoever finds them waiting reads Trakt before pushing again."""
    # Due by now, whatever a clock that was ahead had written.
    statement = """
        UPDATE rating_outbox SET attempted_at = :now, due_at = least(due_at, :now)
        WHERE user_id = :user AND work_id = ANY(:works)"""
    execute(connection, statement, user=user_id, works=list(works), now=now)


def let_wait(
    connection: Connection,
    user_id: str,
    works: Collection[int],
    *,
    due_at: datetime,
    detail: str,
    attempted_at: datetime | None = None,
) -> None:
    """Record why ratings wait until then; without an attempt, what waits for longer anyway keeps its time."""
    statement = """
        UPDATE rating_outbox SET detail = :detail, attempted_at = coalesce(CAST(:at AS timestamptz), attempted_at),
        due_at = CASE WHEN CAST(:at AS timestamptz) IS NULL THEN greatest(due_at, :due) ELSE :due END,
        attempts = CASE WHEN CAST(:at AS timestamptz) IS NULL THEN attempts ELSE least(attempts + 1, 1000) END
        WHERE user_id = :user AND work_id = ANY(:works)"""
    values = {"user": user_id, "works": list(works), "at": attempted_at, "due": due_at, "detail": detail[:500]}
    execute(connection, statement, **values)


def resume(connection: Connection, user_id: str, *, detail: str, now: datetime) -> None:
    """Make due what was postponed with this detail."""
    statement = """
        UPDATE rating_outbox SET due_at = least(due_at, :now), detail = NULL
        WHERE user_id = :user AND detail = :detail"""
    execute(connection, statement, user=user_id, now=now, detail=detail[:500])


def due_partitions(connection: Connection, user_ids: Collection[str], *, now: datetime) -> list[str]:
    """Return the partitions of those users for whom a rating is due to be pushed."""
    statement = """
        SELECT DISTINCT u.partition_key FROM rating_outbox o JOIN present_users u USING (user_id)
        WHERE user_id = ANY(:users)
        AND (o.due_at <= :now OR coalesce(o.attempted_at, o.queued_at) > :latest) ORDER BY 1"""
    return list(execute(connection, statement, users=list(user_ids), now=now, latest=now + SKEW).scalars())


def waiting_ratings(connection: Connection, *, queued_before: datetime) -> list[dict[str, Any]]:
    """List ratings of present users that have waited since before then, the oldest first."""
    statement = """
        SELECT u.partition_key AS partition, u.name AS user, coalesce(n.title, 'work ' || o.work_id) AS title,
        coalesce(o.rating::text, 'removal') AS rating, o.queued_at, o.attempts, o.detail
        FROM rating_outbox o JOIN present_users u USING (user_id) LEFT JOIN work_names n USING (work_id)
        WHERE o.queued_at < :before ORDER BY o.queued_at, o.work_id"""
    return read_rows(connection, statement, before=queued_before)
