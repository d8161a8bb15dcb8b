"""State of this installation and of the services that it uses."""

from __future__ import annotations

from sqlalchemy import Column, Date, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from aperture_dagster.storage.tables.base import Moment, between, metadata

facts = Table(
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", JSONB, nullable=False),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    comment="Single values about this installation, such as the identity of its media server.",
)

services = Table(
    "services",
    metadata,
    Column("service", Text, primary_key=True),
    Column("batch_size", Integer, comment="largest accepted batch, if a larger one was refused"),
    Column("answered_at", Moment, comment="last success"),
    Column("failing_since", Moment, comment="first of the current failures; null while it works"),
    Column("trouble", Text, comment="the last error"),
    between("batch_size", 1),
    comment="State of external services between runs.",
)

quota = Table(
    "quota",
    metadata,
    Column("service", Text, primary_key=True),
    Column("day", Date, primary_key=True, comment="UTC"),
    Column("used", Integer, nullable=False),
    Column("limit", Integer, nullable=False),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    comment="Requests per service and day, by all processes.",
)
