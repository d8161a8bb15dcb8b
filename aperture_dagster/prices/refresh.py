"""Prices of embedding models, read and stored; and what each model costs for this library."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection

from aperture_dagster.http.client import ServiceClient
from aperture_dagster.http.errors import BadAnswer, NotFound, RequestRejected, ServiceError
from aperture_dagster.http.home_network import is_private
from aperture_dagster.http.messages import Request, as_object, objects, one_line
from aperture_dagster.model import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.queries import lock_until_commit
from aperture_dagster.prices import (
    LISTS_SAY_NOTHING,
    LOCAL,
    Key,
    ListedPrice,
    OfferedModel,
    PriceListRejected,
    cost,
    embedding_rate,
    estimate_tokens,
    is_same_model,
    listed_prices,
    names_remote_model,
    parse_price_list,
    provider_of_host,
    read_offered,
    replace_offered,
    show,
    write_prices,
)
from aperture_dagster.settings import Settings
from aperture_dagster.taste.embedder import ENDPOINT, FASTEMBED_MODEL, Embedders
from aperture_dagster.taste.ranking.text import title_text
from aperture_dagster.taste.vectors import text_rows

LIST_LABEL = "The price list"
# LiteLLM's had 3.5 MB in November 2026.
LARGEST_LIST = 20_000_000


class PriceList:
    """A public list of prices, at the address of the settings."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.prices_url
        self._options = _attempts(settings)

    def fetch(self) -> bytes | None:
        """Download the list; None if it is switched off. Raises ServiceError: see :meth:`Transport.send`."""
        if self.url is None:
            return None
        folder, _, file = self.url.rpartition("/")
        with closing(
            ServiceClient(LIST_LABEL, folder, address_setting="APERTURE_PRICES_URL", **self._options)
        ) as client:
            # Its host serves it as text, so the content type says nothing.
            return client.transport.send(Request("GET", f"/{file}", max_bytes=LARGEST_LIST)).body


def list_models(settings: Settings, embedder: Embedders) -> list[OfferedModel]:
    """Return the models that the configured endpoint, which speaks OpenAI's protocol, lists now.

    Raises:
        BadAnswer: no answer is a list of models.
        ServiceError: see :meth:`Transport.send`.
    """
    url = settings.embedder_url
    # Ollama serves OpenAI's protocol below /v1, beside its own.
    base = url.removesuffix("/v1")
    client = embedder.connect(base)

    def read(path: str, field: str, name: str) -> list[OfferedModel]:
        answer = as_object(client.transport.get_json(path))
        # LM Studio answers an unknown path with status 200 and an error.
        if not isinstance(answer.get(field), list):
            raise BadAnswer(f"{ENDPOINT} at {base}: {path} is not a list of models")
        return [
            OfferedModel(model, is_remote=bool(entry.get("remote_host") or entry.get("remote_model")))
            for entry in objects(answer[field])
            if (model := one_line(entry.get(name)) or one_line(entry.get("name")))
        ]

    with closing(client):
        if _is_at_home(settings):
            # Unless it is not Ollama.
            with suppress(NotFound, RequestRejected, BadAnswer):
                return read("/api/tags", "models", "model")
        return read(f"{url.removeprefix(base)}/models", "data", "id")


def _attempts(settings: Settings) -> dict[str, Any]:
    return {"attempts": settings.http_attempts, "first_wait_seconds": settings.http_retry_wait_seconds}


PACKAGED = Path(__file__).with_name("ai_prices.json")
IN_PROCESS = "in this process"
UNKNOWN = "unknown"
LOCAL_MODELS = ("static", FASTEMBED_MODEL)
OFF = "The price list is switched off (APERTURE_PRICES_URL): only the packaged prices are used."
DEFAULT_MODEL = "text-embedding-3-small"
LEAST_DAYS = 7
"""Days of history that a rate of change needs."""
DAYS_PER_MONTH = 30


@dataclass(frozen=True, slots=True)
class ConfiguredModel:
    """The configured embedding model with its price per million tokens; None: unknown, and ``why`` says why.

    ``provider`` is None if the endpoint's host is not known.
    """

    model: str
    provider: str | None
    price: Decimal | None
    why: str


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
    of change.
    """

    model: str
    provider: str
    price: Decimal | None
    library: Decimal | None
    per_month: Decimal | None
    is_configured: bool

    def row(self) -> dict[str, str]:
        """Return the columns of the table of costs."""
        return {
            "model": f"{self.model} (configured)" if self.is_configured else self.model,
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


def refresh_prices(price_list: PriceList, database: Database, clock: Clock) -> tuple[int, str | None]:
    """Read the price list and store what changed; return how many prices, and why the list was not used, if so."""
    try:
        content = price_list.fetch()
        listed = parse_price_list(content) if content is not None else {}
    except (ServiceError, PriceListRejected) as error:
        return 0, str(error)
    with database.transaction() as connection:
        # Two runs at once would both write the same change.
        lock_until_commit(connection, "ai_prices")
        return write_prices(connection, listed, clock.now()), None


def refresh_offered(settings: Settings, embedder: Embedders, database: Database) -> str | None:
    """Read which models the configured endpoint offers now, and store them; return why not if it does not answer."""
    if settings.embedder != "openai":
        return None
    try:
        models = list_models(settings, embedder)
    except ServiceError as error:
        return str(error)
    with database.transaction() as connection:
        replace_offered(connection, settings.embedder_url, models)
    return None


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
    model, provider = settings.embedder_model or DEFAULT_MODEL, _provider(settings)
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
        return ConfiguredModel(model, provider, known.price, why)
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
        )
        for (provider, model), price in prices.items()
    ]
    return sorted(
        found,
        key=lambda one: (not one.is_configured, one.price is None, one.price or 0, one.provider, one.model),
    )


def why_not_offered(settings: Settings, offered: Iterable[OfferedModel]) -> str | None:
    """Say that the endpoint lists its models, and the configured one is not among them; None otherwise."""
    model, names = settings.embedder_model or DEFAULT_MODEL, [one.model for one in offered]
    if settings.embedder != "openai" or not names or _provider(settings) in LISTS_SAY_NOTHING:
        return None
    if any(is_same_model(model, name) for name in names):
        return None
    return (
        f"{model} is not among the {len(names)} models that {settings.embedder_url} offers. If it was withdrawn, "
        "choose another in APERTURE_EMBEDDER_MODEL."
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


def _provider(settings: Settings) -> str | None:
    return provider_of_host(urlsplit(settings.embedder_url).hostname or "", at_home=_is_at_home(settings))


def _is_at_home(settings: Settings) -> bool:
    # Without a resolver: the answer must not depend on the network.
    return is_private(urlsplit(settings.embedder_url).hostname or "", resolve=False)
