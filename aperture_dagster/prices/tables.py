"""Prices of AI models with their history, and the models that the configured endpoint offers."""

import sqlalchemy as sa

from aperture_dagster.postgres.tables import Moment, between, metadata, one_of

USAGES = ("embedding", "text")
PRICE_SOURCES = ("list", "package")

ai_prices = sa.Table(
    "ai_prices",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True, comment="its name at that provider"),
    sa.Column("valid_from", Moment, primary_key=True, comment="when it was first read; the newest row is in use"),
    sa.Column("usage", sa.Text, nullable=False),
    sa.Column("input_price", sa.Numeric, nullable=False, comment="US dollars per million tokens"),
    sa.Column("output_price", sa.Numeric, comment="the same for generated tokens; null for embedding models"),
    sa.Column("source", sa.Text, nullable=False, comment="list: the price list; package: shipped with the package"),
    one_of("usage", USAGES),
    one_of("source", PRICE_SOURCES),
    between("input_price", 0, 200),
    between("output_price", 0, 200),
    comment="Prices of AI models, one row per change. Models without a known price are absent.",
)

ai_offered_models = sa.Table(
    "ai_offered_models",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True, comment="its address"),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("is_remote", sa.Boolean, nullable=False, comment="listed by a local server that passes requests on"),
    comment="The models that the configured embeddings endpoint listed the last time.",
)
