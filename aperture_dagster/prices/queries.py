"""Prices of AI models, the offered models, and what is needed to estimate costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from aperture_dagster.model.moments import SKEW, past
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.prices.rules import Key, OfferedModel, Price
from aperture_dagster.prices.tables import ai_offered_models, ai_prices

# The day after a model was first filled still belongs to that: discovery follows in the night.
AFTER_FILLING = timedelta(days=1)
RATE_WINDOW = timedelta(days=28)


@dataclass(frozen=True, slots=True)
class StoredPrice:
    """The price in use of a model, where it comes from, and since when it is known."""

    price: Price
    source: str
    valid_from: datetime


@dataclass(frozen=True, slots=True)
class EmbeddingRate:
    """Texts embedded lately with the model in use, and the days in which that happened."""

    texts: int
    days: float


def current_prices(connection: Connection, *, now: datetime) -> dict[Key, StoredPrice]:
    """Read the price in use of each model: the newest; one that is dated in the future only if there is no other."""
    statement = """
        SELECT DISTINCT ON (provider, model) * FROM ai_prices
        ORDER BY provider, model, valid_from > :latest, valid_from DESC"""
    return {
        (row["provider"], row["model"]): StoredPrice(
            Price(row["usage"], row["input_price"], row["output_price"]),
            row["source"],
            row["valid_from"],
        )
        for row in read_rows(connection, statement, latest=now + SKEW)
    }


def add_prices(connection: Connection, prices: Mapping[Key, Price], source: str, valid_from: datetime) -> None:
    """Add a row for each changed price."""
    rows = [
        {
            "provider": provider,
            "model": model,
            "valid_from": valid_from,
            "usage": price.usage,
            "input_price": price.input,
            "output_price": price.output,
            "source": source,
        }
        for (provider, model), price in prices.items()
    ]
    upsert(connection, ai_prices, rows)


def replace_offered(connection: Connection, endpoint: str, models: Iterable[OfferedModel]) -> None:
    """Replace the offered models by those of an endpoint."""
    rows = [{"endpoint": endpoint, "model": one.model, "is_remote": one.is_remote} for one in models]
    upsert(connection, ai_offered_models, rows)
    statement = "DELETE FROM ai_offered_models WHERE endpoint <> :endpoint OR model <> ALL(:models)"
    execute(connection, statement, endpoint=endpoint, models=[row["model"] for row in rows])


def read_offered(connection: Connection, endpoint: str) -> list[OfferedModel]:
    """Read the models that an endpoint offered the last time; empty for another endpoint."""
    statement = "SELECT model, is_remote FROM ai_offered_models WHERE endpoint = :endpoint ORDER BY model"
    return [OfferedModel(**row) for row in read_rows(connection, statement, endpoint=endpoint)]


def embedding_rate(connection: Connection, now: datetime) -> EmbeddingRate | None:
    """Count the texts embedded lately with the model in use, of the library and of discovery.

    The first fill of a model does not count. A text embedded twice counts once. None before any model is in use.
    """
    statement = """
        SELECT model_key, activated_at FROM embedding_models WHERE activated_at IS NOT NULL
        ORDER BY activated_at DESC LIMIT 1"""
    models = read_rows(connection, statement)
    if not models:
        return None
    since = max((past(models[0]["activated_at"], now) or now - RATE_WINDOW) + AFTER_FILLING, now - RATE_WINDOW)
    texts = 0
    for table in ("embeddings", "discovery_vectors"):
        counted = f"SELECT count(*) FROM {table} WHERE model_key = :key AND updated_at > :since"
        texts += read_value(connection, counted, key=models[0]["model_key"], since=since)
    return EmbeddingRate(texts, max((now - since).total_seconds() / 86_400, 0.0))
