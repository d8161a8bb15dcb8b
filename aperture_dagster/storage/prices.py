"""Prices of AI models, the offered models, and what is needed to estimate costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.library.moments import SKEW, past
from aperture_dagster.library.prices import Dispute, Key, OfferedModel, Price
from aperture_dagster.storage.bulk import WriteCounts, upsert
from aperture_dagster.storage.queries import execute, read_rows, read_value
from aperture_dagster.storage.tables import ai_offered_models, ai_price_disputes, ai_price_lists, ai_prices

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
            Price(row["usage"], row["input_price"], row["output_price"], row["max_input_tokens"], row["dimensions"]),
            row["source"],
            row["valid_from"],
        )
        for row in read_rows(connection, statement, latest=now + SKEW)
    }


def add_prices(
    connection: Connection, prices: Mapping[Key, Price], sources: Mapping[Key, str], valid_from: datetime
) -> int:
    """Add a row for each changed price; return how many were written."""
    rows = [
        {
            "provider": provider,
            "model": model,
            "valid_from": valid_from,
            "usage": price.usage,
            "input_price": price.input,
            "output_price": price.output,
            "max_input_tokens": price.max_input_tokens,
            "dimensions": price.dimensions,
            "source": sources[provider, model],
        }
        for (provider, model), price in prices.items()
    ]
    return upsert(connection, ai_prices, rows).written


def replace_disputes(connection: Connection, disputes: Mapping[Key, Dispute], now: datetime) -> None:
    """Replace the disputed prices; those that were disputed before keep their date."""
    since = {(row["provider"], row["model"]): row["disputed_since"] for row in read_disputes(connection)}
    for provider, model in since.keys() - disputes.keys():
        statement = "DELETE FROM ai_price_disputes WHERE provider = :provider AND model = :model"
        execute(connection, statement, provider=provider, model=model)
    rows = [
        {
            "provider": key[0],
            "model": key[1],
            "input_price": dispute.listed.input,
            "output_price": dispute.listed.output,
            "reason": dispute.reason,
            "disputed_since": since.get(key, now),
        }
        for key, dispute in disputes.items()
    ]
    upsert(connection, ai_price_disputes, rows)


def read_disputes(connection: Connection) -> list[dict[str, Any]]:
    """Read the disputed prices, oldest first."""
    return read_rows(connection, "SELECT * FROM ai_price_disputes ORDER BY disputed_since, provider, model")


def last_list(connection: Connection, url: str) -> dict[str, Any]:
    """Read what is known of a price list: ``entries`` and ``read_at`` of the last accepted one, ``trouble`` since."""
    rows = read_rows(connection, "SELECT entries, read_at, trouble FROM ai_price_lists WHERE url = :url", url=url)
    return rows[0] if rows else {"entries": None, "read_at": None, "trouble": None}


def remember_list(connection: Connection, url: str, value: Mapping[str, Any]) -> None:
    """Store what :func:`last_list` returns."""
    upsert(connection, ai_price_lists, [{"url": url, **value}])


def replace_offered(connection: Connection, endpoint: str, models: Iterable[OfferedModel]) -> WriteCounts:
    """Replace the offered models by those of an endpoint."""
    rows = [
        {
            "endpoint": endpoint,
            "model": one.model,
            "is_embedding": one.is_embedding,
            "is_remote": one.is_remote,
            "max_input_tokens": one.max_input_tokens,
        }
        for one in models
    ]
    counts = upsert(connection, ai_offered_models, rows)
    statement = "DELETE FROM ai_offered_models WHERE endpoint <> :endpoint OR model <> ALL(:models)"
    gone = execute(connection, statement, endpoint=endpoint, models=[row["model"] for row in rows])
    return counts + WriteCounts(deleted=gone.rowcount)


def read_offered(connection: Connection, endpoint: str) -> list[OfferedModel]:
    """Read the models that an endpoint offered the last time, embedding models first; empty for another endpoint."""
    statement = """
        SELECT model, is_embedding, is_remote, max_input_tokens FROM ai_offered_models WHERE endpoint = :endpoint
        ORDER BY is_embedding DESC NULLS LAST, model"""
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
