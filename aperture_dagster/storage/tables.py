"""Every table of the product's database. A change here needs a migration beside it; a test compares the two.

The unit of everything that is thought about a title is the *work*: the film or series itself, whatever copies of it
the server holds and whatever ids the server gives them. ``titles`` and ``episodes`` are the server's items and share
one sequence of ids.
"""

from __future__ import annotations

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

# The newest migration; a process whose database says the same has nothing to migrate.
HEAD_REVISION = "0001"

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
Moment = DateTime(timezone=True)
item_ids = Sequence("item_id_seq", metadata=metadata, data_type=BigInteger)

facts = Table(
    "facts",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", JSONB, nullable=False),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    comment="Single facts about this home, such as the identity of the media server that it belongs to.",
)

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
    Column("last_activity_at", Moment),
    Column("first_seen_at", Moment, nullable=False, server_default=text("now()")),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    Column("removed_at", Moment),
    comment="One row per user that the media server ever had; removed_at is set while it has them no more.",
)

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
    Index("ix_works_tmdb", "media_type", "tmdb_id"),
    Index("ix_works_imdb", "media_type", "imdb_id"),
    comment="Films and series as such. Never deleted: history and ratings stay with them.",
)

titles = Table(
    "titles",
    metadata,
    Column("item_id", BigInteger, primary_key=True, autoincrement=False),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), nullable=False),
    Column("media_type", Text, nullable=False),
    Column("server_item_id", Text, nullable=False, unique=True),
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
    Column("content_hash", Text, nullable=False),
    Column("first_seen_at", Moment, nullable=False, server_default=text("now()")),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    Column("removed_at", Moment),
    Index("ix_titles_work_id", "work_id"),
    Index("ix_titles_media_type", "media_type", "removed_at"),
    comment="One row per film or series item on the media server; removed_at is its tombstone.",
)

episodes = Table(
    "episodes",
    metadata,
    Column("item_id", BigInteger, primary_key=True, autoincrement=False),
    Column("series_item_id", BigInteger, ForeignKey("titles.item_id", ondelete="CASCADE"), nullable=False),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), nullable=False),
    Column("server_item_id", Text, nullable=False, unique=True),
    Column("library_id", Text, nullable=False),
    Column("season", Integer),
    Column("number", Integer),
    Column("number_end", Integer),
    Column("title", Text, nullable=False),
    Column("air_date", Date),
    Column("runtime_minutes", Integer),
    Column("path", Text),
    Column("content_hash", Text, nullable=False),
    Column("first_seen_at", Moment, nullable=False, server_default=text("now()")),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    Column("removed_at", Moment),
    Index("ix_episodes_series_item_id", "series_item_id", "season", "number"),
    Index("ix_episodes_work_id", "work_id"),
    comment="One row per episode item on the media server.",
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
    Column("position_share", REAL, nullable=False, comment="0-1, how far into it the user is"),
    Column("last_played_at", Moment),
    Column("favorite", Boolean, nullable=False),
    Column("rating", REAL, comment="0-10, the server's own"),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    Index("ix_watch_state_user_work", "user_id", "work_id"),
    comment="One row per user and item: what the server says of it now.",
)

plays = Table(
    "plays",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("item_id", BigInteger, primary_key=True),
    Column("played_at", Moment, primary_key=True),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), nullable=False),
    Column("is_episode", Boolean, nullable=False),
    Column("play_count", Integer, nullable=False, comment="plays since the last look, all in that time"),
    Column("completion", REAL, nullable=False, comment="0-1"),
    Column("seen_at", Moment, nullable=False, server_default=text("now()")),
    Index("ix_plays_played_at", "played_at"),
    comment="Append-only log of plays. A play whose time nobody knows is not in it.",
)

history_syncs = Table(
    "history_syncs",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("watermark", Moment, comment="newest last_played_at seen"),
    Column("synced_at", Moment, nullable=False),
    Column("full_synced_at", Moment),
    comment="How far each user's history has been read.",
)

fetches = Table(
    "fetches",
    metadata,
    Column("source", Text, primary_key=True),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), primary_key=True),
    Column("outcome", Text, nullable=False, comment="ok, not_found, error, quota"),
    Column("attempts", SmallInteger, nullable=False, comment="failures in a row"),
    Column("fetched_at", Moment, comment="last time it was ok"),
    Column("attempted_at", Moment, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("detail", Text),
    Index("ix_fetches_due", "source", "due_at"),
    comment="The work list of all enrichment: the last attempt per source and work, and when the next is due.",
)

tmdb_metadata = Table(
    "tmdb_metadata",
    metadata,
    Column("work_id", BigInteger, ForeignKey("works.work_id"), primary_key=True),
    Column("tmdb_id", BigInteger, nullable=False),
    Column("imdb_id", Text),
    Column("tvdb_id", BigInteger),
    Column("title", Text),
    Column("original_title", Text),
    Column("overview", Text),
    Column("tagline", Text),
    Column("status", Text),
    Column("release_date", Date),
    Column("runtime_minutes", Integer),
    Column("genres", ARRAY(Text), nullable=False),
    Column("keywords", ARRAY(Text), nullable=False),
    Column("cast", JSONB, nullable=False, comment="first 15: [{name, character}]"),
    Column("directors", ARRAY(Text), nullable=False),
    Column("creators", ARRAY(Text), nullable=False),
    Column("writers", ARRAY(Text), nullable=False),
    Column("composers", ARRAY(Text), nullable=False),
    Column("cinematographers", ARRAY(Text), nullable=False),
    Column("companies", JSONB, nullable=False, comment="[{id, name, logo_path}]"),
    Column("networks", JSONB, nullable=False, comment="[{id, name, logo_path}]"),
    Column("countries", ARRAY(Text), nullable=False),
    Column("languages", ARRAY(Text), nullable=False),
    Column("original_language", Text),
    Column("vote_average", Float),
    Column("vote_count", Integer),
    Column("popularity", Float),
    Column("poster_path", Text),
    Column("backdrop_path", Text),
    Column("collection_id", BigInteger),
    Column("collection_name", Text),
    Column("last_episode", JSONB),
    Column("next_episode", JSONB),
    Column("recommended_tmdb_ids", ARRAY(BigInteger), nullable=False),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    comment="What TMDb says of a work.",
)

