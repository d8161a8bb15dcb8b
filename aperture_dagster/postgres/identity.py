"""The identity that marks folders of this installation: of backups, and of published libraries.

It is the comment on Alembic's table, which every database of this program has: a dump contains it, so a restored
database keeps it, and the installation goes on with its folders.
"""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import Connection

from aperture_dagster.postgres.queries import define, lock_until_commit, read_value


def read_owner(connection: Connection) -> str | None:
    """Return the identity; None if no folder was marked yet."""
    return read_value(connection, "SELECT obj_description(to_regclass('public.alembic_version'), 'pg_class')")


def ensure_owner(connection: Connection) -> str:
    """Return the identity, which is made at the first call; needs a transaction."""
    if (owner := read_owner(connection)) is None:
        # Another process may be making it at the same moment.
        lock_until_commit(connection, "owner")
        if (owner := read_owner(connection)) is None:
            owner = uuid4().hex
            define(connection, "COMMENT ON TABLE public.alembic_version IS {owner}", owner=owner)
    return owner
