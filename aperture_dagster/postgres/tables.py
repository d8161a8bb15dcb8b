"""State of this installation and of the services that it uses."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aperture_dagster.postgres.metadata import Moment, between, metadata

facts = sa.Table(
    "facts",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("value", JSONB, nullable=False),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    comment="Single values about this installation, such as the identity of its media server.",
)

services = sa.Table(
    "services",
    metadata,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("batch_size", sa.Integer, comment="largest accepted batch, if a larger one was refused"),
    sa.Column("answered_at", Moment, comment="last success"),
    sa.Column("failing_since", Moment, comment="first of the current failures; null while it works"),
    sa.Column("trouble", sa.Text, comment="the last error"),
    between("batch_size", 1),
    comment="State of external services between runs.",
)

quota = sa.Table(
    "quota",
    metadata,
    sa.Column("service", sa.Text, primary_key=True),
    sa.Column("day", sa.Date, primary_key=True, comment="UTC"),
    sa.Column("used", sa.Integer, nullable=False),
    sa.Column("limit", sa.Integer, nullable=False),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    comment="Requests per service and day, by all processes.",
)
