"""Prices of AI models."""

from decimal import Decimal
from typing import Any

import dagster as dg

from aperture_dagster.defs.discovery import discovery_pool
from aperture_dagster.defs.enrichment import enriched_metadata
from aperture_dagster.defs.failures import operator_errors
from aperture_dagster.defs.media_server import movies, series
from aperture_dagster.defs.reporting import materialized, problems_table, table, warn_unless
from aperture_dagster.defs.taste import embeddings
from aperture_dagster.instance.pools import PRICES
from aperture_dagster.library.prices import show
from aperture_dagster.resources.clock import Clock
from aperture_dagster.resources.database import Database
from aperture_dagster.settings import Settings
from aperture_dagster.sources.prices import (
    OFF,
    ConfiguredModel,
    configured_model,
    costs,
    estimate_usage,
    refresh_offered,
    refresh_prices,
)
from aperture_dagster.storage.prices import current_prices, last_list, read_disputes, read_offered
from aperture_dagster.storage.versions import content_version

SHOWN = 15
TOKENIZER = "estimate from characters, checked against cl100k_base"

ai_price_list = dg.AssetSpec(
    "ai_price_list",
    group_name="maintenance",
    description="A public list of the prices of AI models.",
    kinds={"json"},
)


class PricingConfig(dg.Config):
    """Run configuration of the prices."""

    accept_shorter_list: bool = False
    """Accept a price list that lost more than a tenth of its entries."""


@dg.asset(
    group_name="maintenance",
    deps=[ai_price_list, movies, series, enriched_metadata, embeddings, discovery_pool],
    kinds={"postgres"},
    pool=PRICES,
    metadata={"dagster/table_name": "ai_prices"},
)
def ai_pricing(
    context: dg.AssetExecutionContext,
    config: PricingConfig,
    settings: dg.ResourceParam[Settings],
    database: dg.ResourceParam[Database],
    clock: dg.ResourceParam[Clock],
) -> dg.MaterializeResult:
    """Prices of embedding and text models with their history, one row per model and change, in US dollars per million.

    From a public price list, checked before it is believed; from the package for models that it lacks, and offline.
    Shows what the configured embedding model costs for this library, and which models its endpoint offers.
    """
    with operator_errors(context, settings):
        read = refresh_prices(settings, database, clock, accept_shorter=config.accept_shorter_list)
        offered = refresh_offered(settings, database)
        with database.transaction() as connection:
            prices = current_prices(connection, now=clock.now())
            usage = estimate_usage(connection, clock.now())
            version = content_version(connection, "ai_prices", columns=["provider", "model", "input_price"])
    for what, trouble in (("Prices", read.trouble), ("The offered models", offered.trouble)):
        if trouble is not None:
            context.log.warning(f"{what} stay as they were: {trouble}")
    configured = configured_model(settings, prices, offered.models)
    rows = costs(usage, configured, prices, at_most=SHOWN)
    changes = [
        {
            "model": model,
            "provider": provider,
            "usd_per_million": _shown(price.input),
            "before": _shown(read.before[provider, model].price.input) if (provider, model) in read.before else "new",
        }
        for (provider, model), price in read.changed.items()
    ]
    metadata: dict[str, Any] = {
        "dagster/row_count": len(prices),
        "rows_written": len(read.changed),
        "requests": read.requests + offered.requests,
        "configured_model": configured.model,
        "configured_price": f"{_shown(configured.price)}: {configured.why}",
        "costs": table([_cost(row) for row in rows]),
        "texts": usage.texts,
        "tokens": usage.tokens,
        "tokenizer": TOKENIZER,
        "rate_of_change": usage.why,
        "disputed": read.disputed,
        **problems_table(read.problems),
    }
    for name in ("usd_library", "usd_per_month"):
        # Only what is known can be plotted.
        if rows[0][name] is not None:
            metadata[name] = float(rows[0][name])
    if changes:
        metadata["changes"] = table(changes[:SHOWN])
    if offered.models is not None:
        metadata["offered"] = len(offered.models)
        metadata["offered_models"] = table([_offered_row(one) for one in offered.models[:SHOWN]])
    notes = [f"{trouble.rstrip('.')}." for trouble in (read.trouble, offered.trouble) if trouble is not None]
    if not settings.prices_download:
        notes.append(OFF)
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
    configured = _configured(settings, database, clock)
    found = "" if configured.price is not None else f"The price of {configured.model} is unknown. {configured.why}"
    metadata = {"model": configured.model, "provider": configured.provider or "unknown", "why": configured.why}
    return warn_unless(not found, found, metadata)


