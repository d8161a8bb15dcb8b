"""Vectors, tastes, and the lists made from them."""

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
    """pgvector's ``halfvec``, of any length. Values never pass through SQLAlchemy, but through COPY and streams."""

    def get_col_spec(self, **_options: Any) -> str:
        """Name the type in DDL."""
        return "HALFVEC"


embedding_models = Table(
    "embedding_models",
    metadata,
    Column("model_key", Text, primary_key=True),
    Column("dimensions", Integer, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("now()")),
    Column("activated_at", Moment, comment="newest one is in use; null until its vectors are complete"),
    between("dimensions", 1),
    comment="The models that vectors were made with; the one last activated is in use.",
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
    one_of("media_type", MEDIA_TYPES),
    between("titles", 0),
    between("liked", 0),
    between("disliked", 0),
    comment="What a user likes, per media type.",
)

taste_weights = Table(
    "taste_weights",
    metadata,
    Column("user_id", Text, ForeignKey("users.user_id"), primary_key=True),
    Column("work_id", BigInteger, ForeignKey("works.work_id"), primary_key=True),
    Column("media_type", Text, nullable=False),
    Column("weight", REAL, nullable=False, comment="signed: likes above zero, dislikes below"),
    one_of("media_type", MEDIA_TYPES),
    between("weight", -10, 10),
    Index("ix_taste_weights_media_type", "media_type"),
    info={"derived": True},
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
    one_of("media_type", MEDIA_TYPES),
    between("rank", 1),
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
    one_of("media_type", MEDIA_TYPES),
    between("rank", 1),
    between("viewers", 1),
    between("plays", 0),
    between("completion", 0, 1),
    between("score", 0, 1),
    UniqueConstraint("day", "media_type", "work_id"),
    comment="What the household watched most, a list per day.",
)
