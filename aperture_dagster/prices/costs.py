"""What each model that could be configured costs for this library."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy import Connection

from aperture_dagster.prices.endpoint import DEFAULT_MODEL, configured_provider
from aperture_dagster.prices.price_list import (
    LOCAL,
    Key,
    OfferedModel,
    cost,
    estimate_tokens,
    is_same_model,
    names_remote_model,
    show,
)
from aperture_dagster.prices.stored import (
    ListedPrice,
    embedding_rate,
    listed_prices,
    read_offered,
)
from aperture_dagster.settings import Settings
from aperture_dagster.taste.embedder import FASTEMBED_MODEL
from aperture_dagster.taste.ranking.text import title_text
from aperture_dagster.taste.vectors import text_rows

PACKAGED = Path(__file__).with_name("ai_prices.json")
IN_PROCESS = "in this process"
UNKNOWN = "unknown"
LOCAL_MODELS = ("static", FASTEMBED_MODEL)
LEAST_DAYS = 7
"""Days of history that a rate of change needs."""
DAYS_PER_MONTH = 30


@dataclass(frozen=True, slots=True)
class ConfiguredModel:
    """The configured embedding model with its price per million tokens; None: unknown, and ``why`` says why.

    ``provider`` is None if the endpoint's host is not known. ``gone_since`` is when the model left the price list.
    """

    model: str
    provider: str | None
    price: Decimal | None
    why: str
    gone_since: datetime | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Estimated tokens: of the whole library, and per month at the present rate of change if that is known.

    ``why`` says what the rate is based on, or why there is none.
    """

    texts: int
    tokens: int
    tokens_per_month: int | None
    why: str


@dataclass(frozen=True, slots=True)
class ModelCost:
    """What a model that can be configured costs for this library, in US dollars; None: unknown.

    ``price`` is per million tokens, ``library`` for embedding the whole library once, ``per_month`` at the present rate
    of change. ``gone_since`` is when the model left the price list, whose last price it keeps.
    """

    model: str
    provider: str
    price: Decimal | None
    library: Decimal | None
    per_month: Decimal | None
    is_configured: bool
    gone_since: datetime | None = None

    def row(self) -> dict[str, str]:
        """Return the columns of the table of costs."""
        marks = ["configured"] if self.is_configured else []
        if self.gone_since is not None:
            marks.append(f"gone from the price list since {self.gone_since:%Y-%m-%d}")
        return {
            "model": f"{self.model} ({', '.join(marks)})" if marks else self.model,
            "provider": self.provider,
            "usd_per_million": shown(self.price),
            "usd_library": shown(self.library),
            "usd_per_month": shown(self.per_month),
        }


def shown(dollars: Decimal | None) -> str:
    """Format dollars, or say that they are unknown."""
    return UNKNOWN if dollars is None else show(dollars)


@cache
def packaged_prices() -> dict[Key, Decimal]:
    """Read the prices that ship with the package."""
    content = json.loads(PACKAGED.read_text(encoding="utf-8"))["prices"]
    return {(provider, name): Decimal(price) for provider, models in content.items() for name, price in models.items()}


def read_configured_model(settings: Settings, connection: Connection) -> ConfiguredModel:
    """Return the configured embedding model with its price as it is stored."""
    return configured_model(settings, listed_prices(connection), read_offered(connection, settings.embedder_url))


