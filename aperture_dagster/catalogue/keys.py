"""The keys of programs that read lists: each is shown once, and its hash is stored."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

from sqlalchemy import Connection

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


def read_keys(connection: Connection) -> list[dict[str, Any]]:
    """List the keys by name: ``name``, ``digest``, ``user_id`` and ``user`` (None: of all) and ``created_at``."""
    statement = """
        SELECT k.name, k.digest, k.user_id, u.name AS user, k.created_at
        FROM api_keys k LEFT JOIN users u USING (user_id) ORDER BY k.name"""
    return read_rows(connection, statement)


def find_key(connection: Connection, digest: str) -> dict[str, Any] | None:
    """Return the key of a digest, as a row of :func:`read_keys`; None if it is nobody's."""
    # All are compared, each in the same time, so that the time of an answer says nothing about any.
    found = [row for row in read_keys(connection) if hmac.compare_digest(row["digest"], digest)]
    return found[0] if found else None


def digest_of(key: str) -> str:
    """Return the hash of a key. It is not slow, as that of a password is: nobody guesses 256 random bits."""
    return hashlib.sha256(key.encode()).hexdigest()
