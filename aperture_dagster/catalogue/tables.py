"""The media server's libraries and items, and the works behind them."""

import sqlalchemy as sa

from aperture_dagster.postgres.metadata import MEDIA_TYPES, Moment, metadata, one_of

libraries = sa.Table(
    "libraries",
    metadata,
    sa.Column("library_id", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("collection_type", sa.Text),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    comment="The media server's libraries.",
)

works = sa.Table(
    "works",
    metadata,
    sa.Column("work_id", sa.BigInteger, primary_key=True, autoincrement=True),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("tmdb_id", sa.BigInteger),
    sa.Column("imdb_id", sa.Text),
    sa.Column("tvdb_id", sa.BigInteger),
    sa.Column("created_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("unused_since", Moment, comment="since when no other row refers to it; null while one does"),
    one_of("media_type", MEDIA_TYPES),
    sa.Index("ix_works_tmdb", "media_type", "tmdb_id"),
    sa.Index("ix_works_imdb", "media_type", "imdb_id"),
    comment="Films and series, independent of their copies. Works in use are never deleted: history and ratings refer "
    "to them.",
)

titles = sa.Table(
    "titles",
    metadata,
    sa.Column("item_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), nullable=False),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("server_item_id", sa.Text, unique=True, comment="null if the server has given it to another item"),
    sa.Column("library_id", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("original_title", sa.Text),
    sa.Column("sort_title", sa.Text),
    sa.Column("year", sa.Integer),
    sa.Column("premiere_date", sa.Date),
    sa.Column("end_date", sa.Date),
    sa.Column("overview", sa.Text),
    sa.Column("tagline", sa.Text),
    sa.Column("genres", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("tags", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("studios", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("official_rating", sa.Text),
    sa.Column("community_rating", sa.REAL),
    sa.Column("critic_rating", sa.REAL),
    sa.Column("runtime_minutes", sa.Integer),
    sa.Column("status", sa.Text),
    sa.Column("path", sa.Text),
    sa.Column("tmdb_id", sa.BigInteger),
    sa.Column("imdb_id", sa.Text),
    sa.Column("tvdb_id", sa.BigInteger),
    sa.Column("added_at", Moment),
    sa.Column("first_seen_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("removed_at", Moment),
    one_of("media_type", MEDIA_TYPES),
    sa.CheckConstraint("server_item_id IS NOT NULL OR removed_at IS NOT NULL", name="has_server_id"),
    sa.Index("ix_titles_work_id", "work_id"),
    sa.Index("ix_titles_media_type", "media_type", "removed_at"),
    comment="One row per film or series item on the media server; removed_at is its tombstone. Never deleted.",
)

episodes = sa.Table(
    "episodes",
    metadata,
    sa.Column("item_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("series_item_id", sa.BigInteger, sa.ForeignKey("titles.item_id"), nullable=False),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), nullable=False),
    sa.Column("server_item_id", sa.Text, unique=True, comment="null if the server has given it to another item"),
    sa.Column("library_id", sa.Text, nullable=False),
    sa.Column("season", sa.Integer),
    sa.Column("number", sa.Integer),
    sa.Column("number_end", sa.Integer),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("air_date", sa.Date),
    sa.Column("runtime_minutes", sa.Integer),
    sa.Column("path", sa.Text),
    sa.Column("first_seen_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("removed_at", Moment),
    sa.CheckConstraint("server_item_id IS NOT NULL OR removed_at IS NOT NULL", name="has_server_id"),
    sa.Index("ix_episodes_series_item_id", "series_item_id", "season", "number"),
    sa.Index("ix_episodes_work_id", "work_id"),
    comment="One row per episode item on the media server; removed_at is its tombstone. Never deleted.",
)

item_versions = sa.Table(
    "item_versions",
    metadata,
    sa.Column("server_item_id", sa.Text, primary_key=True),
    sa.Column("item_id", sa.BigInteger, nullable=False, unique=True, comment="used by watch states of the version"),
    sa.Column("primary_item_id", sa.BigInteger, nullable=False, comment="the title or episode of the version"),
    sa.Column(
        "is_published", sa.Boolean, nullable=False, server_default=sa.text("false"), comment="a published copy of ours"
    ),
    sa.Index("ix_item_versions_primary_item_id", "primary_item_id"),
    comment="Alternate versions and published copies, which listings omit. Their watch states count for the title or "
    "episode.",
)