@dg.asset_check(
    asset=ai_pricing,
    description="The listed price of the configured model is plausible. If not, the last plausible one stays in "
    "use until you set APERTURE_EMBEDDER_PRICE.",
)
def has_undisputed_prices(
    settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database], clock: dg.ResourceParam[Clock]
) -> dg.AssetCheckResult:
    """Warn if the listed price of the model in use is not believed; other disputes are only counted and shown."""
    configured = _configured(settings, database, clock)
    with database.transaction() as connection:
        disputes = read_disputes(connection)
    disputes.sort(key=lambda one: one["provider"] != configured.provider)
    own = (configured.provider, settings.embedder_priced_as or configured.model)
    reason = next((one["reason"] for one in disputes if (one["provider"], one["model"]) == own), None)
    found = ""
    # A price in the settings is used instead of any listed one.
    if reason is not None and settings.embedder_price is None:
        found = f"The listed price of {own[1]} at {own[0]} is not believed: {reason}. What was known before stays in "
        found += "use. If the listed price is right, set APERTURE_EMBEDDER_PRICE to it."
    shown = table(disputes[:SHOWN], ["model", "provider", "reason", "disputed_since"])
    return warn_unless(not found, found, {"disputed": len(disputes), "disputes": shown})


@dg.asset_check(
    asset=ai_pricing,
    description="The price list was read in the last attempt, unless it is off. If not, prices stay as they were.",
)
def has_read_the_price_list(
    settings: dg.ResourceParam[Settings], database: dg.ResourceParam[Database]
) -> dg.AssetCheckResult:
    """Warn of a price list that could not be read or was refused."""
    with database.transaction() as connection:
        last = last_list(connection, settings.prices_url)
    trouble = last["trouble"] if settings.prices_download else None
    found = ""
    if trouble:
        found = f"{str(trouble).rstrip('.')}. Prices stay as they were. To do without the list, set "
        found += "APERTURE_PRICES_DOWNLOAD to false."
    metadata = {"last_read": str(last["read_at"] or "never"), "entries": last["entries"] or 0}
    return warn_unless(not found, found, metadata)


def _configured(settings: Settings, database: Database, clock: Clock) -> ConfiguredModel:
    with database.transaction() as connection:
        prices = current_prices(connection, now=clock.now())
        return configured_model(settings, prices, read_offered(connection, settings.embedder_url))


def _offered_row(one: Any) -> dict[str, Any]:
    type_of = {True: "embedding", False: "other", None: "unknown"}
    return {"model": one.model, "type": type_of[one.is_embedding], "runs": "in a cloud" if one.is_remote else "there"}


def _cost(row: dict[str, Any]) -> dict[str, Any]:
    """Return a model's row of the page: what it costs in US dollars per million tokens, for the library, a month."""
    model = f"{row['model']} ({row['provider']})" if row["provider"] else row["model"]
    headings = {"usd_per_million": "a million", "usd_library": "library", "usd_per_month": "a month"}
    return {"model": model} | {heading: _shown(row[name]) for name, heading in headings.items()}


def _shown(value: Any) -> Any:
    if value is None:
        return "unknown"
    return show(value) if isinstance(value, Decimal) else value


PRICING_CHECKS = (knows_the_configured_model, has_undisputed_prices, has_read_the_price_list)
