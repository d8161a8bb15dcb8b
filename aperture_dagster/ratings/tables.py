"""Tables of ratings: those that were given, those on which Trakt agrees, and what is to be sent or decided."""

from __future__ import annotations

import sqlalchemy as sa

from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.postgres.tables import (
    FOLLOWS_ITEM,
    FOLLOWS_ITEM_AND_TITLE,
    STAYS_WITH_WORK,
    Moment,
    between,
    metadata,
    one_of,
)

ratings = sa.Table(
    "ratings",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("source", sa.Text, primary_key=True, comment="server: media server; own: given here; trakt; imported"),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=FOLLOWS_ITEM_AND_TITLE),
    sa.Column("item_id", sa.BigInteger, primary_key=True, comment="the rated copy or episode; 0: the work"),
    sa.Column("rating", sa.Float, comment="0-10; null: removed here or on Trakt, whatever other sources have"),
    sa.Column("rated_at", Moment, nullable=False, comment="as reported by the source, else when first seen"),
    sa.Column(
        "updated_at",
        Moment,
        nullable=False,
        server_default=sa.text("now()"),
        comment="of the ratings of a work, the one written last is in force",
    ),
    sa.Column("import_id", sa.BigInteger, sa.ForeignKey("history_imports.import_id"), comment="of the file it is from"),
    sa.Column(
        "stays_here",
        sa.Boolean,
        nullable=False,
        server_default=sa.text("false"),
        comment="neither the media server nor Trakt gets it",
    ),
    between("rating", 0, 10),
    comment="Current ratings per user and source. Reading an equal value again keeps its date.",
)
rating_changes = sa.Table(
    "rating_changes",
    metadata,
    sa.Column("change_id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), nullable=False, info=FOLLOWS_ITEM),
    sa.Column("item_id", sa.BigInteger, nullable=False),
    sa.Column("rating", sa.Float, comment="null: removed"),
    sa.Column("previous", sa.Float, comment="null: none"),
    sa.Column("rated_at", Moment, nullable=False, comment="of the new value, or when the removal was noticed"),
    sa.Column("noted_at", Moment, nullable=False, server_default=sa.text("now()")),
    between("rating", 0, 10),
    between("previous", 0, 10),
    sa.Index("ix_rating_changes_user_work", "user_id", "work_id"),
    comment="Append-only log of ratings given, changed and removed.",
)
trakt_ratings = sa.Table(
    "trakt_ratings",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("rating", sa.SmallInteger, nullable=False, comment="1-10"),
    sa.Column("rated_at", Moment, nullable=False, comment="as Trakt reports it"),
    sa.Column("trakt_id", sa.BigInteger),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    one_of("media_type", MEDIA_TYPES),
    between("rating", 1, 10),
    comment="The ratings of films and series on which this installation and Trakt agreed last.",
)
rating_outbox = sa.Table(
    "rating_outbox",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("rating", sa.SmallInteger, comment="1-10; null: remove it"),
    sa.Column("rated_at", Moment, nullable=False, comment="sent along, so that a repetition changes nothing"),
    sa.Column("queued_at", Moment, nullable=False),
    sa.Column("attempts", sa.SmallInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("attempted_at", Moment),
    sa.Column("due_at", Moment, nullable=False),
    sa.Column("detail", sa.Text, comment="why it still waits"),
    between("rating", 1, 10),
    between("attempts", 0),
    comment="Ratings that Trakt has not confirmed yet.",
)
rating_removals = sa.Table(
    "rating_removals",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("removed_on", sa.Text, nullable=False, comment="here, trakt: the side that the removal comes from"),
    sa.Column("had", sa.Integer, nullable=False, comment="ratings of the user that were in step before"),
    sa.Column("noticed_at", Moment, nullable=False),
    sa.Column("passed_at", Moment, comment="when it was decided to remove it on the other side, too; null: held back"),
    sa.Column("accepted_at", Moment, comment="by the operator; those that were removed by then no longer count"),
    one_of("removed_on", ("here", "trakt")),
    between("had", 0),
    comment="Ratings in step with Trakt that were removed on one side: those removed on the other, too, and those "
    "held back.",
)
