"""Single values about this installation, each under a name, such as the identity of its media server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection
from sqlalchemy.dialects.postgresql import JSONB

from aperture_dagster.postgres.bulk import as_json, upsert
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.postgres.tables import Moment, metadata

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", JSONB, nullable=False),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    comment="Single values about this installation, such as the identity of its media server.",
)


def read_fact(connection: Connection, name: str) -> dict[str, Any] | None:
    """Return a value; None if there is none."""
    return read_value(connection, "SELECT value FROM facts WHERE name = :name", name=name)


def read_dated_fact(connection: Connection, name: str) -> tuple[dict[str, Any], datetime] | None:
    """Return a value, and when it became what it is; None if there is none."""
    rows = read_rows(connection, "SELECT value, updated_at FROM facts WHERE name = :name", name=name)
    return (rows[0]["value"], rows[0]["updated_at"]) if rows else None


def write_fact(connection: Connection, name: str, value: Mapping[str, Any]) -> None:
    """Record a value; an equal one is not written again."""
    upsert(connection, facts, [{"name": name, "value": dict(value)}])


def delete_fact(connection: Connection, name: str, **holding: Any) -> None:
    """Delete a value, if it holds these."""
    statement = "DELETE FROM facts WHERE name = :name AND value @> CAST(:holding AS jsonb)"
    execute(connection, statement, name=name, holding=as_json(holding))
