"""Prices of AI models, read and stored; and what the configured embedding model costs for this library."""

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
    OfferedModel,
    Price,
    PriceListRejected,
    StoredPrice,
    add_prices,
    current_prices,
    embedding_rate,
    estimate_tokens,
    is_same_model,
    names_remote_model,
    parse_price_list,
    provider_of_host,
    read_offered,
    replace_offered,
)
from aperture_dagster.settings import Settings
from aperture_dagster.taste.embedder import ENDPOINT, Embedders
from aperture_dagster.taste.ranking.text import title_text
from aperture_dagster.taste.vectors import text_rows

LIST_LABEL = "The price list"
# LiteLLM's had 3.5 MB in November 2026.
LARGEST_LIST = 20_000_000


class PriceList:
    """A public list of the prices of AI models, at the address of the settings."""

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


@cache
def packaged_prices() -> dict[Key, Price]:
    """Read the prices that ship with the package."""
    content = json.loads(PACKAGED.read_text(encoding="utf-8"))
    prices: dict[Key, Price] = {}
    for provider, models in content["embedding"].items():
        prices |= {(provider, model): Price("embedding", Decimal(price)) for model, price in models.items()}
    for provider, models in content["text"].items():
        prices |= {(provider, model): Price("text", Decimal(put), Decimal(out)) for model, (put, out) in models.items()}
    return prices


def refresh_prices(price_list: PriceList, database: Database, clock: Clock) -> tuple[dict[Key, Price], str | None]:
    """Read the price list and store what changed; return that, and why the list was not used if it was not.

    Models of which the list never gave a price have the packaged one.
    """
    listed: dict[Key, Price] = {}
    trouble = None
    try:
        content = price_list.fetch()
        listed = parse_price_list(content) if content is not None else {}
    except (ServiceError, PriceListRejected) as error:
        trouble = str(error)
    with database.transaction() as connection:
        # Two runs at once would both write the same change.
        lock_until_commit(connection, "ai_prices")
        stored = current_prices(connection, now=clock.now())
        never_listed = {
            key: price
            for key, price in packaged_prices().items()
            if key not in listed and (key not in stored or stored[key].source == "package")
        }
        changed = {}
        for source, prices in (("list", listed), ("package", never_listed)):
            new = {key: price for key, price in prices.items() if key not in stored or stored[key].price != price}
            add_prices(connection, new, source, clock.now())
            changed |= new
    return changed, trouble


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


def read_configured_model(settings: Settings, database: Database, clock: Clock) -> ConfiguredModel:
    """Return the configured embedding model with its price as it is stored."""
    with database.transaction() as connection:
        prices = current_prices(connection, now=clock.now())
        return configured_model(settings, prices, read_offered(connection, settings.embedder_url))


def configured_model(
    settings: Settings, prices: Mapping[Key, StoredPrice], offered: Iterable[OfferedModel]
) -> ConfiguredModel:
    """Return the configured embedding model with its price."""
    if settings.embedder != "openai":
        model = settings.embedder_model if settings.embedder == "fastembed" else None
        return ConfiguredModel(model or settings.embedder, IN_PROCESS, Decimal(0), "It runs in this process.")
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
    stored = prices.get((provider, model))
    if stored is None:
        return ConfiguredModel(model, provider, None, f"No price of {model} at {provider} is known. {own}")
    origin = "the price list" if stored.source == "list" else "the package"
    return ConfiguredModel(
        model, provider, stored.price.input, f"From {origin}, known since {stored.valid_from:%Y-%m-%d}."
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
