"""Accounts that users connected to Trakt, with encrypted tokens; the identity of this installation; pauses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import uuid4

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import execute, lock_until_commit, read_rows, read_value
from aperture_dagster.postgres.tables import facts
from aperture_dagster.ratings.tables import trakt_accounts

AccountState = Literal["connected", "reconnect", "parked"]
INSTALLATION = "installation"
PAUSE = "trakt_pause"


@dataclass(frozen=True, slots=True)
class TraktAccount:
    """A user's account on Trakt: a row of ``trakt_accounts``, their name, and the number of their waiting ratings.

    ``trouble`` says why the state is not ``connected``; ``changed_at`` is when the state changed last. ``gone``: the
    media server no longer lists the user. The tokens are encrypted.
    """

    user_id: str
    name: str
    gone: bool
    trakt_user: str | None
    state: AccountState
    trouble: str | None
    connected_at: datetime
    changed_at: datetime
    read_at: datetime | None
    waiting: int
    installation_id: str
    issued_at: datetime
    expires_at: datetime
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)


def installation_id(connection: Connection) -> str:
    """Return the identity of this installation, which is made at the first call.

    A copy of the database on another server, or under another name, is another installation: two that used the same
    tokens would sign each other out.
    """
    lock_until_commit(connection, INSTALLATION)
    place = _place(connection)
    stored = read_value(connection, "SELECT value FROM facts WHERE name = :name", name=INSTALLATION)
    if stored is None or stored["place"] != place:
        stored = {"id": uuid4().hex, "place": place}
        upsert(connection, facts, [{"name": INSTALLATION, "value": stored}])
    return stored["id"]


def read_accounts(connection: Connection) -> list[TraktAccount]:
    """Read all accounts, by the names of their users."""
    return _read(connection, "ORDER BY u.name, u.user_id")


def read_account(connection: Connection, user_id: str) -> TraktAccount | None:
    """Read the account of a user; None if there is none."""
    return next(iter(_read(connection, "WHERE a.user_id = :user", user=user_id)), None)


def read_connected_at(connection: Connection, user_id: str) -> datetime | None:
    """Return when a user connected last; None if they have not."""
    return read_value(connection, "SELECT connected_at FROM trakt_accounts WHERE user_id = :user", user=user_id)


def write_account(connection: Connection, **account: Any) -> None:
    """Insert the account of a user, or update it with the given columns of ``trakt_accounts``."""
    statement = insert(trakt_accounts).values(account)
    connection.execute(statement.on_conflict_do_update(index_elements=["user_id"], set_=account))


def write_tokens(connection: Connection, user_id: str, tokens: Mapping[str, Any]) -> None:
    """Store a new pair of encrypted tokens, by column."""
    connection.execute(trakt_accounts.update().where(trakt_accounts.c.user_id == user_id).values(dict(tokens)))


def set_state(
    connection: Connection, user_id: str, state: AccountState, trouble: str, *, now: datetime, issued_at: datetime
) -> None:
    """Record the state of an account, and why it is not connected.

    ``issued_at``: of the tokens that this was learned with; if others were stored since, it says nothing about them.
    """
    statement = """
        UPDATE trakt_accounts SET state = :state, trouble = :trouble, updated_at = :now
        WHERE user_id = :user AND issued_at = :issued_at"""
    execute(connection, statement, user=user_id, state=state, trouble=trouble, now=now, issued_at=issued_at)


def void_restored_tokens(connection: Connection, backup: str, *, now: datetime) -> int:
    """Record that a database is a restored backup, whose tokens Trakt has replaced since: every user connects again.

    Returns:
        The number of those users.
    """
    trouble = f"the database was restored from {backup}, and the tokens in it are no longer valid"
    statement = "UPDATE trakt_accounts SET state = 'reconnect', trouble = :trouble, updated_at = :now"
    return execute(connection, statement, trouble=trouble, now=now).rowcount


def unpark(connection: Connection, user_id: str, *, now: datetime) -> None:
    """Record that Trakt serves an account again that was parked; others are left alone."""
    statement = """
        UPDATE trakt_accounts SET state = 'connected', trouble = NULL, updated_at = :now
        WHERE user_id = :user AND state = 'parked'"""
    execute(connection, statement, user=user_id, now=now)


def forget_synced_state(connection: Connection, user_id: str) -> None:
    """Forget the ratings in step with Trakt, pushes that wait, removals that are held back, and what Trakt recommends.

    Ratings are kept.
    """
    for table in ("trakt_ratings", "rating_outbox", "rating_removals"):
        execute(connection, f"DELETE FROM {table} WHERE user_id = :user", user=user_id)
    statement = "DELETE FROM discovery_lists WHERE starts_with(request, :prefix)"
    execute(connection, statement, prefix=recommendations_of(user_id))
    statement = "UPDATE trakt_accounts SET activities = NULL, read_at = NULL WHERE user_id = :user"
    execute(connection, statement, user=user_id)


def recommendations_of(user_id: str) -> str:
    """Return how the names of a user's lists of recommendations in ``discovery_lists`` begin."""
    return f"trakt/{user_id}/"


def delete_account(connection: Connection, user_id: str) -> None:
    """Delete an account with its tokens and its synced state."""
    forget_synced_state(connection, user_id)
    execute(connection, "DELETE FROM trakt_accounts WHERE user_id = :user", user=user_id)


def write_activities(connection: Connection, user_id: str, activities: Mapping[str, Any], *, read_at: datetime) -> None:
    """Record Trakt's last activities, and when the ratings were read completely."""
    values = {"activities": dict(activities), "read_at": read_at}
    connection.execute(trakt_accounts.update().where(trakt_accounts.c.user_id == user_id).values(values))


def read_pause(connection: Connection) -> dict[str, Any] | None:
    """Read why nothing is sent to Trakt for anybody; None if nothing was recorded."""
    return read_value(connection, "SELECT value FROM facts WHERE name = :name", name=PAUSE)


def write_pause(connection: Connection, pause: Mapping[str, Any]) -> None:
    """Record why nothing is sent to Trakt for anybody."""
    upsert(connection, facts, [{"name": PAUSE, "value": dict(pause)}])


def lift_pause(connection: Connection, app: str) -> None:
    """Forget that an app was refused; a block of this network ends by its time."""
    execute(connection, "DELETE FROM facts WHERE name = :name AND value->>'app' = :app", name=PAUSE, app=app)


def _read(connection: Connection, condition: str, **values: Any) -> list[TraktAccount]:
    statement = f"""
        SELECT a.user_id, u.name, u.removed_at IS NOT NULL AS gone, a.trakt_user, a.state, a.trouble,
        a.connected_at, a.updated_at AS changed_at, a.read_at, a.installation_id, a.issued_at, a.expires_at,
        a.access_token, a.refresh_token,
        (SELECT count(*) FROM rating_outbox o WHERE o.user_id = a.user_id) AS waiting
        FROM trakt_accounts a JOIN users u USING (user_id) {condition}"""
    return [TraktAccount(**row) for row in read_rows(connection, statement, **values)]


def _place(connection: Connection) -> str:
    """Return what identifies the database: its server, where it may say so, and its number there."""
    number = read_value(connection, "SELECT oid FROM pg_database WHERE datname = current_database()")
    allowed = "SELECT has_function_privilege('pg_control_system()', 'execute')"
    server = "SELECT system_identifier FROM pg_control_system()"
    return f"{read_value(connection, server) if read_value(connection, allowed) else ''}/{number}"
