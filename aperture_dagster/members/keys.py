"""API keys of programs that read members' lists: each is shown once, and its hash is stored."""

from __future__ import annotations

import hmac
import secrets
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from aperture_dagster.members.digests import digest_of
from aperture_dagster.postgres.queries import execute, read_rows

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
