"""Alerts: problems that the operator hears about, and what each address was told."""

import sqlalchemy as sa

from aperture_dagster.postgres.tables import Moment, between, metadata, one_of

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
    sa.Column("report_after", Moment, nullable=False, comment="it is not reported before"),
    sa.Column("resolved_at", Moment, comment="when it was over; the row goes once that is reported"),
    one_of("category", CATEGORIES),
    between("count", 1),
    comment="Problems that are open, or were until a moment ago.",
)

alerts_told = sa.Table(
    "alerts_told",
    metadata,
    sa.Column("key", sa.Text, sa.ForeignKey("alert_problems.key", ondelete="CASCADE"), primary_key=True),
    sa.Column("address", sa.Text, primary_key=True, comment="digest of the address, which is a secret"),
    sa.Column("tried_at", Moment, nullable=False, comment="the last attempt"),
    sa.Column("told_at", Moment, comment="the last attempt that succeeded"),
    sa.Column("count", sa.Integer, nullable=False, server_default=sa.text("0"), comment="of the problem at that time"),
    comment="What each address was told about the problems.",
)
