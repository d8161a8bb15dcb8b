"""Prices of AI models: read, reviewed and stored; and what the configured embedding model costs for this library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection

from aperture_dagster.library.prices import (
    AZURE,
    LOCAL,
    Key,
    OfferedModel,
    Price,
    PriceList,
    PriceListRejected,
    cost,
    estimate_tokens,
    names_remote_model,
    parse_price_list,
    provider_of_host,
    require_complete,
    review,
    without_default_tag,
)
from aperture_dagster.ranking.text import title_text
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.resources.errors import ServiceError
from aperture_dagster.resources.home_network import is_private
from aperture_dagster.resources.model_lists import ModelListClient
from aperture_dagster.resources.price_list import PriceListClient
from aperture_dagster.settings import Settings
from aperture_dagster.storage.prices import (
    StoredPrice,
    add_prices,
    current_prices,
    embedding_rate,
    last_list,
    read_offered,
    remember_list,
    replace_disputes,
    replace_offered,
)
from aperture_dagster.storage.queries import lock_until_commit
from aperture_dagster.storage.vectors import text_rows

PACKAGED = Path(__file__).with_name("ai_prices.json")
IN_PROCESS = "in this process"
OFF = "The price list is switched off (APERTURE_PRICES_DOWNLOAD): only the packaged prices are used."
LEAST_DAYS = 7
"""Days of history that a rate of change needs."""
DAYS_PER_MONTH = 30


@dataclass(frozen=True, slots=True)
class Packaged:
    """The prices that ship with the package, and the day on which they were checked."""

    prices: Mapping[Key, Price]
    checked: date


@dataclass(frozen=True, slots=True)
class PricesRead:
    """Result of :func:`refresh_prices`. ``trouble`` says why the price list was not used."""

    changed: Mapping[Key, Price]
    before: Mapping[Key, StoredPrice]
    disputed: int = 0
    problems: tuple[str, ...] = ()
    requests: int = 0
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class OfferedRead:
    """Result of :func:`refresh_offered`: the models offered now, or the last time if there is ``trouble``.

    ``models`` is None if the embedder has no endpoint.
    """

    models: list[OfferedModel] | None = None
    requests: int = 0
    trouble: str | None = None


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
def packaged_prices() -> Packaged:
    """Read the prices that ship with the package."""
    content = json.loads(PACKAGED.read_text(encoding="utf-8"))
    prices: dict[Key, Price] = {}
    for provider, models in content["embedding"].items():
        prices |= {(provider, model): Price("embedding", Decimal(price)) for model, price in models.items()}
    for provider, models in content["text"].items():
        prices |= {(provider, model): Price("text", Decimal(put), Decimal(out)) for model, (put, out) in models.items()}
    return Packaged(prices, date.fromisoformat(content["checked"]))


def refresh_prices(settings: Settings, database: Database, clock: Clock, *, accept_shorter: bool = False) -> PricesRead:
    """Read the price list and store what changed, believable prices only.

    Without the list (switched off, not reachable, refused), packaged prices are used for models that have none yet.
    ``accept_shorter`` accepts a list that lost more than a tenth of its entries.
    """
    listed, requests, trouble = None, 0, None
    if settings.prices_download:
        listed, requests, trouble = _read_list(settings, database, accept_shorter=accept_shorter)
    with database.transaction() as connection:
        # Two runs at once would both write the same change.
        lock_until_commit(connection, "ai_prices")
        return _store(connection, settings, clock.now(), listed, requests, trouble)


def _read_list(
    settings: Settings, database: Database, *, accept_shorter: bool
) -> tuple[PriceList | None, int, str | None]:
    options: dict[str, Any] = {
        "attempts": settings.http_attempts,
        "first_wait_seconds": settings.http_retry_wait_seconds,
    }
    with closing(PriceListClient(settings.prices_url, **options)) as client:
        try:
            listed = parse_price_list(client.fetch())
            with database.transaction() as connection:
                last = last_list(connection, settings.prices_url)
            if not accept_shorter:
                require_complete(listed.entries, last=last["entries"])
        except (ServiceError, PriceListRejected) as error:
            return None, client.requests, str(error)
        return listed, client.requests, None


def _store(
    connection: Connection,
    settings: Settings,
    now: datetime,
    listed: PriceList | None,
    requests: int,
    trouble: str | None,
) -> PricesRead:
    stored, packaged, last = (
        current_prices(connection, now=now),
        packaged_prices(),
        last_list(connection, settings.prices_url),
    )
    found = review(
        listed.prices if listed is not None else {},
        {key: one.price for key, one in stored.items()},
        packaged.prices,
        prefer_package=_newer_in_package(packaged, stored, last),
    )
    add_prices(connection, found.changes, found.sources, now)
    disputed = len(found.disputes)
    if listed is not None:
        replace_disputes(connection, found.disputes, now)
        last = {"entries": listed.entries, "read_at": now}
    if settings.prices_download:
        remember_list(connection, settings.prices_url, last | {"trouble": trouble})
    problems = listed.problems if listed is not None else ()
    return PricesRead(found.changes, stored, disputed, problems, requests, trouble)


def _newer_in_package(packaged: Packaged, stored: Mapping[Key, StoredPrice], last: Mapping[str, Any]) -> frozenset[Key]:
    """Return the models whose packaged price was checked after their stored one was last confirmed."""
    checked = datetime.combine(packaged.checked, time(), UTC)
    newer = set()
    for key in packaged.prices.keys() & stored.keys():
        one = stored[key]
        confirmed = last["read_at"] if one.source == "list" else None
        if checked > max(one.valid_from, confirmed or one.valid_from):
            newer.add(key)
    return frozenset(newer)


def refresh_offered(settings: Settings, database: Database) -> OfferedRead:
    """Read which models the configured endpoint offers now, and store them."""
    if settings.embedder != "openai":
        return OfferedRead()
    endpoint, key = settings.embedder_url, settings.embedder_api_key
    client = ModelListClient(
        endpoint,
        key.get_secret_value() if key is not None else None,
        at_home=_is_at_home(settings),
        attempts=settings.http_attempts,
        first_wait_seconds=settings.http_retry_wait_seconds,
    )
    with closing(client):
        try:
            models, trouble = client.list_models(), None
        except ServiceError as error:
            models, trouble = [], str(error)
    with database.transaction() as connection:
        if trouble is None:
            replace_offered(connection, endpoint, models)
        return OfferedRead(read_offered(connection, endpoint), client.requests, trouble)


def configured_model(
    settings: Settings, prices: Mapping[Key, StoredPrice], offered: list[OfferedModel] | None
) -> ConfiguredModel:
    """Return the configured embedding model with its price."""
    if settings.embedder != "openai":
        model = settings.embedder_model if settings.embedder == "fastembed" else None
        return ConfiguredModel(model or settings.embedder, IN_PROCESS, Decimal(0), "It runs in this process.")
    model = settings.embedder_model or "text-embedding-3-small"
    host = urlsplit(settings.embedder_url).hostname or ""
    provider = provider_of_host(host, at_home=_is_at_home(settings))
    if settings.embedder_price is not None:
        return ConfiguredModel(model, provider, settings.embedder_price, "It is set in APERTURE_EMBEDDER_PRICE.")
    own = "Set APERTURE_EMBEDDER_PRICE to what it charges."
    if provider == LOCAL:
        names = {without_default_tag(one.model) for one in offered or () if one.is_remote}
        if names_remote_model(model) or without_default_tag(model) in names:
            why = f"It is listed by a server at home, which passes requests on to a cloud of unknown price. {own}"
            return ConfiguredModel(model, provider, None, why)
        return ConfiguredModel(model, provider, Decimal(0), f"It runs at home ({host}).")
    if provider is None:
        return ConfiguredModel(model, None, None, f"No price list knows the host {host}. {own}")
    if provider == AZURE and settings.embedder_priced_as is None:
        why = "On Azure, the configured name is that of a deployment. Set APERTURE_EMBEDDER_PRICED_AS to its model."
        return ConfiguredModel(model, provider, None, why)
    priced_as = settings.embedder_priced_as or model
    stored = prices.get((provider, priced_as))
    if stored is None:
        return ConfiguredModel(model, provider, None, f"No price of {priced_as} at {provider} is known. {own}")
    since = f"{stored.valid_from:%Y-%m-%d}"
    origin = "the price list" if stored.source == "list" else "the package"
    return ConfiguredModel(model, provider, stored.price.input, f"From {origin}, known since {since}.")


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


def costs(
    usage: Usage, configured: ConfiguredModel, prices: Mapping[Key, StoredPrice], *, at_most: int
) -> list[dict[str, Any]]:
    """Return what embedding costs: the configured model, then the known embedding models, the cheapest first."""
    known = {key: one.price.input for key, one in prices.items() if one.price.usage == "embedding"}
    cheapest = sorted(known, key=lambda key: (known[key], key))
    rows = [(configured.model, configured.provider, configured.price)]
    rows += [(model, provider, known[provider, model]) for provider, model in cheapest]
    return [_cost_row(usage, *row) for row in rows[: at_most + 1]]


def _cost_row(usage: Usage, model: str, provider: str | None, price: Decimal | None) -> dict[str, Any]:
    monthly = usage.tokens_per_month
    return {
        "model": model,
        "provider": provider or "unknown",
        "usd_per_million": price,
        "usd_library": cost(usage.tokens, price) if price is not None else None,
        "usd_per_month": cost(monthly, price) if price is not None and monthly is not None else None,
    }


def _is_at_home(settings: Settings) -> bool:
    # Without a resolver: the answer must not depend on the network.
    return is_private(urlsplit(settings.embedder_url).hostname or "", resolve=False)
