"""Prices of embedding models, and the models that the configured endpoint offers."""

from __future__ import annotations

import sqlalchemy as sa

from aperture_dagster.postgres.tables import Moment, between, metadata

ai_prices = sa.Table(
    "ai_prices",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True, comment="its name at that provider"),
    sa.Column("valid_from", Moment, nullable=False, comment="when this price was first read"),
    sa.Column("price", sa.Numeric, nullable=False, comment="US dollars per million tokens"),
    sa.Column("gone_since", Moment, comment="when the list was first read without the model; null: it has it"),
    between("price", 0, 5),
    comment="Prices of embedding models in the price list. Models without a known price are absent; one that left the "
    "list keeps its last price.",
)
ai_offered_models = sa.Table(
    "ai_offered_models",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True, comment="its address"),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("is_remote", sa.Boolean, nullable=False, comment="listed by a local server that passes requests on"),
    comment="The models that the configured embeddings endpoint listed the last time.",
)
