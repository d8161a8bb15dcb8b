"""Prices of AI models: the public list, what the configured model costs, and whether its provider still offers it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from aperture_dagster.model import SKEW, past
from aperture_dagster.postgres.bulk import upsert
from aperture_dagster.postgres.queries import execute, read_rows, read_value
from aperture_dagster.postgres.tables import Moment, between, metadata, one_of

# Prices of AI models with their history, and the models that the configured endpoint offers.


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


# Prices of AI models: what a price list says, which of it is usable, and what a library costs.
#
# Prices are in US dollars per million tokens. A model is known by its provider and its name there: the same name costs
# different amounts elsewhere. An unknown price is absent, never 0.


Usage = Literal["embedding", "text"]
Key = tuple[str, str]
"""Provider and model."""

MILLION = 1_000_000
# Higher prices are errors of unit: the dearest embedding models cost less than 1 USD.
HIGHEST: Mapping[Usage, Decimal] = {"embedding": Decimal(5), "text": Decimal(200)}
_USAGES: Mapping[str, Usage] = {"embedding": "embedding", "chat": "text", "completion": "text", "responses": "text"}
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
    "api.together.ai": "together_ai", "api.fireworks.ai": "fireworks_ai", "api.novita.ai": "novita",
    "api.studio.nebius.com": "nebius", "api.studio.nebius.ai": "nebius", "api.tokenfactory.nebius.com": "nebius",
    "api.scaleway.ai": "scaleway", "api.perplexity.ai": "perplexity", "api.deepinfra.com": "deepinfra",
    "ai-gateway.vercel.sh": "vercel_ai_gateway", "api.deepseek.com": "deepseek", "api.groq.com": "groq",
    "api.anthropic.com": "anthropic",
}  # fmt: skip
_AZURE_HOSTS = (".openai.azure.com", ".services.ai.azure.com", ".cognitiveservices.azure.com")
# Their lists of models lack the embedding models, or the names that a deployment has.
LISTS_SAY_NOTHING = (AZURE, "openrouter")


class PriceListRejected(ValueError):
    """A price list is refused as a whole; the message says why, for the operator."""


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs per million tokens that it reads and, if it writes texts, that it writes."""

    usage: Usage
    input: Decimal
    output: Decimal | None = None


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model in an endpoint's list. ``is_remote``: a server at home passes its requests on to somebody else's."""

    model: str
    is_remote: bool = False


def parse_price_list(content: bytes) -> dict[Key, Price]:
    """Parse a list in the format of LiteLLM's model cost map.

    Each entry is checked by itself. Those without a plausible price are left out, as are models of other uses
    (pictures, speech): nothing is known of them.

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
    prices: dict[Key, Price] = {}
    for name, entry in entries.items():
        provider = entry.get("litellm_provider") if isinstance(entry, dict) else None
        if not isinstance(provider, str) or not provider or len(name) > LONGEST_NAME:
            continue
        price = _price_of(name, entry)
        if price is not None:
            provider = provider.strip().removesuffix("-embedding-models")
            prices[provider, name.removeprefix(f"{provider}/")] = price
    if not prices:
        raise PriceListRejected("the price list holds no price")
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


def _price_of(name: str, entry: Mapping[str, Any]) -> Price | None:
    mode = entry.get("mode")
    usage = _USAGES.get(mode) if isinstance(mode, str) else None
    if usage is None:
        return None
    # Some embedding models are filed as chat models.
    usage = "embedding" if "embed" in name.lower() else usage
    read = _per_million(entry.get("input_cost_per_token"), HIGHEST[usage])
    if usage == "embedding":
        return Price(usage, read) if read is not None else None
    written = _per_million(entry.get("output_cost_per_token"), HIGHEST[usage])
    return Price(usage, read, written) if read is not None and written is not None else None


def _per_million(value: Any, highest: Decimal) -> Decimal | None:
    """Convert dollars per token; None for what is no plausible price.

    A negative price means that it varies, and 0 that nobody entered one: no paid provider is free.
    """
    # Compared first: the exponents of JSON numbers have no bounds.
    if not isinstance(value, Decimal) or not 0 < value <= highest / MILLION:
        return None
    per_million = value * MILLION
    return per_million.quantize(_SMALLEST, ROUND_HALF_EVEN).normalize() if per_million >= _SMALLEST else None


# Prices of AI models, the offered models, and what is needed to estimate costs.


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
