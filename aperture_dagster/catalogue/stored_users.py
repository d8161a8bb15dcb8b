"""Users of the media server as they are stored, and the identity of the server."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from aperture_dagster.catalogue.people import User, former_names
from aperture_dagster.catalogue.tables import users
from aperture_dagster.catalogue.visibility import Visibility
from aperture_dagster.facts import read_fact, write_fact
from aperture_dagster.postgres.bulk import WriteCounts, upsert
from aperture_dagster.postgres.queries import execute
from aperture_dagster.postgres.tables import written_columns


def read_users(connection: Connection) -> list[User]:
    """Read all users ever seen, ordered by first appearance, then by name."""
    rows = connection.execute(select(users)).all()
    rows = sorted(rows, key=lambda row: (row.first_seen_at, row.name.casefold(), row.user_id))
    return [_as_user(row) for row in rows]


def find_user(connection: Connection, user_id: str) -> User | None:
    """Read a user; None if no sync has read them yet."""
    row = connection.execute(select(users).where(users.c.user_id == user_id)).one_or_none()
    return None if row is None else _as_user(row)


def _as_user(row: Any) -> User:
    return User(
        row.user_id,
        row.partition_key,
        row.name,
        row.is_disabled,
        row.is_administrator,
        row.max_parental_rating,
        Visibility(**{one.name: getattr(row, one.name) for one in fields(Visibility)}),
        gone=row.removed_at is not None,
        former_names=tuple(row.former_names),
        operators_email=row.email if row.email_source == "operator" else None,
    )


def users_of_partitions(connection: Connection, keys: Collection[str]) -> dict[str, User]:
    """Read the users of partition keys, in the order of ``keys``; unknown keys are left out."""
    by_key = {user.partition_key: user for user in read_users(connection)}
    return {key: by_key[key] for key in keys if key in by_key}


def new_partitions(connection: Connection, *, since: datetime) -> set[str]:
    """Return the partition keys of users who were first seen since then."""
    is_new = users.c.first_seen_at >= since
    return set(connection.execute(select(users.c.partition_key).where(is_new)).scalars())


def users_differ(connection: Connection, rows: Iterable[dict[str, Any]], *, on_server: Collection[str] | None) -> bool:
    """Return whether :func:`write_users` would change anything but ``last_activity_at``."""
    statement = select(users).where(users.c.removed_at.is_(None))
    stored = {row["user_id"]: row for row in connection.execute(statement).mappings()}
    if on_server is not None and stored.keys() - set(on_server):
        return True
    return any(
        row["user_id"] not in stored
        or any(stored[row["user_id"]][name] != value for name, value in row.items() if name != "last_activity_at")
        for row in rows
    )


def write_users(
    connection: Connection,
    rows: Iterable[dict[str, Any]],
    *,
    still_there: Collection[str] | None,
    key_for: Callable[[str, str, Collection[str]], str],
) -> WriteCounts:
    """Insert and update users, and mark users that are not in ``still_there`` as removed.

    Args:
        connection: inside a transaction.
        rows: the columns of ``users`` except ``partition_key``, ``former_names`` and ``removed_at``.
        still_there: ids that the server lists, unreadable users included; None if the list may be incomplete.
        key_for: returns the partition key of a new user, given (name, id, keys in use).
    """
    # Concurrent processes must not assign the same key to two new users.
    execute(connection, "LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE")
    known = {user.user_id: user for user in read_users(connection)}
    keys = {user_id: user.partition_key for user_id, user in known.items()}
    complete = []
    for row in rows:
        user_id, name = row["user_id"], row["name"]
        if user_id not in keys:
            keys[user_id] = key_for(name, user_id, set(keys.values()))
        names = former_names(known[user_id], name) if user_id in known else ()
        own = {"partition_key": keys[user_id], "former_names": [*names], "removed_at": None}
        complete.append(row | own)
    counts = upsert(connection, users, complete, columns=(*written_columns(users), "former_names"))
    there = [row["user_id"] for row in complete]
    execute(connection, "DELETE FROM departures WHERE user_id = ANY(:there)", there=there)
    if still_there is not None:
        statement = """
            UPDATE users SET removed_at = now(), updated_at = now()
            WHERE removed_at IS NULL AND NOT user_id = ANY(:there)"""
        counts.deleted = execute(connection, statement, there=list(still_there)).rowcount
    return counts


def hold_user(connection: Connection, user_id: str) -> None:
    """Let nobody add rows that refer to a user until the end of the transaction."""
    execute(connection, "SELECT FROM users WHERE user_id = :user FOR UPDATE", user=user_id)


def remove_user(connection: Connection, user_id: str, *, is_listed: bool) -> int:
    """Delete a user to whom no row refers; if they are still listed, their former names. Return the changed rows."""
    if is_listed:
        statement = "UPDATE users SET former_names = '{}' WHERE user_id = :user AND former_names <> '{}'"
    else:
        statement = "DELETE FROM users WHERE user_id = :user"
    return execute(connection, statement, user=user_id).rowcount


def server_identity(connection: Connection) -> dict[str, Any] | None:
    """Return the media server that the home belongs to: its id, name, product and version; None before it was read."""
    return read_fact(connection, "media_server")


def remember_server(
    connection: Connection, identity: dict[str, Any], *, dry_run: bool = False
) -> dict[str, Any] | None:
    """Record the media server that this home belongs to; return the previously recorded one, None the first time."""
    before = server_identity(connection)
    if not dry_run and (before is None or before.get("server_id") == identity["server_id"]):
        write_fact(connection, "media_server", identity)
    return before
