"""Which letters were sent."""

import sqlalchemy as sa

from aperture_dagster.postgres.tables import Moment, metadata

newsletters = sa.Table(
    "newsletters",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("week", sa.Date, primary_key=True, comment="its Monday, in the operator's time zone"),
    sa.Column("begun_at", Moment, nullable=False, comment="noted before it is sent, so that it is never sent twice"),
    comment="Letters that were sent, or were being sent when the run ended.",
)