tmdb_collections = Table(
    "tmdb_collections",
    metadata,
    Column("collection_id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("overview", Text),
    Column("poster_path", Text),
    Column("backdrop_path", Text),
    Column("part_tmdb_ids", ARRAY(BigInteger), nullable=False),
    Column("fetched_at", Moment, nullable=False, server_default=text("now()")),
    comment="What TMDb says of a collection of films.",
)

enriched_metadata = Table(
    "enriched_metadata",
    metadata,
    Column("work_id", BigInteger, ForeignKey("works.work_id"), primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("original_title", Text),
    Column("year", Integer),
    Column("tmdb_id", BigInteger),
    Column("imdb_id", Text),
    Column("tvdb_id", BigInteger),
    Column("overview", Text),
    Column("tagline", Text),
    Column("genres", ARRAY(Text), nullable=False),
    Column("keywords", ARRAY(Text), nullable=False),
    Column("cast", ARRAY(Text), nullable=False),
    Column("directors", ARRAY(Text), nullable=False),
    Column("creators", ARRAY(Text), nullable=False),
    Column("companies", ARRAY(Text), nullable=False),
    Column("networks", ARRAY(Text), nullable=False),
    Column("countries", ARRAY(Text), nullable=False),
    Column("language", Text),
    Column("official_rating", Text),
    Column("runtime_minutes", Integer),
    Column("release_date", Date),
    Column("status", Text),
    Column("vote_average", Float, comment="0-10"),
    Column("vote_count", Integer),
    Column("popularity", Float),
    Column("collection_name", Text),
    Column("poster_path", Text),
    Column("sources", JSONB, nullable=False, comment="column -> source that the value came from"),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    comment="The one merged view of a work: a stated precedence per column, and where each value came from.",
)

embedding_models = Table(
    "embedding_models",
    metadata,
    Column("model_key", Text, primary_key=True),
    Column("dimensions", Integer, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("activated_at", Moment, comment="newest one is in use; null until its vectors are complete"),
    comment="The models that vectors were made with; the one last activated is in use.",
)

embeddings = Table(
    "embeddings",
    metadata,
    Column("model_key", Text, ForeignKey("embedding_models.model_key"), primary_key=True),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), primary_key=True),
    Column("text_hash", Text, nullable=False),
    Column("vector", HALFVEC(), nullable=False),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    comment="One vector per model and work, and the hash of the text that it was made from.",
)

taste_profiles = Table(
    "taste_profiles",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("media_type", Text, primary_key=True),
    Column("model_key", Text, nullable=False),
    Column("titles", Integer, nullable=False, comment="titles that the taste was learned from"),
    Column("liked", Integer, nullable=False),
    Column("disliked", Integer, nullable=False),
    Column("summary", JSONB, nullable=False, comment="genres, keywords and tastes, readable"),
    Column("centroids", ARRAY(REAL, dimensions=2), comment="one row per taste, library mean subtracted"),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    comment="What a user likes, per media type.",
)

taste_weights = Table(
    "taste_weights",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("weight", REAL, nullable=False, comment="signed: likes above zero, dislikes below"),
    Index("ix_taste_weights_media_type", "media_type"),
    comment="How much each title in a user's history speaks for or against its like.",
)

recommendations = Table(
    "recommendations",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("media_type", Text, primary_key=True),
    Column("rank", SmallInteger, primary_key=True),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), nullable=False),
    Column("item_id", BigInteger, nullable=False, comment="the copy to play"),
    Column("score", REAL, nullable=False),
    Column("components", JSONB, nullable=False, comment="the parts of the score"),
    Column("because", ARRAY(BigInteger), nullable=False, comment="works in the history that it is near to"),
    Column("is_cold", Boolean, nullable=False, comment="too little history: led by popularity"),
    Column("generated_at", Moment, nullable=False, server_default=text("now()")),
    UniqueConstraint("user_id", "work_id"),
    comment="The current list of each user, replaced whole.",
)

top_picks = Table(
    "top_picks",
    metadata,
    Column("day", Date, primary_key=True),
    Column("media_type", Text, primary_key=True),
    Column("rank", SmallInteger, primary_key=True),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), nullable=False),
    Column("item_id", BigInteger, nullable=False),
    Column("viewers", Integer, nullable=False),
    Column("plays", Integer, nullable=False),
    Column("completion", REAL, nullable=False),
    Column("score", REAL, nullable=False),
    Column("relaxed", Boolean, nullable=False, comment="the minimum of viewers was lowered to fill the list"),
    Column("generated_at", Moment, nullable=False, server_default=text("now()")),
    UniqueConstraint("day", "media_type", "work_id"),
    comment="What the household watched most, a list per day.",
)
