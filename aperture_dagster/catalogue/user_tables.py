"""The media server's users and their watch histories."""

import sqlalchemy as sa

from aperture_dagster.postgres.metadata import Moment, between, metadata

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

history_syncs = sa.Table(
    "history_syncs",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("watermark", Moment, comment="latest last_played_at seen"),
    sa.Column("synced_at", Moment, nullable=False),
    sa.Column("full_synced_at", Moment),
    comment="How far each user's history has been read.",
)
