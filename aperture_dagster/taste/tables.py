"""Vectors, tastes and lists."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from aperture_dagster.model import MEDIA_TYPES
from aperture_dagster.postgres.tables import STAYS_WITH_WORK, Moment, between, metadata, one_of

COMPUTED = ("taste_profiles", "recommendations")

embedding_models = sa.Table(
    "embedding_models",
    metadata,
    sa.Column("model_key", sa.Text, primary_key=True),
    sa.Column("dimensions", sa.Integer, nullable=False),
    sa.Column("created_at", Moment, nullable=False, server_default=sa.text("now()")),
    sa.Column("activated_at", Moment, comment="the newest is in use; null until its vectors are complete"),
    between("dimensions", 1),
    comment="Embedding models; the most recently activated one is in use.",
)

embeddings = sa.Table(
    "embeddings",
    metadata,
    sa.Column("model_key", sa.Text, sa.ForeignKey("embedding_models.model_key"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("text_hash", sa.Text, nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False, comment="float16, little-endian"),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    info={"derived": True},
    comment="One vector per model and work, with the hash of its text.",
)

discovery_vectors = sa.Table(
    "discovery_vectors",
    metadata,
    sa.Column("model_key", sa.Text, sa.ForeignKey("embedding_models.model_key"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("text_hash", sa.Text, nullable=False),
    sa.Column("vector", sa.LargeBinary, nullable=False, comment="float16, little-endian"),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    info={"derived": True},
    comment="One vector per model and title of the pool, made by the recipe of the library's.",
)

taste_profiles = sa.Table(
    "taste_profiles",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("media_type", sa.Text, primary_key=True),
    sa.Column("titles", sa.Integer, nullable=False, comment="titles that the taste is based on"),
    sa.Column("liked", sa.Integer, nullable=False),
    sa.Column("disliked", sa.Integer, nullable=False),
    sa.Column("summary", JSONB, nullable=False, comment="distinctive genres and keywords, and a sentence"),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    one_of("media_type", MEDIA_TYPES),
    between("titles", 0),
    between("liked", 0),
    between("disliked", 0),
    comment="The taste of a user, per media type.",
)

taste_weights = sa.Table(
    "taste_weights",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("weight", sa.REAL, nullable=False, comment="positive: liked, negative: disliked"),
    one_of("media_type", MEDIA_TYPES),
    between("weight", -10, 10),
    sa.Index("ix_taste_weights_media_type", "media_type"),
    info={"derived": True},
    comment="Weight of each work in a user's history, positive or negative.",
)

recommendations = sa.Table(
    "recommendations",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("media_type", sa.Text, primary_key=True),
    sa.Column("rank", sa.SmallInteger, primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), nullable=False, info=STAYS_WITH_WORK),
    sa.Column("item_id", sa.BigInteger, nullable=False, comment="the copy to play"),
    sa.Column("score", sa.REAL, nullable=False),
    sa.Column("components", JSONB, nullable=False, comment="components of the score"),
    sa.Column("because", sa.ARRAY(sa.BigInteger), nullable=False, comment="the most similar works in the history"),
    sa.Column("is_cold", sa.Boolean, nullable=False, comment="too little history: based on popularity"),
    sa.Column(
        "listed_since",
        sa.Date,
        nullable=False,
        comment="the first of the days on which it has been on the list without a break",
    ),
    sa.Column("generated_at", Moment, nullable=False, server_default=sa.text("now()")),
    one_of("media_type", MEDIA_TYPES),
    between("rank", 1),
    sa.UniqueConstraint("user_id", "work_id"),
    comment="The current list of each user, replaced as a whole.",
)

whole_lists = sa.Table(
    "whole_lists",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("media_type", sa.Text, primary_key=True),
    sa.Column("works", sa.ARRAY(sa.BigInteger), nullable=False, comment="the list, then all other titles by score"),
    sa.Column("scores", sa.ARRAY(sa.REAL), nullable=False, comment="one for each of the works"),
    one_of("media_type", MEDIA_TYPES),
    info={"derived": True},
    comment="Everything that could be on the list of each user, in order: for filters and evenings together.",
)

past_picks = sa.Table(
    "past_picks",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("left_at", Moment, primary_key=True, server_default=sa.text("now()")),
    sa.Column("listed_since", sa.Date, nullable=False),
    info={"derived": True},
    comment="Titles that left the list of a user, and how long they had been on it.",
)

first_places = sa.Table(
    "first_places",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("work_id", sa.BigInteger, sa.ForeignKey("works.work_id"), primary_key=True, info=STAYS_WITH_WORK),
    sa.Column("media_type", sa.Text, nullable=False),
    sa.Column("since", sa.Date, nullable=False, comment="the day on which it came to the top of the list"),
    sa.Column("rests_from", sa.Date, comment="the day from which it rests; null while it is at the top"),
    one_of("media_type", MEDIA_TYPES),
    info={"derived": True},
    comment="Titles at the top of the list of each user, and those that rest after having been there.",
)

computations = sa.Table(
    "computations",
    metadata,
    sa.Column("user_id", sa.Text, sa.ForeignKey("users.user_id"), primary_key=True),
    sa.Column("result", sa.Text, primary_key=True, comment="taste_profiles, recommendations"),
    sa.Column("made_from", sa.Text, nullable=False, comment="a version of all inputs"),
    sa.Column("version", sa.Text, nullable=False, comment="a hash of the rows that were made"),
    sa.Column("updated_at", Moment, nullable=False, server_default=sa.text("now()")),
    one_of("result", COMPUTED),
    comment="The last computation of each user's taste and list: with equal inputs there is no other.",
)
