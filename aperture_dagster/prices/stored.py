"""What is stored: listed prices, offered models, and what costs are estimated from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.prices.price_list import Key, OfferedModel
from aperture_dagster.prices.tables import ai_offered_models, ai_prices

# The day after a model was first filled still belongs to that: discovery follows in the night.
AFTER_FILLING = timedelta(days=1)
RATE_WINDOW = timedelta(days=28)
LEAST_TEXTS, LONGEST_GAP = 100, timedelta(minutes=5)
"""What a batch of texts must be to say how fast a model is: of so many, and so soon after the one before."""


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """The price of a model in the price list, and when it was first read.

    ``gone_since`` is when the list was first read without the model; None if the list has it.
    """

    price: Decimal
    valid_from: datetime
    gone_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class EmbeddingRate:
    """Texts embedded lately with the model in use, and the days in which that happened."""

    texts: int
    days: float


def listed_prices(connection: Connection) -> dict[Key, ListedPrice]:
    """Read the price of each model as the price list had it the last time that it named the model."""
    rows = read_rows(connection, "SELECT provider, model, price, valid_from, gone_since FROM ai_prices")
    return {(row.pop("provider"), row.pop("model")): ListedPrice(**row) for row in rows}


def write_prices(connection: Connection, listed: Mapping[Key, Decimal | None], now: datetime) -> int:
    """Store what a price list says, and return how many rows changed.

    A model without a plausible price keeps its last one. So does one that the list no longer has; it is marked.
    """
    rows: list[dict[str, Any]] = []
    known = listed_prices(connection)
    for key in {**known, **listed}:
        before, price = known.get(key), listed.get(key)
        if before is not None:
            is_same = price is None or price == before.price
            price, valid_from = before.price if price is None else price, before.valid_from if is_same else now
            gone_since = None if key in listed else before.gone_since or now
        else:
            valid_from, gone_since = now, None
        if price is not None:
            row = {"provider": key[0], "model": key[1], "price": price}
            rows.append({**row, "valid_from": valid_from, "gone_since": gone_since})
    return upsert(connection, ai_prices, rows).written


def replace_offered(connection: Connection, endpoint: str, models: Iterable[OfferedModel]) -> None:
    """Replace the offered models by those of an endpoint."""
    rows = [{"endpoint": endpoint, "model": model.model, "is_remote": model.is_remote} for model in models]
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
    since = max(models[0]["activated_at"] + AFTER_FILLING, now - RATE_WINDOW)
    texts = 0
    for table in ("embeddings", "discovery_vectors"):
        counted = f"SELECT count(*) FROM {table} WHERE model_key = :key AND updated_at > :since"
        texts += read_value(connection, counted, key=models[0]["model_key"], since=since)
    return EmbeddingRate(texts, max((now - since).total_seconds() / 86_400, 0.0))


def embedding_paces(connection: Connection) -> dict[str, float]:
    """Return how many texts of the library were embedded per second, by key of the vectors.

    A batch is written in one transaction, whose moment its rows share, so the time since the batch before is what it
    took. This is the median, which waits between two runs do not move. A model whose vectors were written in a single
    batch is absent.
    """
    statement = """
        SELECT model_key, percentile_cont(0.5) WITHIN GROUP (ORDER BY texts / extract(epoch FROM gap)) AS pace
        FROM (SELECT model_key, count(*) AS texts,
            updated_at - lag(updated_at) OVER (PARTITION BY model_key ORDER BY updated_at) AS gap
          FROM embeddings GROUP BY model_key, updated_at) batches
        WHERE texts >= :least AND gap <= :longest GROUP BY model_key"""
    rows = read_rows(connection, statement, least=LEAST_TEXTS, longest=LONGEST_GAP)
    return {row["model_key"]: float(row["pace"]) for row in rows}
