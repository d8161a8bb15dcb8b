"""Evenings on which several people vote, each on their own phone, on what to watch."""

import sqlalchemy as sa

from aperture_dagster.postgres.tables import STAYS_WITH_WORK, Moment, between, metadata

evenings = sa.Table(
    "evenings",
    metadata,
    sa.Column("evening_id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), nullable=False, comment="who opened it"),
    sa.Column("digest", sa.Text, nullable=False, unique=True, comment="SHA-256 of the code in its link"),
    sa.Column("guest_age", sa.SmallInteger, comment="the limit of guests without an account"),
    sa.Column("works", sa.ARRAY(sa.BigInteger), nullable=False, comment="what is voted on, in order"),
    sa.Column("places", sa.SmallInteger, nullable=False, comment="how many phones vote"),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("ends_at", Moment, nullable=False),
    between("places", 1, 20),
    sa.Index("ix_evenings_user_id", "user_id"),
    info={"derived": True},
    comment="Evenings that are open, or ended within the last day.",
)

evening_people = sa.Table(
    "evening_people",
    metadata,
    sa.Column("evening_id", sa.BigInteger, sa.ForeignKey("evenings.evening_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    info={"derived": True},
    comment="Members who are there: what one of them may not see is not voted on.",
)

evening_voters = sa.Table(
    "evening_voters",
    metadata,
    sa.Column("evening_id", sa.BigInteger, sa.ForeignKey("evenings.evening_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("voter", sa.Text, primary_key=True, comment="SHA-256 of the token in the cookie of a phone"),
    info={"derived": True},
    comment="Phones that vote. Whose they are is not stored.",
)

evening_votes = sa.Table(
    "evening_votes",
    metadata,
    sa.Column("evening_id", sa.BigInteger, sa.ForeignKey("evenings.evening_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("voter", sa.Text, primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("likes", sa.Boolean, nullable=False),
    sa.Column("voted_at", Moment, nullable=False, comment="the first title that all like is the one"),
    info={"derived": True},
    comment="The votes of an evening.",
)
