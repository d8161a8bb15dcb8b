"""Prices of embedding models: a public list, what each model costs for this library, and what an endpoint offers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from aperture_dagster.model import past
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.postgres.tables import Moment, between, metadata

ai_prices = sa.Table(
    "ai_prices",
    metadata,
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True, comment="its name at that provider"),
    sa.Column("valid_from", Moment, nullable=False, comment="when this price was first read"),
    sa.Column("price", sa.Numeric, nullable=False, comment="US dollars per million tokens"),
    between("price", 0, 5),
    comment="Prices of embedding models in the price list. Models without a known price are absent.",
)

ai_offered_models = sa.Table(
    "ai_offered_models",
    metadata,
    sa.Column("endpoint", sa.Text, primary_key=True, comment="its address"),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("is_remote", sa.Boolean, nullable=False, comment="listed by a local server that passes requests on"),
    comment="The models that the configured embeddings endpoint listed the last time.",
)


# What a price list says, which of it is usable, and what a library costs.
#
# Prices are in US dollars per million tokens. A model is known by its provider and its name there: the same name costs
# different amounts elsewhere. An unknown price is absent, never 0.


Key = tuple[str, str]
"""Provider and model."""

MILLION = 1_000_000
# Higher prices are errors of unit: the dearest embedding models cost less than 1 USD.
HIGHEST = Decimal(5)
LONGEST_NAME = 300
_SMALLEST = Decimal("1E-9")
_REMOTE = re.compile(r"(?:^|[-:])cloud$")

LOCAL = "local"
AZURE = "azure"
# Providers as LiteLLM's list names them, by the host of their OpenAI-compatible endpoint.
PROVIDERS = {
    "api.openai.com": "openai", "eu.api.openai.com": "openai", "openrouter.ai": "openrouter",
    "api.mistral.ai": "mistral", "generativelanguage.googleapis.com": "gemini", "api.voyageai.com": "voyage",
    "api.cohere.ai": "cohere", "api.cohere.com": "cohere", "api.together.xyz": "together_ai",
    "api.fireworks.ai": "fireworks_ai", "api.novita.ai": "novita", "api.tokenfactory.nebius.com": "nebius",
    "api.scaleway.ai": "scaleway", "api.perplexity.ai": "perplexity", "api.deepinfra.com": "deepinfra",
    "ai-gateway.vercel.sh": "vercel_ai_gateway",
}  # fmt: skip
CONFIGURABLE = frozenset({*PROVIDERS.values(), AZURE})
"""Providers with an endpoint that can be configured."""
_AZURE_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
# Their lists of models lack the embedding models, or the names that a deployment has.
LISTS_SAY_NOTHING = (AZURE, "openrouter")


class PriceListRejected(ValueError):
    """A price list is refused as a whole; the message says why, for the operator."""


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model in an endpoint's list. ``is_remote``: a server at home passes its requests on to somebody else's."""

    model: str
    is_remote: bool = False


def parse_price_list(content: bytes) -> dict[Key, Decimal]:
    """Parse a list in the format of LiteLLM's model cost map; return the prices of embedding models that can be used.

    Each entry is checked by itself. Left out are those without a plausible price, those that do not embed, and those
    of providers without an endpoint that can be configured.

    Raises:
        PriceListRejected: it is not JSON, not an object, or holds no price.
    """
    try:
        # Decimals, so that 2e-08 USD per token is exactly 0.02 USD per million.
        entries = json.loads(content, parse_float=Decimal, parse_int=Decimal, parse_constant=lambda name: None)
    except (ValueError, ArithmeticError, RecursionError):
        raise PriceListRejected("the price list is not JSON, or was cut off") from None
    if not isinstance(entries, dict):
        raise PriceListRejected(f"the price list is not an object with models, but a {type(entries).__name__}")
    prices: dict[Key, Decimal] = {}
    for name, entry in entries.items():
        provider = entry.get("litellm_provider") if isinstance(entry, dict) else None
        if not isinstance(provider, str) or len(name) > LONGEST_NAME:
            continue
        provider = provider.strip().removesuffix("-embedding-models")
        # Some embedding models are filed as chat models.
        embeds = entry.get("mode") == "embedding" or "embed" in name.lower()
        price = _per_million(entry.get("input_cost_per_token")) if embeds and provider in CONFIGURABLE else None
        if price is not None:
            prices[provider, name.removeprefix(f"{provider}/")] = price
    if not prices:
        raise PriceListRejected("the price list holds no price of an embedding model")
    return prices


