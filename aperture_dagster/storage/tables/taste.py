"""Vectors, tastes and lists."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import UserDefinedType

from aperture_dagster.storage.tables.base import MEDIA_TYPES, Moment, between, metadata, one_of


class HalfVector(UserDefinedType):
    """pgvector's ``halfvec`` of any length. Values are only read and written with psycopg, not through SQLAlchemy."""

    def get_col_spec(self, **_options: Any) -> str:
        """Name the type in DDL."""
        return "HALFVEC"


embedding_models = Table(
    "embedding_models",
    metadata,
    Column("model_key", Text, primary_key=True),
    Column("dimensions", Integer, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("activated_at", Moment, comment="the newest is in use; null until its vectors are complete"),
    between("dimensions", 1),
    comment="Embedding models; the most recently activated one is in use.",
)

embeddings = Table(
    "embeddings",
    metadata,
    Column("model_key", Text, ForeignKey("embedding_models.model_key"), primary_key=True),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), primary_key=True),
    Column("text_hash", Text, nullable=False),
    Column("vector", HalfVector(), nullable=False),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    info={"derived": True},
    comment="One vector per model and work, with the hash of its text.",
)

taste_profiles = Table(
    "taste_profiles",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("media_type", Text, primary_key=True),
    Column("model_key", Text, nullable=False),
    Column("titles", Integer, nullable=False, comment="titles that the taste is based on"),
    Column("liked", Integer, nullable=False),
    Column("disliked", Integer, nullable=False),
    Column("summary", JSONB, nullable=False, comment="genres, keywords and tastes as text"),
    Column("centroids", ARRAY(REAL, dimensions=2), comment="one row per taste, with the library mean subtracted"),
    Column("updated_at", Moment, nullable=False, server_default=text("now()")),
    one_of("media_type", MEDIA_TYPES),
    between("titles", 0),
    between("liked", 0),
    between("disliked", 0),
    comment="The taste of a user, per media type.",
)

taste_weights = Table(
    "taste_weights",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("weight", REAL, nullable=False, comment="positive: liked, negative: disliked"),
    one_of("media_type", MEDIA_TYPES),
    between("weight", -10, 10),
    Index("ix_taste_weights_media_type", "media_type"),
    info={"derived": True},
    comment="Weight of each work in a user's history, positive or negative.",
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
    Column("components", JSONB, nullable=False, comment="components of the score"),
    Column("because", ARRAY(BigInteger), nullable=False, comment="the most similar works in the history"),
    Column("is_cold", Boolean, nullable=False, comment="too little history: based on popularity"),
    Column("generated_at", Moment, nullable=False, server_default=text("now()")),
    one_of("media_type", MEDIA_TYPES),
    between("rank", 1),
    UniqueConstraint("user_id", "work_id"),
    comment="The current list of each user, replaced as a whole.",
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
    Column("relaxed", Boolean, nullable=False, comment="the minimum number of viewers was lowered to fill the list"),
    Column("generated_at", Moment, nullable=False, server_default=text("now()")),
    one_of("media_type", MEDIA_TYPES),
    between("rank", 1),
    between("viewers", 1),
    between("plays", 0),
    between("completion", 0, 1),
    between("score", 0, 1),
    UniqueConstraint("day", "media_type", "work_id"),
    comment="The most watched titles of the household, one list per day.",
)