def configured_model(
    settings: Settings, listed: Mapping[Key, ListedPrice], offered: Iterable[OfferedModel]
) -> ConfiguredModel:
    """Return the configured embedding model with its price."""
    if settings.embedder != "openai":
        model = settings.embedder_model or FASTEMBED_MODEL if settings.embedder == "fastembed" else settings.embedder
        return ConfiguredModel(model, IN_PROCESS, Decimal(0), "It runs in this process.")
    model, provider = settings.embedder_model or DEFAULT_MODEL, configured_provider(settings)
    host = urlsplit(settings.embedder_url).hostname or ""
    if settings.embedder_price is not None:
        return ConfiguredModel(model, provider, settings.embedder_price, "It is set in APERTURE_EMBEDDER_PRICE.")
    own = "Set APERTURE_EMBEDDER_PRICE to what it charges."
    if provider == LOCAL:
        is_listed_remote = any(one.is_remote and is_same_model(model, one.model) for one in offered)
        if names_remote_model(model) or is_listed_remote:
            why = f"It is listed by a server at home, which passes requests on to a cloud of unknown price. {own}"
            return ConfiguredModel(model, provider, None, why)
        return ConfiguredModel(model, provider, Decimal(0), f"It runs at home ({host}).")
    if provider is None:
        return ConfiguredModel(model, None, None, f"No price list knows the host {host}. {own}")
    known = listed.get((provider, model))
    if known is not None:
        why = f"From the price list, known since {known.valid_from:%Y-%m-%d}."
        if known.gone_since is not None:
            why += f" The list no longer has this model since {known.gone_since:%Y-%m-%d}; it may have been withdrawn."
        return ConfiguredModel(model, provider, known.price, why, known.gone_since)
    packaged = packaged_prices().get((provider, model))
    if packaged is not None:
        return ConfiguredModel(model, provider, packaged, "From the package.")
    return ConfiguredModel(model, provider, None, f"No price of {model} at {provider} is known. {own}")


def read_costs(connection: Connection, settings: Settings, usage: Usage) -> list[ModelCost]:
    """Return what each model that can be configured costs: the configured one first, then the cheapest.

    These are the local models, the embedding models that the configured endpoint offers, and those with a known price.
    """
    listed, offered = listed_prices(connection), read_offered(connection, settings.embedder_url)
    configured = configured_model(settings, listed, offered)
    prices: dict[Key, Decimal | None] = {(IN_PROCESS, model): Decimal(0) for model in LOCAL_MODELS}
    prices |= packaged_prices() | {key: one.price for key, one in listed.items()}
    if settings.embedder == "openai":
        for one in offered:
            if "embed" in one.model.lower():
                named = settings.model_copy(update={"embedder_model": one.model, "embedder_price": None})
                model = configured_model(named, listed, offered)
                prices[model.provider or UNKNOWN, model.model] = model.price
    own = (configured.provider or UNKNOWN, configured.model)
    # An endpoint may list the configured model under a longer name.
    prices = {key: price for key, price in prices.items() if key[0] != own[0] or not is_same_model(own[1], key[1])}
    prices[own] = configured.price
    gone = {key: one.gone_since for key, one in listed.items()}

    def costs(tokens: int | None, price: Decimal | None) -> Decimal | None:
        # A local model costs nothing at any rate of change.
        if price == 0:
            return Decimal(0)
        return cost(tokens, price) if price is not None and tokens is not None else None

    found = [
        ModelCost(
            model,
            provider,
            price,
            costs(usage.tokens, price),
            costs(usage.tokens_per_month, price),
            (provider, model) == own,
            configured.gone_since if (provider, model) == own else gone.get((provider, model)),
        )
        for (provider, model), price in prices.items()
    ]
    return sorted(
        found,
        key=lambda one: (not one.is_configured, one.price is None, one.price or 0, one.provider, one.model),
    )


def estimate_usage(connection: Connection, now: datetime) -> Usage:
    """Estimate the tokens of the library's texts, and of those that change in a month."""
    texts = tokens = 0
    for rows in text_rows(connection):
        texts += len(rows)
        tokens += sum(estimate_tokens(title_text(row)) for row in rows)
    rate = embedding_rate(connection, now)
    if rate is None or rate.days < LEAST_DAYS or not texts:
        days = rate.days if rate is not None else 0
        why = (
            f"Not known yet: it takes {LEAST_DAYS} days of changes with the model in use; so far there are {days:.0f}."
        )
        return Usage(texts, tokens, None, why)
    per_month = rate.texts / rate.days * DAYS_PER_MONTH * tokens / texts
    why = f"{rate.texts:,} texts were embedded in the last {rate.days:.0f} days, of the library and for discovery."
    return Usage(texts, tokens, round(per_month), why)