def provider_of_host(host: str, *, at_home: bool) -> str | None:
    """Return the provider behind a host: ``LOCAL`` if it is in the home; None if it is not known."""
    host = host.lower().rstrip(".")
    if at_home:
        return LOCAL
    return AZURE if host.endswith(_AZURE_HOSTS) else PROVIDERS.get(host)


def names_remote_model(model: str) -> bool:
    """Return whether a model's name says that Ollama runs it in its cloud, such as ``gpt-oss:120b-cloud``."""
    return _REMOTE.search(model) is not None


def is_same_model(model: str, listed: str) -> bool:
    """Return whether a list names a model: Ollama adds ``:latest`` to names, Google puts ``models/`` before them."""
    return model.removesuffix(":latest") == listed.removesuffix(":latest").removeprefix("models/")


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a text.

    One for four ASCII characters, three for five other characters of alphabets, six for five characters of other
    scripts. Against ``cl100k_base``, which OpenAI's embedding models use, this is 4 % too much for English titles, and
    off by up to 12 % for texts in German, French, Russian, Japanese and Chinese.
    """
    ascii_characters = sum(character.isascii() for character in text)
    letters = sum("\x7f" < character < "\u0800" for character in text)
    return round(ascii_characters / 4 + 0.6 * letters + 1.2 * (len(text) - ascii_characters - letters))


def cost(tokens: int, price: Decimal) -> Decimal:
    """Return what so many tokens cost, in dollars."""
    return tokens * price / MILLION


def show(dollars: Decimal) -> str:
    """Format dollars with two decimal places, or as many as three significant digits need."""
    if dollars == 0:
        return "0"
    shown = f"{dollars:,.{max(2, 2 - dollars.adjusted())}f}"
    while shown.endswith("0") and shown[-3] != ".":
        shown = shown[:-1]
    return shown


def _per_million(value: Any) -> Decimal | None:
    """Convert dollars per token; None for what is no plausible price.

    A negative price means that it varies, and 0 that nobody entered one: no paid provider is free.
    """
    # Compared first: the exponents of JSON numbers have no bounds.
    if not isinstance(value, Decimal) or not 0 < value <= HIGHEST / MILLION:
        return None
    per_million = value * MILLION
    return per_million.quantize(_SMALLEST, ROUND_HALF_EVEN).normalize() if per_million >= _SMALLEST else None


# What is stored: listed prices, offered models, and what costs are estimated from.


# The day after a model was first filled still belongs to that: discovery follows in the night.
AFTER_FILLING = timedelta(days=1)
RATE_WINDOW = timedelta(days=28)


@dataclass(frozen=True, slots=True)
class ListedPrice:
    """The price of a model in the price list, and when it was first read."""

    price: Decimal
    valid_from: datetime


@dataclass(frozen=True, slots=True)
class EmbeddingRate:
    """Texts embedded lately with the model in use, and the days in which that happened."""

    texts: int
    days: float


def listed_prices(connection: Connection) -> dict[Key, ListedPrice]:
    """Read the price of each model as the price list had it the last time that it named the model."""
    rows = read_rows(connection, "SELECT provider, model, price, valid_from FROM ai_prices")
    return {(row["provider"], row["model"]): ListedPrice(row["price"], row["valid_from"]) for row in rows}


def write_prices(connection: Connection, prices: Mapping[Key, Decimal], now: datetime) -> int:
    """Store new and changed prices; return how many. Models that the list no longer has keep their last price."""
    known = listed_prices(connection)
    rows = [
        {"provider": key[0], "model": key[1], "price": price, "valid_from": now}
        for key, price in prices.items()
        if key not in known or known[key].price != price
    ]
    return upsert(connection, ai_prices, rows).written


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
