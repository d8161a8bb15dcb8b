"""The media server's libraries and items, and the works behind them."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from aperture_dagster.storage.tables.base import MEDIA_TYPES, Moment, metadata, one_of

libraries = Table(
    "libraries",
    metadata,
    Column("library_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("collection_type", Text),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    comment="The media server's libraries.",
)

works = Table(
    "works",
    metadata,
    Column("work_id", BigInteger, primary_key=True, autoincrement=True),
    Column("media_type", Text, nullable=False),
    Column("tmdb_id", BigInteger),
    Column("imdb_id", Text),
    Column("tvdb_id", BigInteger),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("unused_since", Moment, comment="since when no other row refers to it; null while one does"),
    one_of("media_type", MEDIA_TYPES),
    Index("ix_works_tmdb", "media_type", "tmdb_id"),
    Index("ix_works_imdb", "media_type", "imdb_id"),
    comment="Films and series, independent of their copies. Works in use are never deleted: history and ratings refer "
    "to them.",
)

titles = Table(
    "titles",
    metadata,
    Column("item_id", BigInteger, primary_key=True, autoincrement=False),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), nullable=False),
    Column("media_type", Text, nullable=False),
    Column("server_item_id", Text, unique=True, comment="null if the server has given it to another item"),
    Column("library_id", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("original_title", Text),
    Column("sort_title", Text),
    Column("year", Integer),
    Column("premiere_date", Date),
    Column("end_date", Date),
    Column("overview", Text),
    Column("tagline", Text),
    Column("genres", ARRAY(Text), nullable=False),
    Column("tags", ARRAY(Text), nullable=False),
    Column("studios", ARRAY(Text), nullable=False),
    Column("official_rating", Text),
    Column("community_rating", REAL),
    Column("critic_rating", REAL),
    Column("runtime_minutes", Integer),
    Column("status", Text),
    Column("path", Text),
    Column("tmdb_id", BigInteger),
    Column("imdb_id", Text),
    Column("tvdb_id", BigInteger),
    Column("added_at", Moment),
    Column("first_seen_at", Moment, nullable=False, server_default=text("now()")),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    Column("removed_at", Moment),
    one_of("media_type", MEDIA_TYPES),
    CheckConstraint("server_item_id IS NOT NULL OR removed_at IS NOT NULL", name="has_server_id"),
    Index("ix_titles_work_id", "work_id"),
    Index("ix_titles_media_type", "media_type", "removed_at"),
    comment="One row per film or series item on the media server; removed_at is its tombstone. Never deleted.",
)

episodes = Table(
    "episodes",
    metadata,
    Column("item_id", BigInteger, primary_key=True, autoincrement=False),
    Column("series_item_id", BigInteger, ForeignKey("titles.item_id"), nullable=False),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), nullable=False),
    Column("server_item_id", Text, unique=True, comment="null if the server has given it to another item"),
    Column("library_id", Text, nullable=False),
    Column("season", Integer),
    Column("number", Integer),
    Column("number_end", Integer),
    Column("title", Text, nullable=False),
    Column("air_date", Date),
    Column("runtime_minutes", Integer),
    Column("path", Text),
    Column("first_seen_at", Moment, nullable=False, server_default=text("now()")),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    Column("removed_at", Moment),
    CheckConstraint("server_item_id IS NOT NULL OR removed_at IS NOT NULL", name="has_server_id"),
    Index("ix_episodes_series_item_id", "series_item_id", "season", "number"),
    Index("ix_episodes_work_id", "work_id"),
    comment="One row per episode item on the media server; removed_at is its tombstone. Never deleted.",
)

item_versions = Table(
    "item_versions",
    metadata,
    Column("server_item_id", Text, primary_key=True),
    Column("item_id", BigInteger, nullable=False, unique=True, comment="used by watch states of the version"),
    Column("primary_item_id", BigInteger, nullable=False, comment="the title or episode of the version"),
    Column("is_published", Boolean, nullable=False, server_default=text("false"), comment="a published copy of ours"),
    Index("ix_item_versions_primary_item_id", "primary_item_id"),
    comment="Alternate versions and published copies, which listings omit. Their watch states count for the title or "
    "episode.",
)
