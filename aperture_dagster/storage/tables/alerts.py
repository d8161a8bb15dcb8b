"""Alerts: problems that the operator hears about, and messages that are on their way."""

import sqlalchemy as sa

from aperture_dagster.storage.tables.base import Moment, between, metadata, one_of

CATEGORIES = ("run", "check", "freshness")

alert_problems = sa.Table(
    "alert_problems",
    metadata,
    sa.Column("key", sa.Text, primary_key=True, comment="category, subject and class of the cause"),
    sa.Column("category", sa.Text, nullable=False),
    sa.Column("subject", sa.Text, nullable=False, comment="asset, asset.check or job"),
    sa.Column("sentence", sa.Text, nullable=False, comment="what was wrong last, and what to do"),
    sa.Column("page", sa.Text, nullable=False, comment="its page in the UI"),
    sa.Column("first_seen", Moment, nullable=False),
    sa.Column("last_seen", Moment, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("tell_after", Moment, nullable=False, comment="it is not reported before"),
    sa.Column("last_told", Moment, comment="when it was reported last"),
    sa.Column("told_count", sa.Integer, nullable=False, comment="the count at that time"),
    sa.Column("resolved_at", Moment, comment="when it was over; the row goes once that is reported"),
    one_of("category", CATEGORIES),
    between("count", 1),
    comment="Problems that are open, or were until a moment ago.",
)

alert_outbox = sa.Table(
    "alert_outbox",
    metadata,
    sa.Column("address", sa.Text, primary_key=True, comment="digest of the address, which is a secret"),
    sa.Column("queued_at", Moment, primary_key=True),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("is_good", sa.Boolean, nullable=False, comment="it reports nothing but recoveries"),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("attempts", sa.SmallInteger, nullable=False, server_default=sa.text("0")),
    sa.Column(
        "unconfirmed",
        sa.SmallInteger,
        nullable=False,
        server_default=sa.text("0"),
        comment="last attempts of which nobody knows whether they arrived, because the process ended",
    ),
    between("attempts", 0),
    between("unconfirmed", 0),
    comment="Messages that have not been delivered yet, per address.",
)
