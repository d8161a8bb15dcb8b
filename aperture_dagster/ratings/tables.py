"""Ratings; and Trakt: connected accounts, the last synced state of their ratings, and ratings that wait for it."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aperture_dagster.postgres.tables import MEDIA_TYPES, Moment, between, metadata, one_of

ACCOUNT_STATES = ("connected", "reconnect", "parked")

ratings = sa.Table(
    "ratings",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("source", sa.Text, primary_key=True, comment="server: the media server; own: given here; trakt"),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True),
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
    between("rating", 0, 10),
    comment="Current ratings per user and source. Reading an equal value again keeps its date.",
)

rating_changes = sa.Table(
    "rating_changes",
    metadata,
    sa.Column("change_id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), nullable=False),
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

server_rating_writes = sa.Table(
    "server_rating_writes",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("item_id", sa.BigInteger, primary_key=True),
    sa.Column("rating", sa.SmallInteger, comment="1-10; null: removed"),
    sa.Column("rated_at", Moment, nullable=False, comment="of the rating that is copied"),
    sa.Column("in_force_since", Moment, nullable=False, comment="ratings.updated_at of the rating that is copied"),
    between("rating", 1, 10),
    comment="Ratings that are being written to the media server: what it reports of them was not given there.",
)

trakt_accounts = sa.Table(
    "trakt_accounts",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("trakt_user", sa.Text, comment="their name on Trakt"),
    sa.Column("is_vip", sa.Boolean, comment="as Trakt said when last asked"),
    sa.Column("access_token", sa.Text, nullable=False, comment="encrypted with APERTURE_SECRET_KEY"),
    sa.Column("refresh_token", sa.Text, nullable=False, comment="encrypted, valid for one use"),
    sa.Column("issued_at", Moment, nullable=False),
    sa.Column("expires_at", Moment, nullable=False),
    sa.Column("installation_id", sa.Text, nullable=False, comment="of the installation that connected it"),
    sa.Column("state", sa.Text, nullable=False, comment="reconnect: the user must; parked: the user must act on Trakt"),
    sa.Column("trouble", sa.Text, comment="why it is not connected, as a sentence"),
    sa.Column("activities", JSONB, comment="Trakt's last activities as of the last complete read"),
    sa.Column("read_at", Moment, comment="when the ratings were last read completely"),
    sa.Column("connected_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    one_of("state", ACCOUNT_STATES),
    comment="Users who connected Trakt.",
)

trakt_ratings = sa.Table(
    "trakt_ratings",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True),
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
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True),
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
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True),
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
