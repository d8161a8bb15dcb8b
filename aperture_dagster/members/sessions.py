"""Sessions of members: the browsers in which somebody is signed in, one row each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.members.digests import digest_of
from aperture_dagster.model import SKEW
from aperture_dagster.postgres.queries import execute, read_rows

LIFE = timedelta(days=30)
"""How long a session lasts, however much it is used."""
STEP = timedelta(hours=1)
"""How often the times of a session in use are written."""
MOST_OF_USER = 50
"""Sessions of a user; a further one ends the oldest."""


@dataclass(frozen=True, slots=True)
class Session:
    """A browser in which a user is signed in.

    Attributes:
        is_administrator: as the media server last said.
        device: browser and system, such as ``Firefox, Android``; empty if unknown.
        seen_at: last use, to the hour.
        confirmed_at: when the media server last let them in, to the hour.
    """

    session_id: int
    user_id: str
    is_administrator: bool
    device: str
    created_at: datetime
    seen_at: datetime
    confirmed_at: datetime


_COLUMNS = ", ".join(field.name for field in fields(Session))


def add_session(
    connection: Connection, token: str, secret: str, user_id: str, device: str, now: datetime, *, is_administrator: bool
) -> None:
    """Record that a user has signed in. Only hashes of the token and of the home's secret are stored."""
    statement = """
        INSERT INTO sessions (digest, secret_digest, user_id, is_administrator, device, created_at, seen_at,
          confirmed_at)
        VALUES (:digest, :secret, :user, :administrator, :device, :now, :now, :now)"""
    execute(
        connection, statement, digest=digest_of(token), secret=digest_of(secret), user=user_id,
        administrator=is_administrator, device=device, now=now,
    )  # fmt: skip
    statement = """
        DELETE FROM sessions WHERE session_id IN (
          SELECT session_id FROM sessions WHERE user_id = :user ORDER BY created_at DESC, session_id DESC OFFSET :most
        )"""
    execute(connection, statement, user=user_id, most=MOST_OF_USER)


def find_session(connection: Connection, token: str, secret: str, now: datetime) -> Session | None:
    """Return the session of a token; None if it has ended, or began under another secret of the home."""
    found = _read(connection, "digest = :digest", secret, now, digest=digest_of(token))
    return found[0] if found else None


def sessions_of(connection: Connection, user_id: str, secret: str, now: datetime) -> list[Session]:
    """Return the sessions of a user, the last used ones first."""
    found = _read(connection, "user_id = :user", secret, now, user=user_id)
    return sorted(found, key=lambda session: (session.seen_at, session.created_at), reverse=True)


def note_use(connection: Connection, session_id: int, *, seen_at: datetime, confirmed_at: datetime) -> None:
    """Write down when a session was used, and when the media server last let its user in."""
    statement = "UPDATE sessions SET seen_at = :seen, confirmed_at = :confirmed WHERE session_id = :id"
    execute(connection, statement, id=session_id, seen=seen_at, confirmed=confirmed_at)


def note_answer(
    connection: Connection,
    let_in: Mapping[str, bool],
    *,
    disabled: Collection[str],
    there: Collection[str] | None,
    asked_at: datetime,
) -> None:
    """Apply an answer of the media server: end the sessions of users who are out, and note who administrates.

    Sessions that began after the server was asked stay as they are: its answer at the sign-in is newer.

    Args:
        connection: inside a transaction.
        let_in: the users whom it lets in, and whether they are administrators.
        disabled: the users whom it does not let in.
        there: all users that it has; None if the list may be incomplete.
        asked_at: when it was asked.
    """
    # A later one, by more than clocks differ, was written while the clock was ahead.
    older = "(confirmed_at < :asked OR confirmed_at > :latest)"
    values: dict[str, Any] = {"asked": asked_at, "latest": asked_at + SKEW}
    # An empty list proves nothing, either.
    gone = "OR NOT user_id = ANY(CAST(:there AS text[]))" if there else ""
    statement = f"DELETE FROM sessions WHERE {older} AND (user_id = ANY(:disabled) {gone})"
    missing = {"there": list(there)} if there else {}
    execute(connection, statement, disabled=list(disabled), **values, **missing)
    statement = f"""
        UPDATE sessions s SET is_administrator = u.is_administrator
        FROM unnest(CAST(:ids AS text[]), CAST(:flags AS boolean[])) AS u (user_id, is_administrator)
        WHERE s.user_id = u.user_id AND s.is_administrator <> u.is_administrator AND {older}"""
    execute(connection, statement, ids=[*let_in], flags=[*let_in.values()], **values)


def end_session(connection: Connection, token: str) -> None:
    """End the session of a token."""
    execute(connection, "DELETE FROM sessions WHERE digest = :digest", digest=digest_of(token))


def end_one(connection: Connection, user_id: str, session_id: int) -> None:
    """End one of a user's sessions; nothing happens if it is somebody else's."""
    execute(connection, "DELETE FROM sessions WHERE session_id = :id AND user_id = :user", id=session_id, user=user_id)


def end_all_of(connection: Connection, user_id: str) -> None:
    """End all sessions of a user."""
    execute(connection, "DELETE FROM sessions WHERE user_id = :user", user=user_id)


def end_all(connection: Connection) -> None:
    """End all sessions."""
    execute(connection, "DELETE FROM sessions")


def _read(connection: Connection, condition: str, secret: str, now: datetime, **values: Any) -> list[Session]:
    # One that seems to begin later began while the clock was ahead.
    valid = "secret_digest = :secret AND created_at > :oldest AND created_at < :latest"
    values |= {"secret": digest_of(secret), "oldest": now - LIFE, "latest": now + SKEW}
    rows = read_rows(connection, f"SELECT {_COLUMNS} FROM sessions WHERE {condition} AND {valid}", **values)
    return [Session(**row) for row in rows]
