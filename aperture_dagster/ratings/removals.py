"""Removals of ratings that travelled to the other side of a sync, or are held back until the operator decides."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from itertools import groupby

from sqlalchemy import Connection

from aperture_dagster.catalogue.history.progress import lock_history
from aperture_dagster.postgres.queries import execute, read_rows
from aperture_dagster.ratings.in_force import TRAKT, give_rating, ratings_in_force
from aperture_dagster.ratings.merge import Edit, GuardedRemovals, HeldRemoval, Removal, whole_second
from aperture_dagster.ratings.outbox import queue_rating
from aperture_dagster.ratings.synced import read_base


def read_removals(connection: Connection, user_id: str) -> dict[int, Removal]:
    """Return a user's removals that travelled or are held back, by work."""
    statement = """
        SELECT work_id, had, passed_at, accepted_at IS NOT NULL AS is_accepted FROM rating_removals
        WHERE user_id = :user"""
    rows = execute(connection, statement, user=user_id)
    return {row.work_id: Removal(row.had, row.passed_at, row.is_accepted) for row in rows}


def write_removals(connection: Connection, user_id: str, removals: GuardedRemovals, *, now: datetime) -> None:
    """Record what travels and what is held back; what is recorded already keeps its dates."""
    statement = "DELETE FROM rating_removals WHERE user_id = :user AND work_id = ANY(:works)"
    if removals.over:
        execute(connection, statement, user=user_id, works=list(removals.over))
    # By the database's clock, as the runs that show what is held.
    statement = """
        INSERT INTO rating_removals AS r (user_id, work_id, removed_on, had, noticed_at, passed_at)
        VALUES (:user, :work, :side, :had, clock_timestamp(), :passed_at)
        ON CONFLICT (user_id, work_id) DO UPDATE SET passed_at = excluded.passed_at
        WHERE excluded.passed_at IS NOT NULL"""
    kinds = ((removals.passed, removals.had, now), (removals.held, removals.had_first, None))
    for works, had, passed_at in kinds:
        for work, side in works.items():
            values = {"work": work, "side": side, "had": had, "passed_at": passed_at}
            execute(connection, statement, user=user_id, **values)


def held_removals(connection: Connection, user_id: str | None = None) -> list[HeldRemoval]:
    """List the removals that are held back, or accepted and still to travel, by user and title; of one user if given.

    Users who are gone from the media server are left out.
    """
    statement = """
        SELECT r.user_id, u.name AS user, r.work_id,
        coalesce(n.title || coalesce(' (' || n.year || ')', ''), 'work ' || r.work_id) AS title,
        r.removed_on, r.had, r.noticed_at, r.accepted_at IS NOT NULL AS is_accepted
        FROM rating_removals r JOIN present_users u USING (user_id) LEFT JOIN work_names n USING (work_id)
        WHERE r.passed_at IS NULL AND r.user_id = coalesce(CAST(:user AS text), r.user_id)
        ORDER BY u.name, r.user_id, r.removed_on, title, r.work_id"""
    return [HeldRemoval(**row) for row in read_rows(connection, statement, user=user_id)]


def held_by_user(connection: Connection) -> list[list[HeldRemoval]]:
    """List the removals that wait for the operator, those of each user together."""
    waiting = (removal for removal in held_removals(connection) if not removal.is_accepted)
    return [list(group) for _, group in groupby(waiting, key=lambda removal: removal.user_id)]


def accept_removals(connection: Connection, user_id: str, works: Collection[int]) -> int:
    """Let a user's held removals of some works travel; return how many. Those that travelled before no longer count."""
    lock_history(connection, user_id)
    statement = """
        UPDATE rating_removals SET accepted_at = clock_timestamp()
        WHERE user_id = :user AND passed_at IS NULL AND accepted_at IS NULL AND work_id = ANY(:works)"""
    accepted = execute(connection, statement, user=user_id, works=list(works)).rowcount
    if accepted:
        statement = """
            UPDATE rating_removals SET accepted_at = clock_timestamp()
            WHERE user_id = :user AND passed_at IS NOT NULL AND accepted_at IS NULL"""
        execute(connection, statement, user=user_id)
    return accepted


def undo_removals(connection: Connection, user_id: str, works: Collection[int], *, now: datetime) -> int:
    """Restore ratings whose removal is held back on the side that lost them; return how many.

    Those that were removed on Trakt wait to be pushed.
    """
    lock_history(connection, user_id)
    base, here = read_base(connection, user_id), ratings_in_force(connection, user_id, works=works)
    undone: list[int] = []
    for removal in held_removals(connection, user_id):
        work, mine = removal.work_id, here.get(removal.work_id)
        is_rated = mine is not None and mine.value is not None
        if work not in works or work not in base or is_rated != (removal.removed_on == "trakt"):
            continue
        if mine is not None and is_rated:
            queue_rating(connection, user_id, work, Edit(mine.value, whole_second(mine.rated_at)), now=now)
        else:
            known = base[work]
            give_rating(connection, user_id, work, known.value, source=TRAKT, rated_at=known.rated_at)
        undone.append(work)
    statement = "DELETE FROM rating_removals WHERE user_id = :user AND work_id = ANY(:works)"
    execute(connection, statement, user=user_id, works=undone)
    return len(undone)
