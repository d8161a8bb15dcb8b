"""Notes of requests for titles that the library lacks: what was sent to Seerr for whom, and what became of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.catalogue.references import MediaType
from aperture_dagster.discovery.tables import seerr_requests
from aperture_dagster.model.moments import SKEW
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import execute, lock_until_commit, read_rows, read_value

# States that Seerr may still change, and that of a request whose answer is not known.
OPEN_STATES = ("sending", "pending", "approved", "failed")
# What was completed becomes available, and what was declined can be approved after all: Seerr is asked for so long.
COMPLETED_FOR, DECLINED_FOR = timedelta(days=180), timedelta(days=28)
WEEK = timedelta(days=7)
# The job sends nothing while so many requested titles have been available for so long and were not started.
UNWATCHED_FOR = timedelta(days=30)
UNWATCHED_TITLES = 2


@dataclass(frozen=True, slots=True)
class StoredRequest:
    """A row of ``seerr_requests``: one per user and title, that of the last request."""

    user_id: str
    work_id: int
    media_type: MediaType
    tmdb_id: int
    title: str
    state: str
    requested_at: datetime
    request_id: int | None = None
    seasons: int | None = None
    read_at: datetime | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Wish:
    """A title that may be requested; ``title`` has the year."""

    work_id: int
    media_type: MediaType
    tmdb_id: int
    title: str


_COLUMNS = ", ".join(StoredRequest.__dataclass_fields__)


def read_requests(
    connection: Connection, user_ids: Collection[str] | None = None, *, states: Collection[str] | None = None
) -> list[StoredRequest]:
    """Read the requests of users (None: of all) in some states (None: in any), the latest first."""
    statement = f"""
        SELECT {_COLUMNS} FROM seerr_requests WHERE (CAST(:users AS text[]) IS NULL OR user_id = ANY(:users))
        AND (CAST(:states AS text[]) IS NULL OR state = ANY(:states)) ORDER BY requested_at DESC, title, work_id"""
    values = {"users": None if user_ids is None else list(user_ids), "states": states and list(states)}
    return [StoredRequest(**row) for row in read_rows(connection, statement, **values)]


def unsettled_requests(connection: Connection, user_ids: Collection[str], *, now: datetime) -> list[StoredRequest]:
    """Read the requests of users whose state Seerr may still change, the latest first."""
    statement = f"""
        SELECT {_COLUMNS} FROM seerr_requests WHERE user_id = ANY(:users)
        AND (state = ANY(:open) OR (request_id IS NOT NULL AND (
          (state = 'completed' AND read_at > :completed) OR (state = 'declined' AND read_at > :declined))))
        ORDER BY requested_at DESC, title, work_id"""
    values = {"open": list(OPEN_STATES), "completed": now - COMPLETED_FOR, "declined": now - DECLINED_FOR}
    return [StoredRequest(**row) for row in read_rows(connection, statement, users=list(user_ids), **values)]


def read_request(connection: Connection, user_id: str, work_id: int) -> StoredRequest | None:
    """Read the request of a user for a title; None if there was none."""
    return next((one for one in read_requests(connection, [user_id]) if one.work_id == work_id), None)


def write_request(connection: Connection, request: StoredRequest) -> int:
    """Write a request; return 1 if that changed anything, else 0."""
    row = {name: getattr(request, name) for name in StoredRequest.__dataclass_fields__}
    return upsert(connection, seerr_requests, [row]).written


def begin_request(connection: Connection, request: StoredRequest, *, per_week: int | None) -> bool:
    """Note a request in the state ``sending``, before it is sent; False if the user's week has no room for it.

    ``per_week``: how many requests a user has within seven days; None: no limit. Concurrent calls for one user wait
    for each other, so that the limit holds.
    """
    lock_until_commit(connection, f"seerr_requests:{request.user_id}")
    if per_week is not None and requested_in_week(connection, request.user_id, now=request.requested_at) >= per_week:
        return False
    write_request(connection, request)
    return True


def withdraw_request(connection: Connection, request: StoredRequest, previous: StoredRequest | None) -> None:
    """Take back a note of :func:`begin_request`, since nothing was created: restore what was there before."""
    if previous is not None:
        write_request(connection, previous)
        return
    statement = "DELETE FROM seerr_requests WHERE (user_id, work_id) = (:user, :work) AND state = 'sending'"
    execute(connection, statement, user=request.user_id, work=request.work_id)


def requested_in_week(connection: Connection, user_id: str, *, now: datetime) -> int:
    """Count what was requested for a user in the last seven days, whatever became of it.

    What created nothing, and what is dated in the future, does not count.
    """
    statement = """
        SELECT count(*) FROM seerr_requests WHERE user_id = :user
        AND requested_at > :since AND requested_at <= :latest
        AND (state = 'sending' OR (request_id IS NOT NULL AND state <> 'refused'))"""
    return read_value(connection, statement, user=user_id, since=now - WEEK, latest=now + SKEW)


def unwatched_requests(connection: Connection, user_id: str, *, now: datetime) -> list[str]:
    """List the titles that were requested for a user, have been available for long, and that they did not start."""
    statement = """
        SELECT r.title FROM seerr_requests r WHERE r.user_id = :user AND r.state = 'available'
        AND r.read_at < :before AND NOT EXISTS (
          SELECT 1 FROM watch_state s JOIN work_ids w ON w.work_id = s.work_id
          WHERE s.user_id = r.user_id AND (s.played OR s.play_count > 0 OR s.position_share > 0)
          AND (w.work_id = r.work_id OR (w.media_type, w.tmdb_id) = (r.media_type, r.tmdb_id)))
        ORDER BY r.read_at, r.title"""
    return list(execute(connection, statement, user=user_id, before=now - UNWATCHED_FOR).scalars())


def wishes(connection: Connection, user_id: str, *, minimum_score: float, now: datetime) -> list[Wish]:
    """List a user's suggestions that were requested for nobody before, the best first.

    What Seerr refused may be requested again after a week, since a quota or a blocklist changes.
    """
    statement = """
        SELECT c.work_id, c.media_type, p.tmdb_id,
        coalesce(p.title || coalesce(' (' || extract(year FROM p.release_date)::int || ')', ''),
          'tmdb:' || c.media_type || ':' || p.tmdb_id) AS title
        FROM discovery_candidates c JOIN discovery_pool p USING (work_id)
        WHERE c.user_id = :user AND c.score >= CAST(:minimum AS real)
        AND NOT EXISTS (
          SELECT 1 FROM seerr_requests r
          WHERE (r.work_id = c.work_id OR (r.media_type, r.tmdb_id) = (c.media_type, p.tmdb_id))
          AND NOT (r.state = 'refused' AND r.requested_at NOT BETWEEN :refused_after AND :latest))
        ORDER BY c.score DESC, c.rank, c.work_id"""
    values = {"minimum": minimum_score, "refused_after": now - WEEK, "latest": now + SKEW}
    return [Wish(**row) for row in read_rows(connection, statement, user=user_id, **values)]


def requests_table(connection: Connection, user_id: str) -> list[dict[str, Any]]:
    """List a user's requests, for the asset's page."""
    statement = """
        SELECT title, media_type, state, requested_at::date AS requested, detail
        FROM seerr_requests WHERE user_id = :user ORDER BY requested_at DESC, title LIMIT 20"""
    return read_rows(connection, statement, user=user_id)
