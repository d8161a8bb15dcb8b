"""The first schema: users, catalogue, history, enrichment, vectors, taste, recommendations, Top Picks."""

import sqlalchemy as sa
from alembic import op
from pgvector.sqlalchemy import HALFVEC
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.execute("CREATE EXTENSION IF NOT EXISTS vector")
    op.execute("CREATE SEQUENCE item_id_seq AS BIGINT")
    op.create_table(
        "embedding_models",
        sa.Column("model_key", sa.Text(), nullable=False),
        sa.Column("dimensions", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "activated_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="newest one is in use; null until its vectors are complete",
        ),
        sa.PrimaryKeyConstraint("model_key", name=op.f("pk_embedding_models")),
        comment="The models that vectors were made with; the one last activated is in use.",
    )
    op.create_table(
        "facts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_facts")),
        comment="Single facts about this home, such as the identity of the media server that it belongs to.",
    )
    op.create_table(
        "libraries",
        sa.Column("library_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("collection_type", sa.Text(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("library_id", name=op.f("pk_libraries")),
        comment="The media server's libraries.",
    )
    op.create_table(
        "tmdb_collections",
        sa.Column("collection_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("overview", sa.Text(), nullable=True),
        sa.Column("poster_path", sa.Text(), nullable=True),
        sa.Column("backdrop_path", sa.Text(), nullable=True),
        sa.Column("part_tmdb_ids", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("fetched_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("collection_id", name=op.f("pk_tmdb_collections")),
        comment="What TMDb says of a collection of films.",
    )
    op.create_table(
        "users",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("partition_key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("email", sa.Text(), nullable=True),
        sa.Column("email_source", sa.Text(), nullable=True),
        sa.Column("is_administrator", sa.Boolean(), nullable=False),
        sa.Column("is_hidden", sa.Boolean(), nullable=False),
        sa.Column("is_disabled", sa.Boolean(), nullable=False),
        sa.Column("max_parental_rating", sa.Integer(), nullable=True),
        sa.Column("all_libraries", sa.Boolean(), nullable=False),
        sa.Column("library_ids", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("last_activity_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_users")),
        sa.UniqueConstraint("partition_key", name=op.f("uq_users_partition_key")),
        comment="One row per user that the media server ever had; removed_at is set while it has them no more.",
    )
    op.create_table(
        "works",
        sa.Column("work_id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("tmdb_id", sa.BigInteger(), nullable=True),
        sa.Column("imdb_id", sa.Text(), nullable=True),
        sa.Column("tvdb_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("work_id", name=op.f("pk_works")),
        comment="Films and series as such. Never deleted: history and ratings stay with them.",
    )
    op.create_index("ix_works_imdb", "works", ["media_type", "imdb_id"], unique=False)
    op.create_index("ix_works_tmdb", "works", ["media_type", "tmdb_id"], unique=False)
    op.create_table(
        "embeddings",
        sa.Column("model_key", sa.Text(), nullable=False),
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column("text_hash", sa.Text(), nullable=False),
        sa.Column("vector", HALFVEC(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["model_key"], ["embedding_models.model_key"], name=op.f("fk_embeddings_model_key")),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f("fk_embeddings_work_id")),
        sa.PrimaryKeyConstraint("model_key", "work_id", name=op.f("pk_embeddings")),
        comment="One vector per model and work, and the hash of the text that it was made from.",
    )
    op.create_table(
        "enriched_metadata",
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("original_title", sa.Text(), nullable=True),
        sa.Column("year", sa.Integer(), nullable=True),
        sa.Column("tmdb_id", sa.BigInteger(), nullable=True),
        sa.Column("imdb_id", sa.Text(), nullable=True),
        sa.Column("tvdb_id", sa.BigInteger(), nullable=True),
        sa.Column("overview", sa.Text(), nullable=True),
        sa.Column("tagline", sa.Text(), nullable=True),
        sa.Column("genres", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("keywords", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("cast", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("directors", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("creators", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("companies", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("networks", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("countries", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("language", sa.Text(), nullable=True),
        sa.Column("official_rating", sa.Text(), nullable=True),
        sa.Column("runtime_minutes", sa.Integer(), nullable=True),
        sa.Column("release_date", sa.Date(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("vote_average", sa.Float(), nullable=True, comment="0-10"),
        sa.Column("vote_count", sa.Integer(), nullable=True),
        sa.Column("popularity", sa.Float(), nullable=True),
        sa.Column("collection_name", sa.Text(), nullable=True),
        sa.Column("poster_path", sa.Text(), nullable=True),
        sa.Column(
            "sources",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="column -> source that the value came from",
        ),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f("fk_enriched_metadata_work_id")),
        sa.PrimaryKeyConstraint("work_id", name=op.f("pk_enriched_metadata")),
        comment="The one merged view of a work: a stated precedence per column, and where each value came from.",
    )
    op.create_table(
        "fetches",
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False, comment="ok, not_found, error, quota"),
        sa.Column("attempts", sa.SmallInteger(), nullable=False, comment="failures in a row"),
        sa.Column("fetched_at", sa.DateTime(timezone=True), nullable=True, comment="last time it was ok"),
        sa.Column("attempted_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f("fk_fetches_work_id")),
        sa.PrimaryKeyConstraint("source", "work_id", name=op.f("pk_fetches")),
        comment="The work list of all enrichment: the last attempt per source and work, and when the next is due.",
    )
    op.create_index("ix_fetches_due", "fetches", ["source", "due_at"], unique=False)
    op.create_table(
        "history_syncs",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("watermark", sa.DateTime(timezone=True), nullable=True, comment="newest last_played_at seen"),
        sa.Column("synced_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("full_synced_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_history_syncs_user_id")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_history_syncs")),
        comment="How far each user's history has been read.",
    )
    op.create_table(
        "plays",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("played_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column("is_episode", sa.Boolean(), nullable=False),
        sa.Column("play_count", sa.Integer(), nullable=False, comment="plays since the last look, all in that time"),
        sa.Column("completion", sa.REAL(), nullable=False, comment="0-1"),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_plays_user_id")),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f("fk_plays_work_id")),
        sa.PrimaryKeyConstraint("user_id", "item_id", "played_at", name=op.f("pk_plays")),
        comment="Append-only log of plays. A play whose time nobody knows is not in it.",
    )
    op.create_index("ix_plays_played_at", "plays", ["played_at"], unique=False)
    op.create_table(
        "recommendations",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("rank", sa.SmallInteger(), nullable=False),
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False, comment="the copy to play"),
        sa.Column("score", sa.REAL(), nullable=False),
        sa.Column(
            "components", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="the parts of the score"
        ),
        sa.Column(
            "because", sa.ARRAY(sa.BigInteger()), nullable=False, comment="works in the history that it is near to"
        ),
        sa.Column("is_cold", sa.Boolean(), nullable=False, comment="too little history: led by popularity"),
        sa.Column("generated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_recommendations_user_id")),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f("fk_recommendations_work_id")),
        sa.PrimaryKeyConstraint("user_id", "media_type", "rank", name=op.f("pk_recommendations")),
        sa.UniqueConstraint("user_id", "work_id", name=op.f("uq_recommendations_user_id_work_id")),
        comment="The current list of each user, replaced whole.",
    )
    op.create_table(
        "taste_profiles",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("model_key", sa.Text(), nullable=False),
        sa.Column("titles", sa.Integer(), nullable=False, comment="titles that the taste was learned from"),
        sa.Column("liked", sa.Integer(), nullable=False),
        sa.Column("disliked", sa.Integer(), nullable=False),
        sa.Column(
            "summary",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="genres, keywords and tastes, readable",
        ),
        sa.Column(
            "centroids",
            sa.ARRAY(sa.REAL(), dimensions=2),
            nullable=True,
            comment="one row per taste, library mean subtracted",
        ),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_taste_profiles_user_id")),
        sa.PrimaryKeyConstraint("user_id", "media_type", name=op.f("pk_taste_profiles")),
        comment="What a user likes, per media type.",
    )
    op.create_table(
        "taste_weights",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("weight", sa.REAL(), nullable=False, comment="signed: likes above zero, dislikes below"),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_taste_weights_user_id")),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f("fk_taste_weights_work_id")),
        sa.PrimaryKeyConstraint("user_id", "work_id", name=op.f("pk_taste_weights")),
        comment="How much each title in a user's history speaks for or against its like.",
    )
    op.create_index("ix_taste_weights_media_type", "taste_weights", ["media_type"], unique=False)
    op.create_table(
        "titles",
        sa.Column("item_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("server_item_id", sa.Text(), nullable=False),
        sa.Column("library_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("original_title", sa.Text(), nullable=True),
        sa.Column("sort_title", sa.Text(), nullable=True),
        sa.Column("year", sa.Integer(), nullable=True),
        sa.Column("premiere_date", sa.Date(), nullable=True),
        sa.Column("end_date", sa.Date(), nullable=True),
        sa.Column("overview", sa.Text(), nullable=True),
        sa.Column("tagline", sa.Text(), nullable=True),
        sa.Column("genres", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("tags", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("studios", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("official_rating", sa.Text(), nullable=True),
        sa.Column("community_rating", sa.REAL(), nullable=True),
        sa.Column("critic_rating", sa.REAL(), nullable=True),
        sa.Column("runtime_minutes", sa.Integer(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("tmdb_id", sa.BigInteger(), nullable=True),
        sa.Column("imdb_id", sa.Text(), nullable=True),
        sa.Column("tvdb_id", sa.BigInteger(), nullable=True),
        sa.Column("added_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f("fk_titles_work_id")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_titles")),
        sa.UniqueConstraint("server_item_id", name=op.f("uq_titles_server_item_id")),
        comment="One row per film or series item on the media server; removed_at is its tombstone.",
    )
    op.create_index("ix_titles_media_type", "titles", ["media_type", "removed_at"], unique=False)
    op.create_index("ix_titles_work_id", "titles", ["work_id"], unique=False)
    op.create_table(
        "tmdb_metadata",
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column("tmdb_id", sa.BigInteger(), nullable=False),
        sa.Column("imdb_id", sa.Text(), nullable=True),
        sa.Column("tvdb_id", sa.BigInteger(), nullable=True),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("original_title", sa.Text(), nullable=True),
        sa.Column("overview", sa.Text(), nullable=True),
        sa.Column("tagline", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("release_date", sa.Date(), nullable=True),
        sa.Column("runtime_minutes", sa.Integer(), nullable=True),
        sa.Column("genres", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("keywords", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "cast", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="first 15: [{name, character}]"
        ),
        sa.Column("directors", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("creators", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("writers", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("composers", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("cinematographers", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column(
            "companies", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="[{id, name, logo_path}]"
        ),
        sa.Column(
            "networks", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="[{id, name, logo_path}]"
        ),
        sa.Column("countries", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("languages", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("original_language", sa.Text(), nullable=True),
        sa.Column("vote_average", sa.Float(), nullable=True),
        sa.Column("vote_count", sa.Integer(), nullable=True),
        sa.Column("popularity", sa.Float(), nullable=True),
        sa.Column("poster_path", sa.Text(), nullable=True),
        sa.Column("backdrop_path", sa.Text(), nullable=True),
        sa.Column("collection_id", sa.BigInteger(), nullable=True),
        sa.Column("collection_name", sa.Text(), nullable=True),
        sa.Column("last_episode", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("next_episode", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("recommended_tmdb_ids", sa.ARRAY(sa.BigInteger()), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f("fk_tmdb_metadata_work_id")),
        sa.PrimaryKeyConstraint("work_id", name=op.f("pk_tmdb_metadata")),
        comment="What TMDb says of a work.",
    )
    op.create_table(
        "top_picks",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("rank", sa.SmallInteger(), nullable=False),
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("viewers", sa.Integer(), nullable=False),
        sa.Column("plays", sa.Integer(), nullable=False),
        sa.Column("completion", sa.REAL(), nullable=False),
        sa.Column("score", sa.REAL(), nullable=False),
        sa.Column(
            "relaxed", sa.Boolean(), nullable=False, comment="the minimum of viewers was lowered to fill the list"
        ),
        sa.Column("generated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f("fk_top_picks_work_id")),
        sa.PrimaryKeyConstraint("day", "media_type", "rank", name=op.f("pk_top_picks")),
        sa.UniqueConstraint("day", "media_type", "work_id", name=op.f("uq_top_picks_day_media_type_work_id")),
        comment="What the household watched most, a list per day.",
    )
    op.create_table(
        "watch_state",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("item_id", sa.BigInteger(), nullable=False),
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column("is_episode", sa.Boolean(), nullable=False),
        sa.Column("played", sa.Boolean(), nullable=False),
        sa.Column("play_count", sa.Integer(), nullable=False),
        sa.Column("position_share", sa.REAL(), nullable=False, comment="0-1, how far into it the user is"),
        sa.Column("last_played_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("favorite", sa.Boolean(), nullable=False),
        sa.Column("rating", sa.REAL(), nullable=True, comment="0-10, the server's own"),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.user_id"], name=op.f("fk_watch_state_user_id")),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f("fk_watch_state_work_id")),
        sa.PrimaryKeyConstraint("user_id", "item_id", name=op.f("pk_watch_state")),
        comment="One row per user and item: what the server says of it now.",
    )
    op.create_index("ix_watch_state_user_work", "watch_state", ["user_id", "work_id"], unique=False)
    op.create_table(
        "episodes",
        sa.Column("item_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("series_item_id", sa.BigInteger(), nullable=False),
        sa.Column("work_id", sa.BigInteger(), nullable=False),
        sa.Column("server_item_id", sa.Text(), nullable=False),
        sa.Column("library_id", sa.Text(), nullable=False),
        sa.Column("season", sa.Integer(), nullable=True),
        sa.Column("number", sa.Integer(), nullable=True),
        sa.Column("number_end", sa.Integer(), nullable=True),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("air_date", sa.Date(), nullable=True),
        sa.Column("runtime_minutes", sa.Integer(), nullable=True),
        sa.Column("path", sa.Text(), nullable=True),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["series_item_id"], ["titles.item_id"], name=op.f("fk_episodes_series_item_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["work_id"], ["works.work_id"], name=op.f("fk_episodes_work_id")),
        sa.PrimaryKeyConstraint("item_id", name=op.f("pk_episodes")),
        sa.UniqueConstraint("server_item_id", name=op.f("uq_episodes_server_item_id")),
        comment="One row per episode item on the media server.",
    )
    op.create_index("ix_episodes_series_item_id", "episodes", ["series_item_id", "season", "number"], unique=False)
    op.create_index("ix_episodes_work_id", "episodes", ["work_id"], unique=False)
