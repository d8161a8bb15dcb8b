"""The users of the media server: as they are stored, which of them take part, and their partition keys."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from aperture_dagster.catalogue.access import Access
from aperture_dagster.catalogue.tables import users
from aperture_dagster.facts import read_fact, write_fact
from aperture_dagster.model import SKEW
from aperture_dagster.postgres.bulk import WriteCounts, upsert
from aperture_dagster.postgres.queries import execute
from aperture_dagster.postgres.tables import written_columns
from aperture_dagster.settings.services import MediaServerSettings

MAX_KEY_LENGTH = 40


def partition_key(name: str, user_id: str, taken: Collection[str]) -> str:
    """Return a unique partition key that is recognisable and safe on a command line: the cleaned name.

    Characters with a meaning in shells or Dagster become ``-``; letters and digits of any script are kept. If the key
    would be empty or taken, digits of a hash of the user's id are appended.
    """
    clean = re.sub(r"[^\w.-]+", "-", unicodedata.normalize("NFC", name)).strip("-.")[:MAX_KEY_LENGTH].strip("-.")
    # ".." would look like a partition range, and keys that differ only in case are easily confused.
    clean = re.sub(r"\.{2,}", ".", clean)
    lowered = {key.casefold() for key in taken}
    if clean and clean.casefold() not in lowered:
        return clean
    digest = hashlib.sha256(user_id.encode()).hexdigest()
    for length in range(6, len(digest)):
        key = f"{clean or 'user'}-{digest[:length]}"
        if key.casefold() not in lowered:
            return key
    raise AssertionError(f"two users have the id {user_id}")


@dataclass(frozen=True, slots=True)
class User:
    """A user ever seen on the media server; ``gone`` if it no longer lists them.

    ``former_names`` are those before renames, the latest last. ``operators_email`` is the address that the operator
    gave, as of the last sync.
    """

    user_id: str
    partition_key: str
    name: str
    is_disabled: bool
    is_administrator: bool
    max_parental_rating: int | None
    access: Access
    gone: bool
    former_names: tuple[str, ...] = ()
    operators_email: str | None = None


def former_names(user: User, name: str) -> tuple[str, ...]:
    """Return the former names of a user whom the server now lists as ``name``. Case does not make another name."""
    names = [one for one in user.former_names if one.casefold() != name.casefold()]
    if user.name.casefold() != name.casefold():
        names = [one for one in names if one.casefold() != user.name.casefold()] + [user.name]
    return tuple(names)


def as_listed(known: Iterable[User], names: Mapping[str, str], still_there: Collection[str] | None) -> list[User]:
    """Return all users ever seen, new ones included, as the server lists them now: ``names`` by id.

    Who is not ``still_there`` is gone; None if the list may be incomplete.
    """
    users = {user.user_id: user for user in known}
    for user_id, name in names.items():
        user = users.get(user_id) or User(user_id, "", name, False, False, None, Access(), gone=False)
        users[user_id] = replace(user, name=name, former_names=former_names(user, name), gone=False)
    if still_there is None:
        return list(users.values())
    return [replace(user, gone=user.user_id not in still_there) for user in users.values()]


def users_named(users: Iterable[User], names: Iterable[str]) -> dict[str, list[User]]:
    """Find the users that the settings mean by each of ``names``, compared without case.

    A name means who has it now. If nobody on the server has it, it means who had it before being renamed, and at last
    somebody who is gone.
    """
    users = list(users)

    def meant(name: str) -> list[User]:
        present = [user for user in users if not user.gone]
        for some, look in ((present, _has), (present, _had), (users, _had)):
            found = [user for user in some if look(user, name)]
            if found:
                return found
        return []

    return {name: meant(name) for name in names}


def _has(user: User, name: str) -> bool:
    return user.name.casefold() == name.casefold()


def _had(user: User, name: str) -> bool:
    return name.casefold() in {one.casefold() for one in (user.name, *user.former_names)}


def who_takes_part(settings: MediaServerSettings, users: Iterable[User]) -> list[User]:
    """Return the users who take part, by the settings."""
    return participants(users, include=settings.include_users, exclude=settings.exclude_users)


def participants(users: Iterable[User], *, include: Collection[str], exclude: Collection[str]) -> list[User]:
    """Return the users who take part: those on the server who are in ``include``, or enabled if it is empty.

    Nobody in ``exclude`` takes part. See :func:`users_named` for who is meant by a name.
    """
    users = list(users)
    included, excluded = (
        {user.user_id for found in users_named(users, names).values() for user in found} for names in (include, exclude)
    )

    def takes_part(user: User) -> bool:
        allowed = user.user_id in included if include else not user.is_disabled
        return allowed and user.user_id not in excluded and not user.gone

    return [user for user in users if takes_part(user)]


def operators_emails(users: Sequence[User], emails: Mapping[str, str]) -> dict[str, str]:
    """Return the addresses that the operator gave by name, by user id; the users have their present names.

    Who got an address under a name keeps it, even if somebody else bears that name now: it must not be shown to them,
    nor their letters be sent to it. An address given for a present name comes before one for a former name.
    """
    names = {name.casefold() for name in emails}
    former: dict[str, str] = {}
    present: dict[str, str] = {}
    for name, meant in users_named(users, emails).items():
        holders = [
            user
            for user in users
            if user.operators_email == emails[name]
            and _had(user, name)
            and user.name.casefold() not in names
            and not user.gone
        ]
        for user in holders or meant:
            (present if _has(user, name) else former)[user.user_id] = emails[name]
    return former | present


def email_of(operators: str | None, hint: str | None) -> tuple[str | None, str | None]:
    """Return a user's e-mail address and its source: the operator's, else the server's hint if it is an address."""
    if operators is not None:
        return operators, "operator"
    if hint and is_email(hint):
        return hint, "media_server"
    return None, None


def is_email(text: str) -> bool:
    """Tell whether a text has the form of an e-mail address."""
    return re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", text) is not None


# Users of the media server, and the identity of the server.


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
        Access(**{one.name: getattr(row, one.name) for one in fields(Access)}),
        gone=row.removed_at is not None,
        former_names=tuple(row.former_names),
        operators_email=row.email if row.email_source == "operator" else None,
    )


def users_of_partitions(connection: Connection, keys: Collection[str]) -> dict[str, User]:
    """Read the users of partition keys, in the order of ``keys``; unknown keys are left out."""
    by_key = {user.partition_key: user for user in read_users(connection)}
    return {key: by_key[key] for key in keys if key in by_key}


def new_partitions(connection: Connection, *, since: datetime, now: datetime) -> set[str]:
    """Return the partition keys of users who were first seen since then."""
    is_new = users.c.first_seen_at.between(since, now + SKEW)
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
