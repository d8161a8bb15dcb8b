"""Prices of AI models."""

from decimal import Decimal
from typing import Any

import dagster as dg

from aperture_dagster.defs.catalogue import movies, series
from aperture_dagster.defs.discovery import discovery_pool
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.reporting import materialized, table, warn_unless
from aperture_dagster.defs.taste import embeddings
from aperture_dagster.instance.failures import operator_errors
from aperture_dagster.instance.pools import PRICES
from aperture_dagster.model.clock import Clock
from aperture_dagster.postgres.database import Database
from aperture_dagster.postgres.versions import content_version
from aperture_dagster.prices.queries import current_prices, read_offered
from aperture_dagster.prices.refresh import (
    OFF,
    estimate_usage,
    read_configured_model,
    refresh_offered,
    refresh_prices,
    why_not_offered,
)
from aperture_dagster.prices.rules import Key, Price, cost, show
from aperture_dagster.settings import Settings

SHOWN = 15

ai_price_list = dg.AssetSpec(
    "ai_price_list",
    group_name="maintenance",
    description="A public list of the prices of AI models.",
    kinds={"json"},
)


@dg.asset(
    group_name="maintenance",
    deps=[ai_price_list, movies, series, enriched_metadata, embeddings, discovery_pool],
    kinds={"postgres"},
    pool=PRICES,
    metadata={"dagster/table_name": "ai_prices"},
)
def ai_pricing(
    context: dg.AssetExecutionContext,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """Prices of embedding and text models with their history, one row per model and change, in US dollars per million.

    From a public price list; from the package for models that it never listed, and offline. Shows what the configured
    embedding model costs for this library, and how many models its endpoint offers.
    """
    with operator_errors(context, settings):
        changed, list_trouble = refresh_prices(settings, database, clock)
        offered_trouble = refresh_offered(settings, database)
        configured = read_configured_model(settings, database, clock)
        with database.transaction() as connection:
            known = len(current_prices(connection, now=clock.now()))
            offered = len(read_offered(connection, settings.embedder_url))
            usage = estimate_usage(connection, clock.now())
            version = content_version(connection, "ai_prices", columns=["provider", "model", "input_price"])
    notes = [f"{trouble.rstrip('.')}." for trouble in (list_trouble, offered_trouble) if trouble is not None]
    for note in notes:
        context.log.warning(f"{note} What was known before stays as it was.")
    if settings.prices_url is None:
        notes.append(OFF)
    metadata: dict[str, Any] = {
        "dagster/row_count": known,
        "rows_written": len(changed),
        "configured_model": configured.model,
        "configured_price": f"{_shown(configured.price)}: {configured.why}",
        "texts": usage.texts,
        "tokens": usage.tokens,
        "rate_of_change": usage.why,
        "offered": offered,
    }
    # Only what is known can be plotted.
    if configured.price is not None:
        metadata["usd_library"] = float(cost(usage.tokens, configured.price))
        if usage.tokens_per_month is not None:
            metadata["usd_per_month"] = float(cost(usage.tokens_per_month, configured.price))
    if changed:
        metadata["changes"] = table([_row(key, price) for key, price in list(changed.items())[:SHOWN]])
    if notes:
        metadata["note"] = " ".join(notes)
    return materialized(context, metadata, version=version)


@dg.asset_check(
    asset=ai_pricing,
    description="The price of the configured embedding model is known, or it runs on this machine. If not, set "
    "APERTURE_EMBEDDER_PRICE.",
)
def knows_the_configured_model(
    settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
) -> dg.AssetCheckResult:
    """Warn of a configured model whose price is unknown, and say what to set."""
    configured = read_configured_model(settings, database, clock)
    found = "" if configured.price is not None else f"The price of {configured.model} is unknown. {configured.why}"
    metadata = {"model": configured.model, "provider": configured.provider or "unknown", "why": configured.why}
    return warn_unless(not found, found, metadata)


@dg.asset_check(
    asset=ai_pricing,
    description="The endpoint still offers the configured embedding model, as far as it lists its models.",
)
def offers_the_configured_model(
    settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]
) -> dg.AssetCheckResult:
    """Warn of a configured model that the endpoint's list lacks."""
    with database.transaction() as connection:
        offered = read_offered(connection, settings.embedder_url)
    found = why_not_offered(settings, offered) or ""
    return warn_unless(not found, found, {"offered": len(offered)})


def _row(key: Key, price: Price) -> dict[str, Any]:
    provider, model = key
    return {"model": model, "provider": provider, "usd_per_million": show(price.input)}


def _shown(price: Decimal | None) -> str:
    return "unknown" if price is None else show(price)


PRICING_CHECKS = (knows_the_configured_model, offers_the_configured_model)
