"""What members set up on their pages: choices, and keys of programs that read their lists."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import unicodedata
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.exc import SQLAlchemyError

from aperture_dagster.catalogue.people import read_users
from aperture_dagster.catalogue.tables import member_choices
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import execute, read_rows

# What members chose for themselves on their page; who chose nothing has the defaults.


LONGEST_NAME = 40
# Library names become folders on the server.
_NOT_IN_NAMES = frozenset('"<>|:*?\\/')


@dataclass(frozen=True, slots=True)
class Choices:
    """The choices of a member.

    Args:
        publish: whether their own lists are on the media server, if the operator publishes any.
        list_name: what stands for their name in the names of these; None: their name on the server.
        excluded_genres: of which no title is on their lists.
        newsletter: whether they get one.
        address: e-mail address that it is sent to; None: the one that is known of them.
        language: in which it is, such as ``de-AT``.
    """

    publish: bool = True
    list_name: str | None = None
    excluded_genres: tuple[str, ...] = ()
    newsletter: bool = False
    address: str | None = field(default=None, repr=False)
    language: str | None = None


def read_choices(connection: Connection) -> dict[str, Choices]:
    """Return the choices by user; who chose nothing is missing."""
    names = tuple(Choices.__dataclass_fields__)
    rows = connection.execute(select(member_choices)).mappings()
    found = {row["user_id"]: Choices(**{name: row[name] for name in names}) for row in rows}
    return {one: replace(choices, excluded_genres=tuple(choices.excluded_genres)) for one, choices in found.items()}


def choices_of(connection: Connection, user_id: str) -> Choices:
    """Return the choices of a user."""
    return read_choices(connection).get(user_id, Choices())


def write_choices(connection: Connection, user_id: str, choices: Choices) -> None:
    """Replace the choices of a user."""
    row: dict[str, Any] = {"user_id": user_id, **asdict(choices), "excluded_genres": list(choices.excluded_genres)}
    upsert(connection, member_choices, [row], columns=list(row))


def clean_name(text: str) -> str | None:
    """Return a name without what a server would replace in the name of a library; None if nothing is left.

    Invisible characters go, too: with them, two names could look the same, or turn the text after them around.
    """
    plain = "".join(one for one in unicodedata.normalize("NFC", text) if unicodedata.category(one) != "Cf")
    kept = "".join(" " if one in _NOT_IN_NAMES or not one.isprintable() else one for one in plain)
    return " ".join(kept.split())[:LONGEST_NAME].strip(" .") or None


def is_plain_email(text: str) -> bool:
    """Tell whether a text is one e-mail address of the usual form, and nothing that could be taken for more."""
    return len(text) <= 200 and re.fullmatch(r"[A-Za-z0-9._+'-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+", text) is not None


def is_taken(connection: Connection, name: str, user_id: str) -> bool:
    """Tell whether somebody else is called like this on the server, or chose to be."""
    choices = read_choices(connection)
    others = [one for one in read_users(connection) if not one.gone and one.user_id != user_id]
    names = {(choices.get(one.user_id, Choices()).list_name or one.name).casefold() for one in others}
    return name.casefold() in names | {one.name.casefold() for one in others}


# The keys of programs that read lists: each is shown once, and its hash is stored.


MARK = "aperture_"
"""How keys begin, so that tools which look for leaked ones recognise them."""


def add_key(connection: Connection, name: str, user_id: str | None) -> str | None:
    """Return the key of a new program, which may read the lists of one user, or of all; None if the name is taken."""
    key = MARK + secrets.token_urlsafe(32)
    statement = """
        INSERT INTO api_keys (name, digest, user_id) VALUES (:name, :digest, :user) ON CONFLICT (name) DO NOTHING"""
    is_new = execute(connection, statement, name=name, digest=digest_of(key), user=user_id).rowcount > 0
    return key if is_new else None


def remove_key(connection: Connection, name: str) -> bool:
    """End the key of a program, from its next request on; False if there is none of that name."""
    return execute(connection, "DELETE FROM api_keys WHERE name = :name", name=name).rowcount > 0


def take_over_keys(connection: Connection, present: Connection | None) -> list[str]:
    """Replace the keys in a restored database with the present ones; return the names of those that this ends.

    A key that was removed since the backup stays removed. If the present database cannot be read, no key is valid.
    """
    try:
        statement = "SELECT name, digest, user_id, created_at FROM api_keys"
        valid = read_rows(present, statement) if present is not None else []
    except SQLAlchemyError:
        valid = []
    digests = {row["digest"] for row in valid}
    ended = [row["name"] for row in read_keys(connection) if row["digest"] not in digests]
    execute(connection, "DELETE FROM api_keys")
    statement = """
        INSERT INTO api_keys (name, digest, user_id, created_at) SELECT :name, :digest, :user_id, :created_at
        WHERE CAST(:user_id AS text) IS NULL OR EXISTS (SELECT FROM users WHERE user_id = :user_id)"""
    for row in valid:
        execute(connection, statement, **row)
    return ended


def read_keys(connection: Connection) -> list[dict[str, Any]]:
    """List the keys by name: ``name``, ``digest``, ``user_id`` and ``user`` (None: of all) and ``created_at``."""
    statement = """
        SELECT k.name, k.digest, k.user_id, u.name AS user, k.created_at
        FROM api_keys k LEFT JOIN users u USING (user_id) ORDER BY k.name"""
    return read_rows(connection, statement)


def find_key(connection: Connection, digest: str) -> dict[str, Any] | None:
    """Return the key of a digest, as a row of :func:`read_keys`; None if no program has it."""
    # All are compared, each in the same time, so that the time of an answer says nothing about any.
    found = [row for row in read_keys(connection) if hmac.compare_digest(row["digest"], digest)]
    return found[0] if found else None


def digest_of(key: str) -> str:
    """Return the hash of a key. It is not slow, as that of a password is: nobody guesses 256 random bits."""
    return hashlib.sha256(key.encode()).hexdigest()
