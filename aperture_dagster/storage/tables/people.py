"""The media server's users and their watch histories."""

import sqlalchemy as sa

from aperture_dagster.storage.tables.base import Moment, between, metadata

users = sa.Table(
    "users",
    metadata,
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("partition_key", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("email", sa.Text),
    sa.Column("email_source", sa.Text),
    sa.Column("is_administrator", sa.Boolean, nullable=False),
    sa.Column("is_hidden", sa.Boolean, nullable=False),
    sa.Column("is_disabled", sa.Boolean, nullable=False),
    sa.Column("max_parental_rating", sa.Integer),
    sa.Column("all_libraries", sa.Boolean, nullable=False),
    sa.Column("library_ids", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("blocked_tags", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("allowed_tags", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("open_library_ids", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("excluded_folders", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("last_activity_at", Moment),
    sa.Column("first_seen_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("removed_at", Moment),
    sa.Column("former_names", sa.ARRAY(sa.Text), nullable=False, server_default=sa.text("'{}'::text[]")),
    comment="One row per user ever seen on the media server; removed_at is set if the server no longer lists them.",
)

watch_state = sa.Table(
    "watch_state",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("item_id", sa.BigInteger, primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), nullable=False),
    sa.Column("is_episode", sa.Boolean, nullable=False),
    sa.Column("played", sa.Boolean, nullable=False),
    sa.Column("play_count", sa.Integer, nullable=False),
    sa.Column("position_share", sa.REAL, nullable=False, comment="0-1, playback position as a share of the runtime"),
    sa.Column("last_played_at", Moment),
    sa.Column("favorite", sa.Boolean, nullable=False),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    between("play_count", 0),
    between("position_share", 0, 1),
    sa.Index("ix_watch_state_user_work", "user_id", "work_id"),
    comment="Current state on the media server, one row per user and item.",
)

plays = sa.Table(
    "plays",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("item_id", sa.BigInteger, primary_key=True),
    sa.Column("played_at", Moment, primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), nullable=False),
    sa.Column("is_episode", sa.Boolean, nullable=False),
    sa.Column("play_count", sa.Integer, nullable=False, comment="plays since the last sync"),
    sa.Column("completion", sa.REAL, nullable=False, comment="0-1"),
    sa.Column("seen_at", Moment, nullable=False, server_default=sa.text("now()")),
    between("play_count", 0),
    between("completion", 0, 1),
    sa.Index("ix_plays_played_at", "played_at"),
    comment="Append-only log of plays. Plays without a known time are not included.",
)

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

history_syncs = sa.Table(
    "history_syncs",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("watermark", Moment, comment="latest last_played_at seen"),
    sa.Column("synced_at", Moment, nullable=False),
    sa.Column("full_synced_at", Moment),
    comment="How far each user's history has been read.",
)
