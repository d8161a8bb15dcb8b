"""What is remembered of this home, and of the services that it asks."""

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
    comment="Single facts about this home, such as the identity of the media server that it belongs to.",
)

services = Table(
    "services",
    metadata,
    Column("service", Text, primary_key=True),
    Column("batch_size", Integer, comment="the largest that it took, where it refused a larger one"),
    Column("answered_at", Moment, comment="when it last gave a good answer"),
    Column("failing_since", Moment, comment="null while it answers"),
    Column("trouble", Text, comment="what it failed with last"),
    between("batch_size", 1),
    comment="What is remembered of an outside service from one run to the next.",
)

quota = Table(
    "quota",
    metadata,
    Column("service", Text, primary_key=True),
    Column("day", Date, primary_key=True, comment="UTC"),
    Column("used", Integer, nullable=False),
    Column("limit", Integer, nullable=False),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    comment="Requests spent per service and day, all processes together.",
)
