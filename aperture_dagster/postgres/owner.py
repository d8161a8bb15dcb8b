"""The identity that marks folders of this installation: of backups, and of published libraries.

A restored database keeps it, so that the installation goes on with its folders.
"""

from __future__ import annotations

import json
from uuid import uuid4

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import execute, read_value

FACT = "owner"


def read_owner(connection: Connection) -> str | None:
    """Read the identity; None if no folder was marked yet."""
    return read_value(connection, "SELECT value->>'owner' FROM facts WHERE name = :fact", fact=FACT)


def ensure_owner(connection: Connection) -> str:
    """Return the identity, which is made at the first call."""
    known = read_owner(connection)
    if known is None:
        statement = "INSERT INTO facts (name, value) VALUES (:fact, CAST(:value AS jsonb)) ON CONFLICT DO NOTHING"
        execute(connection, statement, fact=FACT, value=json.dumps({"owner": uuid4().hex}))
        # Another process may have made it at the same moment.
        known = read_owner(connection)
    assert known is not None
    return known
