"""Accounts that users connected to Trakt, as they are stored; the identity of this installation; pauses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import insert

from aperture_dagster.facts import delete_fact, read_fact, write_fact
from aperture_dagster.postgres.queries import execute, lock_until_commit, read_rows, read_value
from aperture_dagster.ratings.synced import forget_synced
from aperture_dagster.trakt.account_state import AccountState, Event, next_state
from aperture_dagster.trakt.tables import trakt_accounts

INSTALLATION = "installation"
PAUSE = "trakt_pause"


@dataclass(frozen=True, slots=True)
class TraktAccount:
    """A user's account on Trakt: a row of ``trakt_accounts``, their name, and the number of their waiting ratings.

    ``gone``: the media server no longer lists the user. The tokens are encrypted.
    """

    user_id: str
    name: str
    gone: bool
    trakt_user: str | None
    state: AccountState
    connected_at: datetime
    read_at: datetime | None
    waiting: int
    installation_id: str
    issued_at: datetime
    expires_at: datetime
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)

    @property
    def works(self) -> bool:
        """Whether ratings of the user can be kept in step now, as far as the account is concerned."""
        return self.state.name == "connected" and not self.gone


def installation_id(connection: Connection) -> str:
    """Return the identity of this installation, which is made at the first call.

    A copy of the database on another server, or under another name, is another installation: two that used the same
    tokens would sign each other out.
    """
    lock_until_commit(connection, INSTALLATION)
    known = known_installation(connection)
    if known is None:
        known = uuid4().hex
        write_fact(connection, INSTALLATION, {"id": known, "place": _place(connection)})
    return known


def known_installation(connection: Connection) -> str | None:
    """Return the identity of this installation; None if it has none yet, or is a copy of another one."""
    stored = read_fact(connection, INSTALLATION)
    return stored["id"] if stored is not None and stored["place"] == _place(connection) else None


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
    _update(connection, user_id, tokens)


def record_event(
    connection: Connection, user_id: str, event: Event, *, now: datetime, issued_at: datetime | None = None
) -> None:
    """Record what happened to an account; one that was deleted meanwhile stays so.

    ``issued_at``: of the tokens that this was learned with; if others were stored since, it says nothing about them.
    """
    statement = """
        SELECT state, trouble, waits_until, issued_at FROM trakt_accounts WHERE user_id = :user FOR UPDATE"""
    row = execute(connection, statement, user=user_id).one_or_none()
    if row is None or (issued_at is not None and row.issued_at != issued_at):
        return
    before = AccountState(row.state, row.trouble, row.waits_until)
    after = next_state(before, event, now)
    if after != before:
        _update(connection, user_id, columns_of(after) | {"updated_at": now})


def columns_of(state: AccountState) -> dict[str, Any]:
    """Return a state as columns of ``trakt_accounts``."""
    return {"state": state.name, "trouble": state.reason, "waits_until": state.until}


def void_restored_tokens(connection: Connection, backup: str, *, now: datetime) -> int:
    """Record that a database is a restored backup, whose tokens Trakt has replaced since: every user connects again.

    Returns:
        The number of those users.
    """
    restored = Event("void", f"the database was restored from {backup}, and the tokens in it are no longer valid")
    accounts = read_accounts(connection)
    for account in accounts:
        record_event(connection, account.user_id, restored, now=now)
    return len(accounts)


def forget_synced_state(connection: Connection, user_id: str) -> None:
    """Forget the ratings in step with Trakt, pushes that wait, removals that are held back, and what Trakt recommends.

    Ratings are kept.
    """
    forget_synced(connection, user_id)
    execute(connection, "DELETE FROM trakt_recommendations WHERE user_id = :user", user=user_id)
    statement = "UPDATE trakt_accounts SET activities = NULL, read_at = NULL WHERE user_id = :user"
    execute(connection, statement, user=user_id)


def delete_account(connection: Connection, user_id: str) -> None:
    """Delete an account with its tokens and its synced state."""
    forget_synced_state(connection, user_id)
    execute(connection, "DELETE FROM trakt_accounts WHERE user_id = :user", user=user_id)


def write_activities(connection: Connection, user_id: str, activities: Mapping[str, Any], *, read_at: datetime) -> None:
    """Record Trakt's last activities, and when the ratings were read completely."""
    _update(connection, user_id, {"activities": dict(activities), "read_at": read_at})


def _update(connection: Connection, user_id: str, values: Mapping[str, Any]) -> None:
    connection.execute(trakt_accounts.update().where(trakt_accounts.c.user_id == user_id).values(dict(values)))


def read_pause(connection: Connection) -> dict[str, Any] | None:
    """Read why nothing is sent to Trakt for anybody; None if nothing was recorded."""
    return read_fact(connection, PAUSE)


def write_pause(connection: Connection, pause: Mapping[str, Any]) -> None:
    """Record why nothing is sent to Trakt for anybody."""
    write_fact(connection, PAUSE, pause)


def lift_pause(connection: Connection, app: str) -> None:
    """Forget that an app was refused; a block of this network ends by its time."""
    delete_fact(connection, PAUSE, app=app)


def _read(connection: Connection, condition: str, **values: Any) -> list[TraktAccount]:
    statement = f"""
        SELECT a.user_id, u.name, u.removed_at IS NOT NULL AS gone, a.trakt_user, a.state, a.trouble,
        a.waits_until, a.connected_at, a.read_at, a.installation_id, a.issued_at, a.expires_at,
        a.access_token, a.refresh_token,
        (SELECT count(*) FROM rating_outbox o WHERE o.user_id = a.user_id) AS waiting
        FROM trakt_accounts a JOIN users u USING (user_id) {condition}"""
    rows = read_rows(connection, statement, **values)
    for row in rows:
        row["state"] = AccountState(row["state"], row.pop("trouble"), row.pop("waits_until"))
    return [TraktAccount(**row) for row in rows]


def _place(connection: Connection) -> str:
    """Return what identifies the database: its server, where it may say so, and its number there."""
    number = read_value(connection, "SELECT oid FROM pg_database WHERE datname = current_database()")
    allowed = "SELECT has_function_privilege('pg_control_system()', 'execute')"
    server = "SELECT system_identifier FROM pg_control_system()"
    return f"{read_value(connection, server) if read_value(connection, allowed) else ''}/{number}"


def read_state(connection: Connection, user_id: str) -> tuple[datetime | None, Mapping[str, str]]:
    """Return when a user's ratings were last read completely, and what Trakt's last activities were before."""
    statement = "SELECT read_at, activities FROM trakt_accounts WHERE user_id = :user"
    row = execute(connection, statement, user=user_id).first()
    return (row.read_at, row.activities or {}) if row else (None, {})
