"""The media server's users and their watch histories."""

from __future__ import annotations

from sqlalchemy import ARRAY, REAL, BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, Table, Text, text

from aperture_dagster.storage.tables.base import Moment, between, metadata

users = Table(
    "users",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("partition_key", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("email", Text),
    Column("email_source", Text),
    Column("is_administrator", Boolean, nullable=False),
    Column("is_hidden", Boolean, nullable=False),
    Column("is_disabled", Boolean, nullable=False),
    Column("max_parental_rating", Integer),
    Column("all_libraries", Boolean, nullable=False),
    Column("library_ids", ARRAY(Text), nullable=False),
    Column("blocked_tags", ARRAY(Text), nullable=False),
    Column("allowed_tags", ARRAY(Text), nullable=False),
    Column("open_library_ids", ARRAY(Text), nullable=False),
    Column("excluded_folders", ARRAY(Text), nullable=False),
    Column("last_activity_at", Moment),
    Column("first_seen_at", Moment, nullable=False, server_default=text("now()")),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    Column("removed_at", Moment),
    comment="One row per user ever seen on the media server; removed_at is set if the server no longer lists them.",
)

watch_state = Table(
    "watch_state",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("item_id", BigInteger, primary_key=True),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), nullable=False),
    Column("is_episode", Boolean, nullable=False),
    Column("played", Boolean, nullable=False),
    Column("play_count", Integer, nullable=False),
    Column("position_share", REAL, nullable=False, comment="0-1, playback position as a share of the runtime"),
    Column("last_played_at", Moment),
    Column("favorite", Boolean, nullable=False),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    between("play_count", 0),
    between("position_share", 0, 1),
    Index("ix_watch_state_user_work", "user_id", "work_id"),
    comment="Current state on the media server, one row per user and item.",
)

plays = Table(
    "plays",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("item_id", BigInteger, primary_key=True),
    Column("played_at", Moment, primary_key=True),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), nullable=False),
    Column("is_episode", Boolean, nullable=False),
    Column("play_count", Integer, nullable=False, comment="plays since the last sync"),
    Column("completion", REAL, nullable=False, comment="0-1"),
    Column("seen_at", Moment, nullable=False, server_default=text("now()")),
    between("play_count", 0),
    between("completion", 0, 1),
    Index("ix_plays_played_at", "played_at"),
    comment="Append-only log of plays. Plays without a known time are not included.",
)

ratings = Table(
    "ratings",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("source", Text, primary_key=True, comment="server: read from the media server"),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), primary_key=True),
    Column("item_id", BigInteger, primary_key=True, comment="the rated copy or episode; 0: the work"),
    Column("rating", Float, nullable=False, comment="0-10"),
    Column("rated_at", Moment, nullable=False, comment="as reported by the source, else when first seen"),
    between("rating", 0, 10),
    comment="Current ratings per user and source. Reading an equal value again keeps its date.",
)

rating_changes = Table(
    "rating_changes",
    metadata,
    Column("change_id", BigInteger, primary_key=True, autoincrement=True),
    Column("user_id", Text, ForeignKey("users.user_id"), nullable=False),
    Column("source", Text, nullable=False),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), nullable=False),
    Column("item_id", BigInteger, nullable=False),
    Column("rating", Float, comment="null: removed"),
    Column("previous", Float, comment="null: none"),
    Column("rated_at", Moment, nullable=False, comment="of the new value, or when the removal was noticed"),
    Column("noted_at", Moment, nullable=False, server_default=text("now()")),
    between("rating", 0, 10),
    between("previous", 0, 10),
    Index("ix_rating_changes_user_work", "user_id", "work_id"),
    comment="Append-only log of ratings given, changed and removed.",
)

history_syncs = Table(
    "history_syncs",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("watermark", Moment, comment="latest last_played_at seen"),
    Column("synced_at", Moment, nullable=False),
    Column("full_synced_at", Moment),
    comment="How far each user's history has been read.",
)
